"""Times the evaluation of a set, loading and metrics included, against the network alone on as many images.

    python -m benchmarks.evaluation [--images 1000] [--side 1000] [--batch_size 16] [--num_workers 2] [--arch A]
        [--fast]

FastMETRO_L+TORE on the synthetic body, JPEG images with boxes of 600 pixels. The network alone sees half of the
images before the evaluation and half behind it. Beside the time by the clock stands the processors' time, the
workers' included, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.item import make_set
from tests.training_runs import labels
from tore import create_model
from tore.body import load_body
from tore.body.body_model import SMPL, BodyModel
from tore.datasets.mesh_dataset import MeshDataset
from tore.device import keep_freed_memory
from tore.engine.distributed import Processes
from tore.export.loading import exported_copy
from tore.synthetic.free_body import synthetic_body_dir
from tore.training.evaluate import Evaluation

BOX_SCALE = 3.0  # times 200 pixels


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of all processors in this process and the children that it waited for."""

    def processors() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    clock, before = time.perf_counter(), processors()
    work()
    return time.perf_counter() - clock, processors() - before


@torch.inference_mode()
def network_alone(model: torch.nn.Module, count: int, batch: int) -> None:
    """Forward passes over made-up crops."""
    images = torch.randn(batch, 3, 224, 224)
    for start in range(0, count, batch):
        model(images[: count - start])


def evaluation(model: torch.nn.Module, body: BodyModel, yaml: Path, options: argparse.Namespace) -> None:
    """The evaluation that `tore evaluate` runs."""
    measured = Evaluation(
        MeshDataset(yaml, False),
        body,
        network="fastmetro",
        body_dir=synthetic_body_dir(),
        processes=Processes(device=torch.device("cpu")),
        batch_size=options.batch_size,
        workers=options.num_workers,
    )
    measured(model)


def person_of(body: BodyModel, side: int) -> dict[str, Any]:
    """A label whose joints are the body model's, in an image of side x side pixels."""
    assert isinstance(body, SMPL)
    ((person,),) = labels(1, body)
    pixels = np.array(person["2d_joints"])
    pixels[:, :2] += side / 2 - pixels[:, :2].mean(0)
    return person | {"2d_joints": pixels.tolist(), "center": [side / 2, side / 2]}


def main() -> None:
    """Prints the two times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", "--pictures", type=int, default=1000)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--batch_size", "--batch", type=int, default=16)
    parser.add_argument("--num_workers", "--workers", type=int, default=2)
    parser.add_argument("--arch", default="efficientnet-b0")
    parser.add_argument("--fast", action="store_true", help="the optimized model on both sides")
    options = parser.parse_args()
    keep_freed_memory()
    network = create_model("fastmetro", arch=options.arch, body_dir=synthetic_body_dir()).eval()
    model = exported_copy(network, synthetic_body_dir()) if options.fast else network
    body = load_body("body", synthetic_body_dir())
    with tempfile.TemporaryDirectory() as folder:
        yaml = make_set(Path(folder), options.side, BOX_SCALE, options.images, person_of(body, options.side))
        network_alone(model, options.batch_size, options.batch_size)
        half = options.images // 2
        before = seconds(lambda: network_alone(model, half, options.batch_size))
        whole = seconds(lambda: evaluation(model, body, yaml, options))
        behind = seconds(lambda: network_alone(model, options.images - half, options.batch_size))
    alone = [sum(each) for each in zip(before, behind, strict=True)]
    name = f"{options.arch}'s optimized model" if options.fast else options.arch
    print(f"{options.images} images, {name}, {torch.get_num_threads()} threads, {options.num_workers} workers")
    print(f"{'network alone':<14}{alone[0]:8.2f} s by the clock, {alone[1]:8.2f} s of processors")
    print(f"{'evaluation':<14}{whole[0]:8.2f} s by the clock, {whole[1]:8.2f} s of processors")
    print(f"{'ratio':<14}{whole[0] / alone[0]:8.2f} {whole[1] / alone[1]:18.2f}")


if __name__ == "__main__":
    main()
