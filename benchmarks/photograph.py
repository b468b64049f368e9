"""Milliseconds that one photograph takes by stages, from the file to the drawing, with the network that ships.

python benchmarks/photograph.py --threads 2

One person is the photograph that ships, enlarged to 1000 x 1000 pixels; two are it and its mirror image on a gray
ground of that size. The stages run one after the other, as for a single image; `finding` is MoveNet's, `network` the
mesh network's, `drawing` and `writing` those of the overlays. On a machine with other work, look at the least times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from tore.detection import MoveNetDetector, find
from tore.inference.predictor import MeshRecovery
from tore.paths import default_checkpoint, example_photograph
from tore_runtime.outputs import Wanted
from tore_runtime.pipeline import Job, Run

SIDE = 1000  # pixels
GRAY = 128
SHOWN = ("drawing", "writing")  # what comes behind the mesh


def shown_people(count: int) -> np.ndarray:
    """(1000, 1000, 3) uint8 with one or two people."""
    if count == 1:
        return np.array(Image.open(example_photograph()).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    image = np.full((SIDE, SIDE, 3), GRAY, np.uint8)
    person = np.array(Image.open(example_photograph()).convert("RGB").resize((SIDE // 2, SIDE // 2)))
    top = SIDE // 4
    image[top : top + SIDE // 2] = np.hstack([person, person[:, ::-1]])
    return image


def main() -> None:
    """Prints the median and the least time of each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=default_checkpoint("body"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--people", type=int, choices=(1, 2), default=1)
    parser.add_argument("--no_fast", action="store_true", help="the networks in torch, without exports")
    parser.add_argument("--refine", action="store_true", help="with refinement")
    parser.add_argument("--one_look", action="store_true", help="without the second look for small people")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    recovery = MeshRecovery.from_checkpoint(args.checkpoint, device="cpu", fast=not args.no_fast)
    finder = partial(find, MoveNetDetector(fast=not args.no_fast, second_look=not args.one_look))
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "people.jpg")
        Image.fromarray(shown_people(args.people)).save(path, quality=92)
        for repeat in range(args.repeats + 1):
            run = Run(recovery, Wanted(), overwrite=True, finder=finder, refine=args.refine)
            (report,) = run([Job(path, Path(folder, "out"))])
            if report.error:
                raise ValueError(report.error)
            for stage, taken in run.seconds.items():
                if repeat:  # the first lays weights out
                    seconds.setdefault(stage, []).append(taken)
    print(f"{len(report.people)} people, {args.threads} threads, ms:")
    for name, of in (("median", statistics.median), ("least", min)):
        found = {stage: 1000 * of(taken) for stage, taken in seconds.items()}
        told = ", ".join(f"{stage} {taken:.0f}" for stage, taken in found.items())
        mesh = sum(taken for stage, taken in found.items() if stage not in SHOWN)
        print(f"{name}: {told}; {mesh:.0f} to the mesh, {sum(found.values()):.0f} with drawing and writing")


if __name__ == "__main__":
    main()
