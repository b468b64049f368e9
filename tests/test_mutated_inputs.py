"""Hundreds of damaged inputs of every kind: each is read, or told in one sentence; none is a fault of the project."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from manopth.files import load_array, load_body_arrays, load_object_arrays
from tests import rules
from tests.conftest import object_array
from tests.datasets import sources
from tests.datasets.data_sets import write_set
from tests.mutations import mutated
from tore.analysis.ablation import claim
from tore.analysis.subjects import parse_subject
from tore.datasets.convert.freihand import FreiHand
from tore.datasets.convert.spin import SpinAnnotations
from tore.datasets.convert.threedpw import load_tracks
from tore.datasets.inspection.checking import check_set
from tore.datasets.inspection.statistics import set_statistics
from tore.datasets.mesh_dataset import MeshDataset
from tore.demo.stages import Stages
from tore.engine.logging import RunLog
from tore.engine.state import CheckpointFolder, load_training_state
from tore.evaluation.freihand import read_predictions, write_predictions
from tore.files import read_json, write_json
from tore.inference.images import read_image
from tore.modeling import create_model, save_model
from tore.modeling.checkpoints import read_checkpoint
from tore.paths import SYNTHETIC
from tore_runtime.boxes import read_boxes
from tore_runtime.entry import sentence_of

COUNT = 96
ROWS = ((1, 24, 32), (2, 30, 20))
Kind = tuple[Path, Callable[[], object]]  # the file to damage, and what reads it


def set_kind(folder: Path, name: str) -> Kind:
    yaml = write_set(folder, ROWS)

    def read() -> None:
        dataset = MeshDataset(yaml, train=False)
        check_set(dataset, None, lambda: None)
        set_statistics(dataset, lambda: None)

    return folder / name, read


def boxes_kind(folder: Path) -> Kind:
    path = folder / "boxes.json"
    write_json(path, {"a.jpg": [[1, 2, 30, 40], [5, 6, 70, 80]], "b.jpg": []})
    return path, lambda: read_boxes(path)


def coco_kind(folder: Path) -> Kind:
    path = folder / "coco.json"
    annotation = {"image_id": 1, "bbox": [1, 2, 30, 40], "category_id": 1, "score": 0.9}
    images = [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}]
    write_json(path, {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "person"}]})
    return path, lambda: read_boxes(path)


def predictions_kind(folder: Path, name: str) -> Kind:
    r = RandomState(0)
    path = folder / "pred.zip"
    write_predictions(path, r.uniform(0, 0.1, (1, 21, 3)), r.uniform(0, 0.1, (1, 778, 3)))
    if name == "pred.json":
        shutil.unpack_archive(path, folder)
        path = folder / name
    return path, lambda: read_predictions(path)


def freihand_kind(folder: Path, name: str) -> Kind:
    sources.write_freihand(folder, hands=1)
    return folder / name, lambda: [entry.key for entry in FreiHand(folder, "training").entries()]


def spin_kind(folder: Path) -> Kind:
    path = sources.write_spin(folder)
    return path, lambda: list(SpinAnnotations(path).entries())


def threedpw_kind(folder: Path) -> Kind:
    path = folder / "walk.pkl"
    path.write_bytes(sources.python2_pickle(sources.threedpw_sequence(0, 2, "m")))
    return path, lambda: load_tracks(path)


def training_kind(folder: Path, name: str) -> Kind:
    checkpoints = CheckpointFolder(folder, keep=1)
    state = {"iteration": 2, "weights": torch.zeros(3)}
    path = checkpoints.save(state, lambda path: torch.save({}, path), epoch=1, iteration=2)

    def read() -> object:
        newest = checkpoints.newest()
        return load_training_state(newest or path)

    return path / name, read


def checkpoint_kind(folder: Path, name: str) -> Kind:
    """A network of our own layout, `.bin` or `.safetensors`."""
    options = {"size": "S", "widths": (8, 8), "hidden": (8, 8), "heads": 2, "keep_ratio": 0.1}
    model = create_model(arch="test_resnet", body_dir=SYNTHETIC, body="hand", **options)
    path = folder / name
    save_model(model, path)
    return path, lambda: read_checkpoint(path)


def body_kind(folder: Path, name: str) -> Kind:
    path = folder / name
    model = rules._body(3, 40, (-1, 0, 1), 60)
    if name.endswith("npz"):
        np.savez(path, **{key: value.toarray() if hasattr(value, "toarray") else value for key, value in model.items()})
    else:
        path.write_bytes(pickle.dumps(model, protocol=2))
    return path, lambda: load_body_arrays(path)


def array_kind(folder: Path) -> Kind:
    path = folder / "regressor.npy"
    np.save(path, np.eye(6)[:3])
    return path, lambda: load_array(path)


def levels_kind(folder: Path) -> Kind:
    path = folder / "levels.npz"
    np.savez(path, U=object_array([np.eye(3), np.ones((4, 3))]), D=object_array([np.eye(3)]))
    return path, lambda: load_object_arrays(path, ["U", "D"])


def log_kind(folder: Path) -> Kind:
    path = folder / "metrics.jsonl"

    def read() -> None:
        RunLog(folder, echo=lambda text: None, tensorboard=False).start(3)

    path.write_text("".join(json.dumps({"kind": "train", "iteration": i}) + "\n" for i in range(5)))
    return path, read


def claim_kind(folder: Path) -> Kind:
    claim(folder, {"steps": 10, "network": "fastmetro"})
    return folder / "ablation.json", lambda: claim(folder, {"steps": 10, "network": "fastmetro"})


def stage_kind(folder: Path) -> Kind:
    stages = Stages(folder, say=lambda text: None)
    stages.run("one", {"a": 1}, lambda place: {"b": 2})
    return folder / "one" / "done.json", lambda: stages.run("one", {"a": 1}, lambda place: {"b": 2})


def accuracy_kind(folder: Path) -> Kind:
    path = folder / "evaluation.json"
    write_json(path, {"metrics": {"pa_mpjpe": 41.5}})
    return path, lambda: parse_subject(f"fastmetro,arch=resnet50,pa_mpjpe={path}")


def image_kind(folder: Path, ending: str) -> Kind:
    path = folder / f"a.{ending}"
    sources.write_jpeg(path, 1, 24, 32)
    return path, lambda: read_image(path)


KINDS: dict[str, Callable[[Path], Kind]] = {
    "boxes": boxes_kind,
    "COCO": coco_kind,
    "set yaml": lambda folder: set_kind(folder, "set.yaml"),
    "label rows": lambda folder: set_kind(folder, "set.label.tsv"),
    "size rows": lambda folder: set_kind(folder, "set.hw.tsv"),
    "image rows": lambda folder: set_kind(folder, "set.img.tsv"),
    "line index": lambda folder: set_kind(folder, "set.label.lineidx"),
    "pred.zip": lambda folder: predictions_kind(folder, "pred.zip"),
    "pred.json": lambda folder: predictions_kind(folder, "pred.json"),
    "FreiHAND xyz": lambda folder: freihand_kind(folder, "training_xyz.json"),
    "FreiHAND mano": lambda folder: freihand_kind(folder, "training_mano.json"),
    "SPIN npz": spin_kind,
    "3DPW pkl": threedpw_kind,
    "training state": lambda folder: training_kind(folder, "training.pt"),
    "completeness": lambda folder: training_kind(folder, "complete.json"),
    "checkpoint": lambda folder: checkpoint_kind(folder, "state_dict.bin"),
    "safetensors": lambda folder: checkpoint_kind(folder, "model.safetensors"),
    "body pkl": lambda folder: body_kind(folder, "body.pkl"),
    "body npz": lambda folder: body_kind(folder, "body.npz"),
    "array": array_kind,
    "levels": levels_kind,
    "metrics": log_kind,
    "ablation": claim_kind,
    "stage": stage_kind,
    "accuracy": accuracy_kind,
    "jpeg": lambda folder: image_kind(folder, "jpg"),
    "png": lambda folder: image_kind(folder, "png"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_inputs_are_read_or_told(kind: str, tmp_path: Path) -> None:
    path, read = KINDS[kind](tmp_path)
    sound = path.read_bytes()
    before = {item: item.read_bytes() for item in tmp_path.rglob("*") if item.is_file()}
    read()
    told = 0
    for seed in range(COUNT):
        for item, content in before.items():
            if item != path and (not item.is_file() or item.read_bytes() != content):
                item.parent.mkdir(parents=True, exist_ok=True)
                item.write_bytes(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutated(seed, sound))
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                read()
        except Exception as error:
            if isinstance(error, RecursionError):
                raise
            text = sentence_of(error)  # raises the error where it is a fault of the project
            assert text and len(text) < 2000, (seed, text)
            told += 1
    path.write_bytes(sound)
    assert read_json(path) if path.suffix == ".json" else read() is not Ellipsis
    assert told or kind in ("completeness", "metrics", "stage", "label rows", "size rows", "image rows", "line index")
