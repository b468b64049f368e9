"""Runs two commits on the same machine and compares every number that they write, bit for bit.

python scripts/compare_commits.py BEFORE AFTER --work DIR

Per commit, in a fresh checkout: synthetic sets of bodies and hands, 20 training steps of FastMETRO and METRO on both,
evaluation and inference by the checkpoints that ship, and the demo's table, all on fixed seeds and one thread. Numbers
that measure time are left out. Exit code 0 when all are equal, 1 when some differ, 2 when a command failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
NOT_COMPARED = re.compile(r"second|time|memory|path|yaml|version|machine|processor|started|commit")
SMALL = "--arch mobilenetv3_small_100 --backbone_weights none --per_gpu_train_batch_size 4 --num_workers 0 --device cpu"
STEADY = "--logging_steps 1 --visual_steps 0 --no_tensorboard --val_yaml none --num_train_epochs 4 --seed 3"
TRAININGS = {
    "fastmetro_body": ("run_tore_fm_bodymesh", "body", "--model_name FastMETRO_S"),
    "fastmetro_hand": ("run_tore_fm_handmesh", "hand", "--model_name FastMETRO_S"),
    "metro_body": ("run_tore_m_bodymesh", "body", ""),
    "metro_hand": ("run_tore_m_handmesh", "hand", ""),
}


class Checkout:
    """One commit in a folder of its own, with a cache of its own."""

    def __init__(self, commit: str, work: Path) -> None:
        self.commit, self.out = commit, work / commit[:12] / "out"
        self.tree = work / commit[:12] / "tree"
        if not self.tree.is_dir():
            command = ["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(self.tree), commit]
            subprocess.run(command, check=True)
        self.out.mkdir(parents=True, exist_ok=True)
        new = (self.tree / "tore/modeling/shipped/people.safetensors").exists()
        self.body = "free" if new else "stand-in"  # the body model of the networks that ship with the commit

    def python(self, *arguments: str) -> None:
        """Runs Python with this commit's code; stops this script where it fails."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.tree),
            "TORE_CACHE_DIR": str(self.out.parent / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.out, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{self.commit}: {' '.join(arguments)} ended with {done.returncode}\n{done.stderr[-2000:]}")
            raise SystemExit(2)

    def shipped(self, kind: str) -> str:
        """The checkpoint that ships for a "body" or a "hand"."""
        names = {"body": ("people.safetensors", "standin_body.bin"), "hand": ("hands.safetensors", "standin_hand.bin")}
        new, old = (self.tree / "tore/modeling/shipped" / name for name in names[kind])
        return str(new if self.body == "free" else old)

    def run(self, only: list[str]) -> None:
        """Everything that is compared; results that are there are kept."""
        for name, step in self.steps().items():
            if (not only or name in only) and not (self.out / f"{name}.done").exists():
                print(f"{self.commit[:12]}: {name}", flush=True)
                for arguments in step:
                    self.python(*arguments.split())
                (self.out / f"{name}.done").touch()

    def steps(self) -> dict[str, list[str]]:
        """Name -> the commands of that step."""
        cli = "-m tore.cli"
        found = {
            f"set_{kind}": [
                f"{cli} synth pictures --out set_{kind} --body {kind} --train 20 --val 12 --seed 1 "
                f"--data_dir {self.body}"
            ]
            for kind in ("body", "hand")
        }
        for name, (script, kind, more) in TRAININGS.items():
            where = f"--data_dir . --train_yaml set_{kind}/train.yaml --body_dir {self.body} --output_dir train_{name}"
            found[f"train_{name}"] = [f"{self.tree}/tore/tools/{script}.py {where} {SMALL} {STEADY} {more}"]
        for kind in ("body", "hand"):
            judged = f"--val_yaml set_{kind}/val.yaml --body_dir {self.body} --num_workers 0 --device cpu"
            found[f"evaluate_{kind}"] = [
                f"{cli} evaluate --checkpoint {self.shipped(kind)} {judged} --json evaluate_{kind}/numbers.json "
                f"--samples evaluate_{kind}/samples.jsonl"
            ]
            image = self.tree / "docs/images/demo_people.jpg"
            image = image if image.exists() else sorted((self.tree / "docs").rglob("demo_people.jpg"))[0]
            found[f"infer_{kind}"] = [
                f"{self.tree}/tore/tools/tore_inference_fm.py --resume_checkpoint {self.shipped(kind)} "
                f"--image_file_or_path {image} --output_dir infer_{kind} --no_overlay "
                f"--save_results npz --data_dir {self.body} --device cpu"
            ]
        count = "--train_images" if (self.tree / "tore/demo").is_dir() else "--train_pictures"
        found["demo"] = [
            f"{cli} demo --output_dir demo --minutes 0.001 --pictures 12 {count} 16 --shown 1 "
            "--overfit_steps 2 --workers 1 --device cpu"
        ]
        return found


def numbers(value: Any, name: str = "") -> Iterator[float]:
    """The numbers of a JSON value in the order of the file, without those that measure time."""
    if isinstance(value, dict):
        for key, part in value.items():
            if not NOT_COMPARED.search(key):
                yield from numbers(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part, name)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def numbers_of(path: Path) -> np.ndarray:
    """The numbers of a .json, .jsonl, .npz or .tsv file."""
    if path.suffix == ".npz":
        arrays = np.load(path)
        parts = [np.ravel(arrays[name]).astype(float) for name in arrays.files if arrays[name].dtype.kind in "fiu"]
        return np.concatenate(parts) if parts else np.zeros(0)
    if path.suffix == ".tsv":
        return np.frombuffer(path.read_bytes(), np.uint8).astype(float)
    text = path.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    return np.array([number for row in rows for number in numbers(row)])


def compared(folder: Path) -> dict[str, Path]:
    """What a commit wrote that holds numbers: name relative to `folder` -> path."""
    patterns = ("set_*/*.tsv", "train_*/metrics.jsonl", "evaluate_*/*.json*", "infer_*/*.npz", "demo/*/*.json")
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    skipped = re.compile(r"plan\.json|settings|length|speed|cost")
    return {str(path.relative_to(folder)): path for path in paths if not skipped.search(path.name)}


def main() -> int:
    """Runs both commits and prints what is equal and what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkouts and results")
    parser.add_argument("--only", nargs="*", default=[], help="names of steps, such as train_metro_body")
    options = parser.parse_args()
    sides = []
    for commit in (options.before, options.after):
        command = ["git", "-C", str(ROOT), "rev-parse", f"{commit}^{{commit}}"]
        full = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        side = Checkout(full, options.work.resolve())
        side.run(options.only)
        sides.append(compared(side.out))
    before, after = sides
    different = 0
    for name, path in before.items():
        if name not in after:
            print(f"missing after: {name}")
            different += 1
            continue
        old, new = numbers_of(path), numbers_of(after[name])
        equal = np.array_equal(old, new, equal_nan=True)
        different += not equal
        far = np.nanmax(np.abs(old - new)) if old.shape == new.shape and len(old) else "another length"
        print(f"{'equal' if equal else 'DIFFERENT'}  {name}: {len(old)} numbers" + ("" if equal else f", off by {far}"))
    print(f"{len(before)} files, {different} different")
    return 1 if different or not before else 0


if __name__ == "__main__":
    sys.exit(main())
