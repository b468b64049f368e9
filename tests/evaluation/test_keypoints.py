"""PCK of 2D keypoints against plain loops, and the pairing of found boxes with people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import RandomState

from tore.body.joints import COCO_NAMES, HAND_NAMES
from tore.evaluation.keypoints import in_boxes, judge, matched, mean_pose, thresholds

LIMB_WORDS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def people(seed: int, count: int, joints: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (N, K, 3) of which a third is not labeled, boxes (N, 4), and predictions (N, K, 2) beside them."""
    rng = RandomState(seed)
    points = rng.uniform(0, 100, (count, joints, 2))
    labeled = rng.choice([0, 1, 2], (count, joints, 1))
    low, size = rng.uniform(-20, 20, (count, 2)), rng.uniform(50, 150, (count, 2))
    predicted = points + rng.standard_normal((count, joints, 2)) * 15
    predicted[0, 3:9] = np.nan
    return np.concatenate([points * (labeled > 0), labeled], 2), np.hstack([low, size]), predicted


def naive_pck(predicted: np.ndarray, keypoints: np.ndarray, boxes: np.ndarray, kind: str, level: int) -> tuple:
    """Joints that count, people who have one, joints that are near: one after another."""
    count, near, whom = 0, 0, set()
    names = COCO_NAMES if kind == "body" else HAND_NAMES
    for person, (points, box) in enumerate(zip(keypoints, boxes, strict=True)):
        shoulder, hip = (points[COCO_NAMES.index(name)] for name in ("left_shoulder", "right_hip"))
        if kind == "hand":
            seen = [p for p in points if p[2] > 0]
            sides = [max(p[axis] for p in seen) - min(p[axis] for p in seen) for axis in (0, 1)]
            limit = (0.2, 0.1)[level] * max(sides)
        elif shoulder[2] > 0 and hip[2] > 0:
            limit = (0.5, 0.2)[level] * math.dist(shoulder[:2], hip[:2])
        else:
            limit = (0.2, 0.1)[level] * max(box[2], box[3])
        for joint, point in enumerate(points):
            if point[2] == 0 or (kind == "body" and not any(word in names[joint] for word in LIMB_WORDS)):
                continue
            count, near = count + 1, near + (math.dist(predicted[person, joint], point[:2]) <= limit)
            whom.add(person)
    return count, len(whom), near / count


@pytest.mark.parametrize(("kind", "joints"), [("body", 17), ("hand", 21)])
def test_scores_are_those_of_a_loop_over_people_and_joints(kind: str, joints: int) -> None:
    keypoints, boxes, predicted = people(1, 40, joints)
    kinds = [None if n % 5 == 0 else ("park", "street")[n % 2] for n in range(40)]
    found = judge({"network": predicted, "truth": keypoints[..., :2]}, keypoints, boxes, kind, kinds)
    groups = {"all": range(40), **{f"images: {k}": [n for n in range(40) if kinds[n] == k] for k in ("park", "street")}}
    rows = dict(found.rows())
    for name, own in groups.items():
        own = list(own)
        for level, share in enumerate(("coarse", "fine")):
            count, whom, near = naive_pck(predicted[own], keypoints[own], boxes[own], kind, level)
            scores = rows[name]["network"]
            assert (scores.joints, scores.people) == (count, whom) and getattr(scores, share) == pytest.approx(near)
            assert getattr(rows[name]["truth"], share) == 1
    by_joint = found.joints
    assert sum(by["network"].joints for by in by_joint.values()) == found.everyone["network"].joints
    total = sum(by["network"].fine * by["network"].joints for by in by_joint.values())
    assert total == pytest.approx(found.everyone["network"].fine * found.everyone["network"].joints)
    assert set(by_joint) == ({n for n in COCO_NAMES if n.split("_")[-1] in LIMB_WORDS} if kind == "body" else
                             {n.lower() for n in HAND_NAMES})  # fmt: skip
    no_torso = sum(not (p[5, 2] > 0 and p[12, 2] > 0) for p in keypoints)
    assert found.without_torso == (no_torso if kind == "body" else 0)
    assert found.as_dict()["everyone"]["network"]["people"] == rows["all"]["network"].people


def test_rows_without_a_labeled_joint_are_absent() -> None:
    keypoints, boxes, predicted = people(2, 3, 17)
    keypoints[:, 9, 2], keypoints[2, :, 2] = 0, 0
    found = judge({"network": predicted}, keypoints, boxes, "body", ["a", "a", "b"])
    assert "left_wrist" not in found.joints and list(found.image_kinds) == ["a"]
    assert found.everyone["network"].people == 2


def test_a_body_is_measured_by_its_torso_or_its_box_and_a_hand_by_its_joints() -> None:
    body = np.zeros((2, 17, 3))
    body[0, 5], body[0, 12], body[1, 5] = (10, 10, 2), (40, 50, 1), (10, 10, 2)  # the second one has no right hip
    limits, torso = thresholds(body, np.array([[0, 0, 10, 20], [0, 0, 30, 20.0]]), "body")
    assert torso.tolist() == [True, False] and np.allclose(limits, [[25, 10], [6, 3]])
    hand = np.zeros((1, 21, 3))
    hand[0, 0], hand[0, 8] = (5, 5, 1), (25, 45, 1)
    assert np.allclose(thresholds(hand, np.ones((1, 4)), "hand")[0], [[8, 4]])


def test_the_mean_pose_is_that_of_people_in_their_boxes() -> None:
    keypoints, boxes, _ = people(3, 6, 17)
    keypoints[:, 4, 2] = 0
    pose = mean_pose(keypoints, boxes)
    assert np.isnan(pose[4]).all()
    for joint in (0, 7, 16):
        places = [
            [(points[joint, axis] - box[axis] - box[2 + axis] / 2) / max(box[2:]) for axis in (0, 1)]
            for points, box in zip(keypoints, boxes, strict=True)
            if points[joint, 2] > 0
        ]
        assert pose[joint] == pytest.approx(np.mean(places, 0))
    same = np.tile(keypoints[:1], (6, 1, 1))
    same[..., 2] = 1
    moved = same * [2, 2, 1] + [30, 40, 0]
    pose = mean_pose(np.concatenate([same, moved]), np.concatenate([np.tile(boxes[:1], (6, 1))] * 2) * 1.0)
    assert np.isfinite(pose).all()
    box = boxes[:1]
    assert in_boxes(mean_pose(same[:1], box), box)[0] == pytest.approx(same[0, :, :2])


def test_found_boxes_belong_to_one_person_each() -> None:
    boxes = np.array([[0, 0, 10, 20], [8, 0, 10, 20], [100, 100, 10, 10.0]])
    found = np.array([[7, 0, 10, 20], [1, 0, 10, 20], [50, 50, 10, 10.0]])
    assert matched(found, boxes).tolist() == [1, 0, -1]
    assert matched(found[:1], boxes).tolist() == [-1, 0, -1]
    assert matched(np.zeros((0, 4)), boxes).tolist() == [-1, -1, -1] and matched(found, boxes[:0]).tolist() == []
