"""How many people a detector finds, and how well it places their keypoints, on images with known boxes.

python benchmarks/detection.py photos.json --detector movenet

The JSON file lies beside its images. `people` is a list of objects with `file`, `box` (x, y, width, height in pixels),
`source` (optional: figures are told for each, too) and `keypoints` (optional: COCO's 17, x, y and 0 where there is
none); `other_person_boxes` a list of objects with `file` and `box`: people who do not count, found or not.

A person is found if a box overlaps theirs by half (intersection over union). Recall is of people who cover 3% of their
image or more. PCK: annotated limb joints within 0.2 (and 0.5) of the length from left shoulder to right hip, or 0.1
(0.2) of the box's longer side where one of the two is not annotated; those of people who were not found are wrong.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tore.detection import Detection, Detector, detector_of, find
from tore.files import read_json
from tore.inference.images import read_image
from tore_runtime.detector import LIMBS, overlaps

OVERLAP = 0.5
LARGE = 0.03  # of the image
COVERED = 0.5  # of a found box by the box of somebody who does not count
SHOULDER, HIP = 5, 12  # left, right
LIMITS = (0.2, 0.5)  # of the torso
BOX_LIMITS = {0.2: 0.1, 0.5: 0.2}  # of the box's longer side, where there is no torso


class Counts:
    """Sums over images."""

    def __init__(self) -> None:
        self.large = self.large_found = self.people = self.found = self.wrong = self.joints = 0
        self.right = dict.fromkeys(LIMITS, 0)

    def add(self, people: list[dict[str, Any]], others: np.ndarray, found: list[Detection], size: Any) -> None:
        """One image: those who are annotated, boxes (N, 4) of those who do not count, those who were found."""
        extent, taken = np.array(size[1::-1]), {}
        boxes = np.array([_within(person["box"], extent) for person in people]).reshape(-1, 4)
        for detection in found:
            box = np.array(detection.box)
            shares = overlaps(box, boxes)
            shares[list(taken)] = 0
            if len(shares) and shares.max() >= OVERLAP:
                taken[int(shares.argmax())] = detection
            elif not _covered(box, others):
                self.wrong += 1
        for index, person in enumerate(people):
            large = boxes[index, 2:].prod() >= LARGE * extent.prod()
            self.people += 1
            self.found += index in taken
            self.large += large
            self.large_found += large and index in taken
            self._joints(person, taken.get(index))

    def _joints(self, person: dict[str, Any], detection: Detection | None) -> None:
        points = np.array(person.get("keypoints", np.zeros((17, 3))), float)
        known = points[LIMBS, 2] > 0
        self.joints += int(known.sum())
        if detection is None or detection.keypoints is None:
            return
        distances = np.linalg.norm(detection.keypoints[LIMBS, :2] - points[LIMBS, :2], axis=1)[known]
        torso = np.linalg.norm(points[SHOULDER, :2] - points[HIP, :2]) if points[[SHOULDER, HIP], 2].all() else None
        for limit in LIMITS:
            reach = BOX_LIMITS[limit] * max(person["box"][2:]) if torso is None else limit * torso
            self.right[limit] += int((distances < reach).sum())

    def told(self) -> str:
        """A row of the table."""
        share = {limit: f"{right / self.joints:.3f}" if self.joints else "-" for limit, right in self.right.items()}
        recall = f"{self.large_found / self.large:.3f} of {self.large}" if self.large else "-"
        every = f"{self.found / self.people:.3f} of {self.people}" if self.people else "-"
        precision = f"{self.found / (self.found + self.wrong):.3f}" if self.found + self.wrong else "-"
        return f"{recall:>14}  {every:>14}  {precision:>9}  {share[0.2]:>7}  {share[0.5]:>7}"


def _within(box: list[float], extent: np.ndarray) -> np.ndarray:
    low, high = np.clip(box[:2], 0, extent), np.clip(np.add(box[:2], box[2:]), 0, extent)
    return np.array([*low, *(high - low)])


def _covered(box: np.ndarray, others: np.ndarray) -> bool:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(high - low, 0).prod(1)
    return bool((shared > COVERED * box[2:].prod()).any() or (overlaps(box, others) > OVERLAP).any())


def measure(content: dict[str, Any], folder: Path, detector: Detector) -> tuple[dict[str, Counts], float]:
    """Counts by kind of image, and milliseconds per image."""
    counts: dict[str, Counts] = defaultdict(Counts)
    files = list(dict.fromkeys(person["file"] for person in content["people"]))
    seconds = 0.0
    for name in files:
        image = read_image(folder / name)
        people = [person for person in content["people"] if person["file"] == name]
        others = [item["box"] for item in content.get("other_person_boxes", []) if item["file"] == name]
        start = time.perf_counter()
        found = find(detector, image)
        seconds += time.perf_counter() - start
        for kind in {"all", *(person.get("source", "all") for person in people[:1])}:
            counts[kind].add(people, np.array(others, float).reshape(-1, 4), found, image.shape)
    return counts, 1000 * seconds / max(len(files), 1)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path, metavar="JSON")
    parser.add_argument("--detector", default="movenet")
    parser.add_argument("--detector_weights", type=Path)
    parser.add_argument("--box_threshold", type=float)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    detector = detector_of(args.detector, threshold=args.box_threshold, weights=args.detector_weights, fast=True)
    counts, milliseconds = measure(read_json(args.annotations), args.annotations.parent, detector)
    width = max(map(len, counts))
    print(f"{detector.name}: {milliseconds:.0f} ms per image, {args.threads} thread(s)")
    print(f"{'':<{width}}  {'recall (large)':>14}  {'recall (all)':>14}  precision  PCK@0.2  PCK@0.5")
    for kind in sorted(counts, key=lambda kind: -counts[kind].people):
        print(f"{kind:<{width}}  {counts[kind].told()}")


if __name__ == "__main__":
    main()
