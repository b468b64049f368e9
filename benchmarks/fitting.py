"""Parameters from vertices: accuracy and time of `tore.body.fitting`, and of `smplfitter` on the same meshes.

    python -m benchmarks.fitting [--count 500] [--kinds body hand] [--strengths 1 3] [--no_smplfitter]

Random poses and shapes of the synthetic body and hand, and of copies of them whose pose directions are three times as
strong: half of the poses turn every joint by some 30 degrees, a quarter by up to 90 degrees about a random axis, a
quarter by some 65 degrees, many beyond what people can do; roots turn freely; betas are even within 4.

Each mesh is fitted as it is, and with smooth noise: independent normal numbers at the vertices, averaged five times
with those of the neighbors on the mesh (`--averages`: the more, the more such noise looks like another pose or shape),
then scaled to a root mean square length of 10 mm, for hands of 2 mm, too. Neighbors then have a correlation of 0.9.
Noisy meshes are fitted once more with `smooth=False`, where the default decides by the residuals how alike the noise of
neighbors is. Distances are mean distances of vertices; those of noisy meshes are to the true body. Time is of one core,
by the process's clock, a batch of 16 at a time, the least of `--passes`. `smplfitter` (pip install smplfitter --no-deps
platformdirs; MIT) runs where it is installed, with 3 rounds and its own defaults.
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from manopth.files import load_body_arrays
from tore.body import BodyModel, load_body
from tore.body.files import model_path
from tore.body.fitting import CLEAN, fit_parameters

NOISES = {"body": (0.01,), "hand": (0.002, 0.01)}  # meters
OURS, OURS_PLAIN, THEIRS = "tore", "tore plain", "smplfitter"
CLEAN_LIMIT, NOISY_LIMIT = 0.2, 4.0  # millimeters: of every clean mesh, and the mean of those with noise of 10 mm
BATCH = 16
Fit = Callable[[Tensor, float], Tensor]  # meshes (B, V, 3) and the deviation of their noise -> fitted meshes


class Row(NamedTuple):
    """Distances of the fitted meshes, millimeters, and what one took, milliseconds."""

    distances: Tensor  # (N,)
    milliseconds: float

    def text(self) -> str:
        """On one line."""
        d = self.distances
        values = (d.mean(), d.median(), d.quantile(0.99), d.max())
        return "".join(f"{float(value):9.3f}" for value in values) + f"{self.milliseconds:9.1f} ms"


def poses(joints: int, count: int, random: torch.Generator) -> Tensor:
    """(N, 3 K) as the file's first words say, the easier half first."""
    easy = torch.randn(count, joints, 3, generator=random) * 0.3
    axis = torch.nn.functional.normalize(torch.randn(count, joints, 3, generator=random), dim=-1)
    wide = axis * torch.rand(count, joints, 1, generator=random) * torch.pi / 2
    wild = torch.randn(count, joints, 3, generator=random) * 0.7
    half, quarter = count // 2, count // 4
    found = torch.cat([easy[:half], wide[half : half + quarter], wild[half + quarter :]])
    found[:, 0] = torch.randn(count, 3, generator=random) * 1.5
    return found.flatten(1)


def smooth_noise(body: BodyModel, count: int, averages: int, random: torch.Generator) -> Tensor:
    """(N, V, 3) of a root mean square length of 1."""
    faces = body.faces.numpy()
    corners = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    vertices = body.skinned.weights.shape[1]
    edges = sp.coo_matrix((np.ones(len(corners)), corners.T), (vertices, vertices))
    around = ((edges + edges.T + sp.eye(vertices)) > 0).astype(np.float64).tocsr()
    around = sp.diags(1 / np.asarray(around.sum(1)).ravel()) @ around
    values = torch.randn(vertices, 3 * count, generator=random).numpy()
    for _ in range(averages):
        values = around @ values
    found = torch.from_numpy(values).float().unflatten(1, (count, 3)).transpose(0, 1)
    return found / found.square().sum(-1).mean(1).sqrt()[:, None, None]


def ours(body: BodyModel, *, smooth: bool | None = None) -> Fit:
    """This project's."""

    def fit(vertices: Tensor, noise: float) -> Tensor:
        found = fit_parameters(body, vertices, noise=noise, smooth=smooth)
        return body(found.pose, found.betas) + found.translation[:, None]

    return fit


