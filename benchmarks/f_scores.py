"""Times F-scores of hand meshes, all pairs of a batch at once, against the definition point by point.

python -m benchmarks.f_scores [--hands 64] [--repeats 5]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.body import milliseconds
from tore.evaluation.metrics import F_SCORES, f_scores

VERTICES = 778
THRESHOLDS = tuple(F_SCORES.values())


def by_definition(predicted: np.ndarray, target: np.ndarray) -> list[float]:
    """F-scores of one hand (N, 3) against another, one point after the other."""
    there = [np.linalg.norm(target - point, axis=1).min() for point in predicted]
    back = [np.linalg.norm(predicted - point, axis=1).min() for point in target]
    scores = []
    for limit in THRESHOLDS:
        right, found = (np.mean(np.array(distances) < limit) for distances in (there, back))
        scores.append(2 * right * found / (right + found) if right + found else 0.0)
    return scores


def main() -> None:
    """Prints both times and the largest difference of the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    r = np.random.RandomState(0)
    target = r.standard_normal((options.hands, VERTICES, 3)) * 0.04
    predicted = target + r.standard_normal(target.shape) * 0.005
    tensors = torch.from_numpy(predicted), torch.from_numpy(target)
    batched, _ = milliseconds(lambda: f_scores(*tensors, THRESHOLDS), options.repeats)
    looped, _ = milliseconds(lambda: by_definition(predicted[0], target[0]), options.repeats)
    difference = np.abs(f_scores(*tensors, THRESHOLDS)[0].numpy() - by_definition(predicted[0], target[0])).max()
    print(f"{torch.get_num_threads()} threads, {options.hands} hands of {VERTICES} vertices")
    print(f"at once          {batched / options.hands:8.2f} ms a hand")
    print(f"point by point   {looped:8.2f} ms a hand")
    print(f"largest difference of the scores {difference:.1e}")


if __name__ == "__main__":
    main()
