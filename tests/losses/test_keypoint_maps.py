"""The loss of MoveNet's own maps, against what its decoding reads of them."""

from __future__ import annotations

import torch

from tore.losses.keypoint_maps import heat_maps_wanted, keypoint_maps_loss
from tore.modeling.movenet import KEYPOINTS, decode_keypoints

SIDE = 64


def maps_of(points: torch.Tensor, height: float = 3.0) -> dict[str, torch.Tensor]:
    """Maps (B, ...) of which `decode_keypoints` makes the points (B, 17, 2), in [-1, 1] of the image."""
    cells = (points + 1) / 2 * SIDE
    rows, columns = torch.arange(SIDE)[:, None] + 0.5, torch.arange(SIDE) + 0.5
    squares = (columns - cells[..., 0, None, None]) ** 2 + (rows - cells[..., 1, None, None]) ** 2
    center = torch.full((len(points), 1, SIDE, SIDE), -9.0)
    center[:, :, SIDE // 2, SIDE // 2] = 9.0
    place = torch.zeros(len(points), KEYPOINTS, 2, SIDE, SIDE)
    place[..., SIDE // 2, SIDE // 2] = cells.flip(-1) - SIDE // 2
    grid = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"))  # (2, n, n) y, x
    offset = (cells.flip(-1)[..., None, None] - grid).clamp(-1, 1)  # to the point from the cells around it
    heat = -height + 2 * height * torch.exp(-squares / 8)
    return {"center": center, "heatmap": heat, "place": place.flatten(1, 2), "offset": offset.flatten(1, 2)}


def some_points(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, KEYPOINTS, 2, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


def test_maps_of_right_keypoints_are_to_stay() -> None:
    points = some_points()
    maps = maps_of(points)
    torch.testing.assert_close(2 * decode_keypoints(maps)[..., :2] - 1, points, rtol=0, atol=1e-5)
    everywhere = torch.ones(2, 12, dtype=torch.bool)
    loss = keypoint_maps_loss(maps, maps, points[:, 5:], everywhere)
    assert loss.item() < 1e-6


def test_a_wrong_keypoint_is_drawn_to_its_label_and_others_are_not_moved() -> None:
    points = some_points()
    labels = points[:, 5:].clone()
    labels[0, 3] = -labels[0, 3].sign() * 0.7  # far from where it was found
    there = torch.ones(2, 12, dtype=torch.bool)
    before = maps_of(points)
    cells = (labels + 1) / 2 * SIDE
    wanted, was = heat_maps_wanted(before, labels, there, cells), before["heatmap"][:, 5:].sigmoid()
    same = torch.ones(2, 12, dtype=torch.bool)
    same[0, 3] = False
    assert torch.equal(wanted[same], was[same])
    peak = wanted[0, 3].flatten().argmax()
    found = torch.stack([peak % SIDE, peak // SIDE]) + 0.5
    assert (found - cells[0, 3]).abs().max() <= 0.5 and 0.55 < wanted[0, 3].max() <= 0.65

    said = {name: value.clone().requires_grad_() for name, value in before.items()}
    rate = 300.0
    for _ in range(60):
        loss = keypoint_maps_loss(said, before, labels, there)
        names = ("heatmap", "place", "offset")
        for name, slope in zip(names, torch.autograd.grad(loss, [said[n] for n in names]), strict=True):
            said[name] = (said[name] - rate * slope).detach().requires_grad_()
    moved = 2 * decode_keypoints(said)[..., :2] - 1
    torch.testing.assert_close(moved[0, 8], labels[0, 3], rtol=0, atol=0.05)
    torch.testing.assert_close(moved[1], points[1], rtol=0, atol=1e-3)


def test_unlabeled_keypoints_do_not_count() -> None:
    points = some_points()
    labels, there = points[:, 5:].clone(), torch.ones(2, 12, dtype=torch.bool)
    labels[1, 2], there[1, 2] = 0.9, False  # far from where it was found, but not labeled
    maps = maps_of(points)
    assert keypoint_maps_loss(maps, maps, labels, there).item() < 1e-6
    assert keypoint_maps_loss(maps, maps, labels, torch.zeros_like(there)).item() < 1e-6
