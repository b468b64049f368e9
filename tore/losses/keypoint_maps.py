"""What MoveNet's own heads are trained on where the network's backbone is trained: heat maps, offsets and places.

A heat map is to stay as it was before training where that is right, so that scores keep their meaning, and to
have a spot at the label elsewhere, as high and wide as MoveNet's own are. Offsets, those of the label's cell, and
places are the label's. The map of the person's center and the face's offsets and places have no loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tore.modeling.movenet import LIMBS, decode_keypoints, place_of_person

Maps = dict[str, Tensor]
RIGHT = 0.05  # of the person's extent: how far a keypoint that is right may lie from the label
LEAST_EXTENT = 0.2  # of half the image's side
SPOT, SPREAD = 0.65, 2.0  # height; standard deviation in cells
SQUARES = 0.1  # weight of squared differences, which are left where the others vanish
FACE, OFFSETS, PLACES = 0.2, 0.3, 0.05  # weights beside the limbs' heat maps


def keypoint_maps_loss(said: Maps, before: Maps, points: Tensor, there: Tensor) -> Tensor:
    """The loss of Thunder's maps `said`, those before training being `before`; see the module's text.

    points: (B, 12, 2) labels of the limbs' keypoints in [-1, 1] of the image. there: (B, 12) bool, which are labeled
    and within it.
    """
    side = said["heatmap"].shape[-1]
    cells = (points.nan_to_num() + 1) / 2 * side  # (B, 12, 2) x, y; a cell's middle lies at + 0.5
    wanted = heat_maps_wanted(before, points, there, cells)
    heat, face = said["heatmap"][:, LIMBS], said["heatmap"][:, : LIMBS.start].sigmoid()
    apart = (heat.sigmoid() - wanted).square()
    loss = (apart * (SQUARES + F.binary_cross_entropy_with_logits(heat, wanted, reduction="none"))).sum((2, 3)).mean()
    loss = loss + FACE * (face - before["heatmap"][:, : LIMBS.start].sigmoid()).square().sum((2, 3)).mean()
    own = cells.floor().clamp(0, side - 1)  # the label's cell
    offsets = _at(said["offset"], (own[..., 1] * side + own[..., 0]).long())  # (B, 12, 2) y, x
    loss = loss + OFFSETS * _mean(F.smooth_l1_loss(offsets, (cells - own).flip(-1), reduction="none", beta=0.2), there)
    person = place_of_person(said["center"])  # (B,)
    places = _at(said["place"], person[:, None].expand(there.shape))
    places = places + torch.stack([person // side, person % side], -1)[:, None]
    return loss + PLACES * _mean(F.smooth_l1_loss(places, cells.flip(-1), reduction="none", beta=2.0), there)


def heat_maps_wanted(before: Maps, points: Tensor, there: Tensor, cells: Tensor) -> Tensor:
    """(B, 12, n, n): what the limbs' heat maps are to be."""
    known = torch.where(there[..., None], points, torch.nan)
    low = torch.where(known.isnan(), torch.inf, known).amin(1)  # (B, 2)
    high = torch.where(known.isnan(), -torch.inf, known).amax(1)
    extent = (high - low).amax(-1).clamp(min=LEAST_EXTENT)  # (B,); that of nobody is the least
    away = (2 * decode_keypoints(before)[:, LIMBS, :2] - 1 - points).norm(dim=-1)  # (B, 12)
    wrong = there & (away > RIGHT * extent[:, None])
    middles = torch.arange(before["heatmap"].shape[-1], device=points.device) + 0.5
    across, down = ((middles - cells[..., axis, None]).square() for axis in (0, 1))  # (B, 12, n)
    spots = SPOT * torch.exp(-(down[..., None] + across[..., None, :]) / (2 * SPREAD**2))
    return torch.where(wrong[..., None, None], spots, before["heatmap"][:, LIMBS].sigmoid())


def _at(maps: Tensor, cells: Tensor) -> Tensor:
    """(B, 12, 2) y, x of maps (B, 34, n, n) of the limbs at cells (B, 12), numbered row by row."""
    limbs = maps.unflatten(1, (-1, 2))[:, LIMBS].flatten(3)  # (B, 12, 2, n*n)
    return limbs.gather(3, cells[:, :, None, None].expand(-1, -1, 2, 1))[..., 0]


def _mean(distances: Tensor, there: Tensor) -> Tensor:
    """The mean over labeled keypoints of the sum over y and x of (B, 12, 2)."""
    return (distances.sum(-1) * there).sum() / there.sum().clamp(min=1)