def theirs(body: BodyModel, strength: float) -> Fit | None:
    """smplfitter's, of a body model that is written in its own layout; None where it is not installed."""
    try:
        from smplfitter.pt import BodyFitter
        from smplfitter.pt import BodyModel as Model
    except ImportError as error:
        print(f"smplfitter is left out: {error}")
        return None
    held: dict[str, Any] = dict(load_body_arrays(model_path(body.kind, "synthetic")))
    held["posedirs"], held["shapedirs"] = held["posedirs"] * strength, held["shapedirs"][..., :10]
    held["kintree_table"] = np.asarray(held["kintree_table"]).astype(np.int64)
    held["kintree_table"][0, 0] = -1
    with tempfile.TemporaryDirectory() as folder:
        name = {"body": "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl", "hand": "MANO_RIGHT.pkl"}[body.kind]
        Path(folder, name).write_bytes(pickle.dumps(held))
        np.save(Path(folder, "kid_template.npy"), np.zeros_like(held["v_template"]))
        kind = {"body": "smpl", "hand": "mano"}[body.kind]
        model = Model(kind, "neutral", model_root=folder, num_betas=10)
    fitter = BodyFitter(model)

    def fit(vertices: Tensor, noise: float) -> Tensor:
        regular = 0.0 if noise == CLEAN else 1.0  # its own default, which holds betas too much on clean meshes
        keys = ["pose_rotvecs", "shape_betas", "trans"]
        found = fitter.fit(vertices, num_iter=3, beta_regularizer=regular, requested_keys=keys)
        return model(found["pose_rotvecs"], found["shape_betas"], found["trans"])["vertices"]

    return fit


@torch.no_grad()
def measured(fit: Fit, given: Tensor, true: Tensor, noise: float, passes: int = 1) -> Row:
    """The fits of all meshes (N, V, 3)."""
    fit(given[:BATCH], noise)
    least = math.inf
    for _ in range(passes):
        start = time.process_time()
        found = torch.cat([fit(part, noise) for part in given.split(BATCH)])
        least = min(least, time.process_time() - start)
    return Row((found - true).norm(dim=-1).mean(1) * 1000, least / len(given) * 1000)


def compare(kind: str, strength: float, count: int, averages: int, *, passes: int, check: bool) -> bool:
    """Prints the rows of one model; whether this project's distances are within the limits."""
    body = load_body(kind, "synthetic")
    body.skinned.basis[1 + body.skinned.num_betas :] *= strength
    random = torch.Generator().manual_seed(0)
    pose, betas = poses(body.skinned.num_joints, count, random), torch.rand(count, 10, generator=random) * 8 - 4
    place = torch.randn(count, 1, 3, generator=random)
    true = torch.cat([body(*part) for part in zip(pose.split(BATCH), betas.split(BATCH), strict=True)]) + place
    noise = smooth_noise(body, count, averages, random)
    fits = {
        OURS: ours(body),
        OURS_PLAIN: ours(body, smooth=False),
        THEIRS: theirs(body, strength) if check else None,
    }
    good = True
    for length in (0.0, *NOISES[kind]):
        told, label = length or CLEAN, f"smooth {1000 * length:g} mm" if length else "clean"
        for name, fit in fits.items():
            if fit is None or (name == OURS_PLAIN and not length):
                continue
            row = measured(fit, true + length * noise, true, told, passes)
            print(f"{kind:<5}x{strength:g} {label:<13}{name:<12}{row.text()}", flush=True)
            if name == OURS:
                good &= float(row.distances.mean()) <= NOISY_LIMIT
                good &= bool(length) or float(row.distances.max()) <= CLEAN_LIMIT
    return good


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 where a distance is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="meshes of each model")
    parser.add_argument("--kinds", nargs="+", choices=("body", "hand"), default=["body", "hand"])
    parser.add_argument("--strengths", nargs="+", type=float, default=[1.0, 3.0], help="of the pose directions")
    parser.add_argument("--averages", type=int, default=5, help="of noise with its neighbors")
    parser.add_argument("--passes", type=int, default=1, help="over all meshes, of which the fastest counts")
    parser.add_argument("--no_smplfitter", action="store_true", help="leave the comparison out")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"{args.count} meshes each, one thread of {os.cpu_count()}, torch {torch.__version__}; distances in mm")
    print(f"{'':<33}{'mean':>9}{'median':>9}{'99 %':>9}{'most':>9}{'a mesh':>12}")
    options: dict[str, Any] = {"passes": args.passes, "check": not args.no_smplfitter}
    found = [
        compare(kind, strength, args.count, args.averages, **options)
        for kind in args.kinds
        for strength in args.strengths
    ]
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
