"""METRO's camera without token reduction: read off the predicted points."""

from __future__ import annotations

from torch import Tensor, nn


class PointCamera(nn.Module):
    """Three Linears and nothing between them: xyz to one number, over the points to a hidden layer, to the camera."""

    def __init__(self, *, points: int, hidden: int) -> None:
        super().__init__()
        self.of_point = nn.Linear(3, 1)
        self.of_points = nn.Linear(points, hidden)
        self.output = nn.Linear(hidden, 3)

    def forward(self, points: Tensor) -> Tensor:
        """(B, P, 3) -> camera (B, 3)."""
        return self.output(self.of_points(self.of_point(points).squeeze(2)))
