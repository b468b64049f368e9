"""Times the body models and the alignment of joints against plain transcriptions, in one run.

    python -m benchmarks.body [--batch_size 16] [--threads 2] [--repeats 20]

Bodies come from the test suite's rules, so that no licensed file is needed.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from manopth.files import load_body_arrays
from manopth.lbs import SkinnedModel, linear_blend_skinning
from manopth.manolayer import ManoLayer
from manopth.rotations import axis_angle_to_matrix
from tests import rules
from tests.body import naive
from tore.geometry.alignment import align_similarity

ALIGNED = 64  # sets of joints


def milliseconds(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and least of `repeats` timed calls, after three untimed ones."""
    for _ in range(3):
        function()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken)), min(taken)


def naive_alignment(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One sample's (J, 3) similarity Procrustes as in the official code, with numpy's decomposition."""
    middle, goal = source.mean(0), target.mean(0)
    points, wanted = (source - middle).T, (target - goal).T
    u, _, vh = np.linalg.svd(points @ wanted.T)
    turn = np.eye(3)
    turn[2, 2] = np.sign(np.linalg.det(u @ vh))
    rotation = vh.T @ turn @ u.T
    scale = np.trace(rotation @ points @ wanted.T) / (points**2).sum()
    return (scale * rotation @ points).T + goal


def cases(folder: Path, batch: int) -> dict[str, Callable[[], object]]:
    """Name -> what is timed."""
    for name, model in (("hand.pkl", rules.mano_model()), ("body.pkl", rules.smpl_model())):
        (folder / name).write_bytes(pickle.dumps(model))
    hand, body = load_body_arrays(folder / "hand.pkl"), load_body_arrays(folder / "body.pkl")
    r = np.random.RandomState(0)
    pose = torch.from_numpy(r.standard_normal((batch, 72)) * 0.3).float()
    betas = torch.from_numpy(r.standard_normal((batch, 10))).float()
    layer = ManoLayer(mano_root=folder / "hand.pkl", use_pca=False, flat_hand_mean=False)
    skinned = SkinnedModel(body)
    joints = r.standard_normal((2, ALIGNED, 14, 3))

    def smpl_naive() -> object:
        rotations = torch.stack([naive.rotation_of(pose[:, 3 * j : 3 * j + 3]) for j in range(24)], 1)
        return naive.skin(rotations, betas, body)

    return {
        "hand, plain loop": lambda: naive.mano_layer(pose[:, :48], betas, hand, hand["hands_mean"]),
        "hand, ManoLayer": lambda: layer(pose[:, :48], betas),
        "body, plain loop": smpl_naive,
        "body, linear_blend_skinning": lambda: linear_blend_skinning(
            axis_angle_to_matrix(pose.unflatten(1, (24, 3))), betas, skinned
        ),
        f"Procrustes of {ALIGNED}, plain loop": lambda: [naive_alignment(a, b) for a, b in zip(*joints, strict=True)],
        f"Procrustes of {ALIGNED}, batched": lambda: align_similarity(*map(torch.from_numpy, joints)),
    }


def main() -> None:
    """Prints one line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", "--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name, function in cases(Path(folder), arguments.batch_size).items():
            median, least = milliseconds(function, arguments.repeats)
            print(f"{name:<32} batch {arguments.batch_size}: median {median:8.2f} ms, least {least:8.2f} ms")


if __name__ == "__main__":
    main()
