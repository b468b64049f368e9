"""A tiny TSV set and the commands that train on it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import rules
from tests.datasets.data_sets import write_set
from tests.processes import ROOT, environment
from tore.body import SMPL
from tore.engine.state import CheckpointFolder

SAMPLES = 13
SMALL_FM = ["--arch", "test_resnet", "--model_name", "FastMETRO_S", "--keep_ratio", "0.2"]
SMALL_FM += ["--model_dim_1", "32", "--model_dim_2", "32", "--feedforward_dim_1", "32", "--feedforward_dim_2", "32"]
SMALL_FM += ["--transformer_nhead", "4"]
SMALL_M = ["--arch", "test_resnet", "--num_hidden_layers", "1", "--intermediate_size", "32"]
SMALL_M += ["--input_feat_dim", "99,32,16", "--hidden_feat_dim", "64,32,16"]
QUICK = ["--backbone_weights", "none", "--no_tensorboard", "--visual_steps", "0", "--device", "cpu"]
STEPS = ["--per_gpu_train_batch_size", "2", "--per_gpu_eval_batch_size", "3", "--logging_steps", "2"]
FM_SCRIPT = "tore/tools/run_tore_fm_bodymesh.py"


def labels(count: int, body: SMPL) -> list[list[dict]]:
    """Rule-made poses with the joints of their body, seen in the middle; some samples lack a mesh or 3D joints."""
    people = [rules.label(100 + item, 96, 80) for item in range(count)]
    for item, (person,) in enumerate(people):
        pose, betas = torch.tensor([person["pose"]]), torch.tensor([person["betas"]])
        joints = body.joints24(body(pose, betas))[0].numpy().astype(float)
        joints -= joints.mean(0)
        ones, pixels = np.ones((24, 1)), joints[:, :2] * 20 + [40, 48]
        person |= {"3d_joints": np.hstack([joints, ones]).tolist(), "2d_joints": np.hstack([pixels, ones]).tolist()}
        person["has_smpl"] = int(item % 5 != 1)
        person["has_3d_joints"] = int(item % 6 != 2)
    return people


@pytest.fixture(scope="session")
def tiny_sets(tmp_path_factory: pytest.TempPathFactory, rule_body_dir: Path) -> Path:
    """A data root with `train/set.yaml` (13 images) and `val/set.yaml` (7), of the rule-made body."""
    return write_sets(tmp_path_factory.mktemp("sets"), rule_body_dir)


@pytest.fixture(scope="session")
def synthetic_sets(tmp_path_factory: pytest.TempPathFactory, synthetic_body_dir: Path) -> Path:
    """The same of the synthetic body model."""
    return write_sets(tmp_path_factory.mktemp("synthetic_sets"), synthetic_body_dir)


def write_sets(root: Path, bodies: Path) -> Path:
    """Writes both sets, their joints those of the body model in `bodies`."""
    for name, count in (("train", SAMPLES), ("val", 7)):
        (root / name).mkdir()
        sources = [(100 + item, 96, 80) for item in range(count)]
        write_set(root / name, sources, labels(count, SMPL(bodies)), suffix=".jpg")
    return root


def data_flags(sets: Path, bodies: Path | str, output: Path) -> list[str]:
    """Where everything lies."""
    flags = ["--data_dir", str(sets), "--train_yaml", "train/set.yaml", "--val_yaml", "val/set.yaml"]
    return [*flags, "--body_dir", str(bodies), "--output_dir", str(output)]


def run_command(command: Sequence[str], timeout: float = 240, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the checkout, its output and errors together; `more` goes into its environment."""
    return subprocess.run(
        list(command),
        cwd=ROOT,
        env=environment(**more),
        stdout=-1,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def torchrun(count: int, *options: str) -> list[str]:
    """The launcher for `count` processes on this machine, on any free port."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *options]


def lines(folder: Path, kind: str = "train") -> list[dict]:
    """The rows of one kind in a run's metrics, without what measures time."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in found if line["kind"] == kind]


def newest(folder: Path) -> Path:
    """The newest checkpoint of a run."""
    found = CheckpointFolder(folder, keep=1).newest()
    assert found is not None, list(folder.iterdir())
    return found
