"""Body parameters over time: what files of poses and results hold of one person or of one hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tore.body.identity import BodyIdentity

Array = NDArray[np.float64]
# What the axes of a file are -> the rotation that brings them to x right, y up, z to the viewer.
AXES: dict[str, Array] = {
    "camera": np.diag([1.0, -1.0, -1.0]),  # x right, y down, z away from the camera
    "z_up": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),  # AMASS
    "y_up": np.eye(3),  # that of the body models
}
FINGERS = ("mean", "flat", "pca")
MIRROR = np.array([-1.0, 1.0, 1.0])  # what makes a left hand of a right one


@dataclass(frozen=True, eq=False)
class Motion:
    """One person's body parameters, or one hand's, in T frames at a constant rate.

    - `kind`: "body" or "hand"
    - `pose (T, C)`: axis-angle vectors in radians of the 24 or 16 joints, in the order of the model file, each relative
      to its parent; rows of NaN where there is none. `fingers` says what follows a hand's first three numbers
    - `betas (T, S)`, `translation (T, 3)` meters, added to the body's vertices
    - `frame_rate`: frames per second
    - `axes`: of `AXES`
    - `fingers`: the 45 numbers count from the "mean" hand of the model file or from the "flat" hand, or are
      coefficients of its principal components, from the mean hand ("pca")
    - `left`: a left hand, with the parameters of a left hand's model
    - `body`: of which body model the numbers are, None where it is not known
    """

    name: str
    kind: str
    pose: Array
    betas: Array
    translation: Array
    frame_rate: float
    axes: str = "y_up"
    fingers: str = "mean"
    left: bool = False
    gender: str = "neutral"
    body: BodyIdentity | None = None

    def __post_init__(self) -> None:
        count = len(self.pose)
        shapes = [values.shape for values in (self.pose, self.betas, self.translation)]
        if any(len(shape) != 2 or shape[0] != count for shape in shapes) or shapes[2][1] != 3:
            raise ValueError(f"{self.name}: pose, betas, translation have shapes {shapes}, not (T, C), (T, S), (T, 3)")
        if not (np.isfinite(self.frame_rate) and self.frame_rate > 0):
            raise ValueError(f"{self.name}: frame rate {self.frame_rate:g}; give a positive number, frames per second")
        for word, words in ((self.axes, tuple(AXES)), (self.fingers, FINGERS)):
            if word not in words:
                raise ValueError(f"{self.name}: {word!r} is not known; choose from {', '.join(words)}")
        if not self.known.any():
            raise ValueError(f"{self.name}: none of its {count} frames has a pose of finite numbers")

    @property
    def known(self) -> NDArray[np.bool_]:
        """(T,) whether a frame has a pose."""
        parts = (self.pose, self.betas, self.translation)
        return np.logical_and.reduce([np.isfinite(values).all(1) for values in parts])

    def frames(self, rows: NDArray[np.int64]) -> Motion:
        """The frames of these rows."""
        return replace(self, pose=self.pose[rows], betas=self.betas[rows], translation=self.translation[rows])

    def of_mean_shape(self) -> Motion:
        """The same for any body model of its kind, since its shape numbers are left out."""
        return replace(self, betas=np.zeros_like(self.betas), gender="neutral", body=None)

    def gap(self) -> int:
        """The longest run of frames without a pose."""
        longest = current = 0
        for known in self.known:
            current = 0 if known else current + 1
            longest = max(longest, current)
        return longest
