"""Learns a few synthetic images by overfitting: the check that network, targets, losses and optimizer work together.

FastMETRO_S+TORE with a small backbone, dropout 0, fixed crops. Prints the training MPJPE as it falls and the step at
which it is under the wanted share of its start; exit code 1 when it never is.

    python scripts/overfit.py [--images 32] [--steps 1000] [--share 0.15]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from tore import create_model
from tore.body import load_body
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.engine.optimization import FASTMETRO_OPTIMIZER, build_optimizer, clip_gradients, set_learning_rate
from tore.engine.state import seed_process
from tore.engine.step import LossStep, step_of, to_device
from tore.evaluation.metrics import joint_errors
from tore.losses.criterion import Targets
from tore.losses.recipes import FASTMETRO_BODY
from tore.synthetic.free_body import synthetic_body_dir
from tore.synthetic.writing import Recipe, write_images

WATCH_STEPS = 50  # between two looks at the MPJPE of all images


def load_images(count: int, seed: int) -> dict[str, Any]:
    """One batch of `count` freshly made images, cropped without augmentation."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(kind="body", split="train", seed=seed, size=256, body_dir=str(synthetic_body_dir()))
        data = MeshDataset(write_images(recipe, count, folder, workers=2), False)
        return default_collate([data[index] for index in range(count)])


def part_of(batch: dict[str, Any], size: int) -> dict[str, Any]:
    """`size` samples of the batch, drawn anew for every step."""
    chosen = torch.randperm(len(batch["image"]))[:size].to(batch["image"].device)
    return {name: value[chosen] for name, value in batch.items() if isinstance(value, torch.Tensor)}


@torch.no_grad()
def mpjpe(model: nn.Module, step: LossStep, images: torch.Tensor, targets: Targets) -> float:
    """Millimetres over the batch, of the joints of the mesh, with the network as it trains."""
    joints = step.regress_joints(model(images).vertices)
    return 1000 * joint_errors(joints, targets.joints_3d[..., :3], step.recipe.center).mean().item()


def overfit(args: argparse.Namespace) -> int | None:
    """The step at which the training MPJPE fell under the wanted share, None if it never did."""
    seed_process(args.seed)
    device = torch.device(args.device)
    batch = to_device(load_images(args.images, args.seed), device)
    body = load_body("body", synthetic_body_dir()).to(device)
    narrow = {"widths": (256, 128), "hidden": (1024, 512)}
    model = create_model(arch=args.arch, size="S", body_dir="synthetic", device=device, dropout=0.0, **narrow)
    step = step_of(model, body, FASTMETRO_BODY.without_surface(), processes=Processes(device=device))
    optimizer = build_optimizer(model.parameters(), FASTMETRO_OPTIMIZER, args.lr)
    targets = step.targets(batch)
    begin, clock = mpjpe(model, step, batch["image"], targets), time.perf_counter()
    print(f"step    0: MPJPE {begin:7.1f} mm")
    for iteration in range(1, args.steps + 1):
        set_learning_rate(optimizer, args.lr * min(1.0, iteration / max(1, args.warmup)))
        optimizer.zero_grad(set_to_none=True)
        step(model, part_of(batch, args.batch_size), progress=3.0).total.backward()
        clip_gradients(model.parameters(), FASTMETRO_OPTIMIZER)
        optimizer.step()
        if iteration % WATCH_STEPS == 0:
            now = mpjpe(model, step, batch["image"], targets)
            seconds = time.perf_counter() - clock
            print(f"step {iteration:4}: MPJPE {now:7.1f} mm, {100 * now / begin:5.1f}% of its start, {seconds:.0f} s")
            if now < args.share * begin:
                return iteration
    return None


def main() -> int:
    """Runs the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", "--pictures", type=int, default=32)
    parser.add_argument("--batch_size", "--batch", type=int, default=8, help="images of one step")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.15, help="of the MPJPE before the first step")
    parser.add_argument("--arch", default="mobilenetv3_small_100", help="backbone")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--warmup", type=int, default=100, help="steps over which the learning rate rises")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    reached = overfit(args)
    verdict = f"reached after {reached} steps" if reached else f"not reached in {args.steps} steps"
    print(f"{100 * args.share:.0f}% of the start: {verdict}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
