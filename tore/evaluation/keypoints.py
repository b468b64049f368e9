"""How near predicted 2D joints come to labeled keypoints: PCK, the share within a part of a person's own size.

A body's size is its torso, from the left shoulder to the right hip; without both it is the box's longer side. A hand's
is the longer side of the box around its labeled joints. Only labeled joints count, of a body those of the limbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tore.body.joints import COCO_NAMES, HAND_NAMES, KEYPOINT_NAMES

LIMBS = tuple(range(COCO_NAMES.index("left_shoulder"), len(COCO_NAMES)))  # shoulders to ankles, both sides
JUDGED = {"body": LIMBS, "hand": tuple(range(len(HAND_NAMES)))}
TORSO = (COCO_NAMES.index("left_shoulder"), COCO_NAMES.index("right_hip"))
TORSO_SHARES, BOX_SHARES = (0.5, 0.2), (0.2, 0.1)  # the coarse and the fine threshold
HAND_SHARES = (0.2, 0.1)
MEASURES = {
    "body": "0.5 and 0.2 of the torso (left shoulder to right hip), without it 0.2 and 0.1 of the box's longer side",
    "hand": "0.2 and 0.1 of the longer side of the box around the labeled joints",
}
SAME_PERSON = 0.5  # intersection over union from which a found box is a labeled person's


def thresholds(keypoints: np.ndarray, boxes: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The coarse and the fine distance (N, 2) in pixels, and whose are parts of a torso (N,).

    keypoints: (N, K, 3) x, y, labeled above 0. boxes: (N, 4) x, y, width, height. kind: "body" | "hand".
    """
    if kind == "hand":
        labeled = keypoints[..., 2:] > 0
        low = np.where(labeled, keypoints[..., :2], np.inf).min(1)
        high = np.where(labeled, keypoints[..., :2], -np.inf).max(1)
        return np.maximum(high - low, 0).max(1)[:, None] * HAND_SHARES, np.zeros(len(keypoints), bool)
    start, end = (keypoints[:, joint] for joint in TORSO)
    length = np.linalg.norm(start[:, :2] - end[:, :2], axis=1)
    torso = (start[:, 2] > 0) & (end[:, 2] > 0) & (length > 0)
    return np.where(torso[:, None], length[:, None] * TORSO_SHARES, boxes[:, 2:].max(1)[:, None] * BOX_SHARES), torso


def within(predicted: np.ndarray, keypoints: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(N, K, 2) bool: is a predicted joint (N, K, 2) within each distance (N, 2) of the keypoint (N, K, 3)?

    A joint that is not finite is not.
    """
    distance = np.linalg.norm(predicted - keypoints[..., :2], axis=2)
    return np.asarray(distance[..., None] <= limits[:, None])


def mean_pose(keypoints: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(K, 2): where in a box of longer side 1 around (0, 0) each joint lies on average; NaN where none is labeled.

    keypoints: (N, K, 3). boxes: (N, 4).
    """
    middle, side = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:].max(1)
    places = (keypoints[..., :2] - middle[:, None]) / side[:, None, None]
    labeled = keypoints[..., 2:] > 0
    count = labeled.sum(0)
    return np.where(count > 0, np.where(labeled, places, 0).sum(0) / np.maximum(count, 1), np.nan)


def in_boxes(pose: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A pose (K, 2) as `mean_pose` gives it, in the pixels of boxes (N, 4): (N, K, 2)."""
    return boxes[:, None, :2] + boxes[:, None, 2:] / 2 + pose * boxes[:, 2:].max(1)[:, None, None]


def matched(found: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) which of the found boxes (M, 4) is each person's (N, 4), -1 for none; no box is two people's.

    Pairs are made by intersection over union, the largest first, down to `SAME_PERSON`.
    """
    owners = np.full(len(boxes), -1)
    if not len(found) or not len(boxes):
        return owners
    low = np.maximum(found[:, None, :2], boxes[:, :2])
    high = np.minimum(found[:, None, :2] + found[:, None, 2:], boxes[:, :2] + boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(2)  # (M, N)
    overlap = shared / (found[:, 2:].prod(1)[:, None] + boxes[:, 2:].prod(1) - shared)
    while overlap.max() >= SAME_PERSON:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        owners[column] = row
        overlap[row], overlap[:, column] = -1, -1
    return owners


@dataclass(frozen=True)
class Scores:
    """Shares of labeled joints, each joint of each person counted once."""

    people: int
    joints: int
    coarse: float
    fine: float

    @classmethod
    def of(cls, near: np.ndarray, labeled: np.ndarray) -> Scores | None:
        """Of joints near (N, K, 2) where labeled (N, K); None without any."""
        count = int(labeled.sum())
        if not count:
            return None
        coarse, fine = near[labeled].mean(0)
        return cls(int(labeled.any(1).sum()), count, float(coarse), float(fine))


By = dict[str, Scores]  # prediction -> its scores


@dataclass(frozen=True)
class Judgment:
    """The scores of several predictions; a row without a labeled joint is absent."""

    kind: str  # "body" | "hand"
    everyone: By
    image_kinds: dict[str, By]
    joints: dict[str, By]
    without_torso: int  # bodies that are measured by their box

    @property
    def ways(self) -> list[str]:
        """The names of the predictions."""
        return list(self.everyone)

    def rows(self) -> list[tuple[str, By]]:
        """Everyone, each kind of image, each joint, with their names."""
        groups = [("all", self.everyone)] if self.everyone else []
        kinds = [(f"images: {name}", by) for name, by in self.image_kinds.items()]
        return [*groups, *kinds, *self.joints.items()]

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return {"thresholds": MEASURES[self.kind], **asdict(self)}


def judge(
    predictions: dict[str, np.ndarray],
    keypoints: np.ndarray,
    boxes: np.ndarray,
    kind: str,
    image_kinds: Sequence[str | None],
) -> Judgment:
    """Compares predictions, each (N, K, 2) pixels, with keypoints (N, K, 3) of people in boxes (N, 4).

    image_kinds: of the people's images, None where it is not known.
    """
    limits, torso = thresholds(keypoints, boxes, kind)
    judged = np.isin(np.arange(keypoints.shape[1]), JUDGED[kind])
    labeled = (keypoints[..., 2] > 0) & judged
    near = {name: within(points, keypoints, limits) for name, points in predictions.items()}

    def scores(where: np.ndarray) -> By:
        found = {name: Scores.of(shares, where) for name, shares in near.items()}
        return {name: one for name, one in found.items() if one is not None}

    kinds = sorted({name for name in image_kinds if name is not None})
    groups = {name: np.array([own == name for own in image_kinds])[:, None] for name in kinds}
    own_joint = np.eye(len(judged), dtype=bool)
    by_kind = {name: by for name, group in groups.items() if (by := scores(labeled & group))}
    by_joint = {KEYPOINT_NAMES[kind][j]: by for j in JUDGED[kind] if (by := scores(labeled & own_joint[j]))}
    counted = labeled.any(1)
    without = int((counted & ~torso).sum()) if kind == "body" else 0
    return Judgment(kind, scores(labeled), by_kind, by_joint, without)
