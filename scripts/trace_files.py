"""Counts the files that a forward pass and a training step run through: python scripts/trace_files.py [--names]

A file counts when a function of it runs (imports do not). The training step is one whole turn of the loop: sample,
crop and augmentation of a batch, targets, forward pass, losses, gradients, the optimizer's step and the log line.
Size figures of tore/ stand beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
SHORT = 60  # lines
TRAINING = (
    "--arch mobilenetv3_small_100 --model_name FastMETRO_S --backbone_weights none --body_dir synthetic "
    "--val_yaml none "
    "--per_gpu_train_batch_size 4 --num_workers 0 --num_train_epochs 1 --logging_steps 1 --visual_steps 0 "
    "--no_tensorboard --device cpu --quiet"
)


@contextlib.contextmanager
def traced(found: set[Path]) -> Iterator[None]:
    """Adds the files of tore/ and manopth/ whose functions run inside."""
    places = tuple(f"{ROOT / name}{os.sep}" for name in ("tore", "manopth"))

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(places) and code.co_name not in ("<module>", "<lambda>"):
            found.add(Path(code.co_filename).relative_to(ROOT))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def forward_files() -> set[Path]:
    """The files of one forward pass of FastMETRO+TORE in evaluation mode."""
    import torch

    import tore

    model = tore.create_model("fastmetro", arch="resnet50", size="L", keep_ratio=0.8, body_dir="synthetic").eval()
    found: set[Path] = set()
    with torch.no_grad(), traced(found):
        model(torch.zeros(1, 3, 224, 224))
    return found


def step_files() -> set[Path]:
    """The files of one training step, from reading its samples to its log line."""
    from tore.cli import main
    from tore.engine.trainer import Trainer

    found: set[Path] = set()
    whole = Trainer._train_epoch

    def observed(self: Trainer, *arguments: Any) -> bool:
        with traced(found):
            return whole(self, *arguments)

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        main(["synth", "images", "--output_dir", folder, "--train", "4", "--val", "1", "--num_workers", "1"])
        Trainer._train_epoch = observed  # type: ignore[method-assign]
        try:
            flags = ["--data_dir", folder, "--train_yaml", "train.yaml", "--output_dir", f"{folder}/run"]
            if main(["train-fm", *TRAINING.split(), *flags]):
                raise SystemExit("the training step failed")
        finally:
            Trainer._train_epoch = whole  # type: ignore[method-assign]
    return found


def main() -> int:
    """Prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", action="store_true", help="list the files too")
    options = parser.parse_args()
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tore").rglob("*.py")]
    short = sum(length < SHORT for length in lengths)
    print(
        f"tore/: {len(lengths)} files, {sum(lengths)} lines, median {statistics.median(lengths):g} lines a file, "
        f"{short} ({100 * short / len(lengths):.0f}%) under {SHORT}"
    )
    for title, found in (("forward pass", forward_files()), ("training step", step_files())):
        print(f"{title}: {len(found)} files")
        if options.names:
            print(*(f"  {path}" for path in sorted(found)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
