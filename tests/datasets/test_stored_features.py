"""Stored features against the features of the same augmentation computed from the image, and what is refused."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tore
from tests.training_runs import SAMPLES
from tore.datasets import stored_features
from tore.datasets.augmentation import Draw, Ranges, covered, draw_augmentation, draw_more
from tore.datasets.mesh_dataset import BODY, MeshDataset, drawn_crop, sample_rng
from tore.datasets.stored_features import FeatureStore, StoredFeatures
from tore.engine.distributed import Processes
from tore.engine.step import shown_to
from tore.modeling.backbones import load_backbone_weights
from tore.modeling.metro import METRO
from tore.training.feature_storing import stored_dataset

SMALL: dict[str, Any] = {"size": "S", "widths": (32, 32), "hidden": (32, 32), "heads": 4, "frozen_backbone": True}
AUGMENTATIONS = 2
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture(scope="module")
def model(rule_body_dir: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    return tore.create_model(arch="test_resnet", body_dir=rule_body_dir, **SMALL)


def options(sets: Path, **more: Any) -> dict[str, Any]:
    chosen = {"yaml": sets / "train" / "set.yaml", "train": True, "seed": 3, "shift": 0.1, "occlusion": 0.7}
    return chosen | more


def stored(model: torch.nn.Module, chosen: dict[str, Any], folder: Path, lines: list[str]) -> StoredFeatures:
    return stored_dataset(
        model,
        chosen,
        folder=folder,
        augmentations=AUGMENTATIONS,
        workers=0,
        processes=Processes(device=torch.device("cpu")),
        say=lines.append,
    )


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_features, "PART", 5)


@pytest.mark.usefixtures("small_parts")
def test_stored_samples_are_those_of_the_images(model: torch.nn.Module, tiny_sets: Path, tmp_path: Path) -> None:
    chosen = options(tiny_sets)
    state, made = torch.get_rng_state(), stored(model, chosen, tmp_path / "store", [])
    assert torch.equal(torch.get_rng_state(), state)
    images = MeshDataset(**chosen)
    for epoch in (0, 1, 2):
        made.set_epoch(epoch)
        images.set_epoch(epoch % AUGMENTATIONS)  # the third epoch sees the first one's draws again
        for index in range(SAMPLES):
            there, online = made[index], images[index]
            with torch.no_grad():
                expected = model.backbone(online.pop("image")[None])[0]
            features = there.pop("features")
            assert features.dtype == torch.float16 and features.shape == expected.shape
            assert (features - expected).abs().max() <= 1e-3 * expected.abs().max()
            assert there.keys() == online.keys()
            for name, value in online.items():
                same = torch.equal(value, there[name]) if isinstance(value, torch.Tensor) else value == there[name]
                assert same, (epoch, index, name)


@pytest.mark.usefixtures("small_parts")
def test_a_stopped_run_makes_what_is_missing(model: torch.nn.Module, tiny_sets: Path, tmp_path: Path) -> None:
    chosen, lines = options(tiny_sets), list[str]()
    store = stored(model, chosen, tmp_path, lines).store
    files = sorted(tmp_path.glob("*.npy"))
    assert len(files) == AUGMENTATIONS * 3 and not store.missing()
    content = {path: path.read_bytes() for path in files}
    store.path(1, 2).unlink()
    written = store.path(0, 0).stat().st_mtime_ns
    again = stored(model, {**chosen, "seed": 99}, tmp_path, lines)  # another seed orders the samples in another way
    assert (again.store.seed, again.seed) == (3, 99) and "1 parts are missing" in " ".join(lines)
    assert {path: path.read_bytes() for path in files} == content and store.path(0, 0).stat().st_mtime_ns == written
    store.path(0, 1).write_bytes(content[store.path(0, 1)][:1000])
    with pytest.raises(ValueError, match=r"part-00001.npy is damaged .* delete it"):
        stored(model, chosen, tmp_path, lines)[7]


@pytest.mark.usefixtures("small_parts")
def test_processes_divide_the_missing_parts(
    model: torch.nn.Module, tiny_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though one process looks for them late, when another could have made some already."""
    together, chosen, seen = threading.Barrier(2, timeout=60), options(tiny_sets), FeatureStore.missing

    class Together(Processes):
        def barrier(self) -> None:
            together.wait()

    def missing(store: FeatureStore) -> list[tuple[int, int]]:
        until = time.monotonic() + 1
        while threading.current_thread() is late and not list(tmp_path.glob("*.npy")) and time.monotonic() < until:
            time.sleep(0.01)
        return seen(store)

    def make(rank: int) -> None:
        processes = Together(rank=rank, size=2)
        stored_dataset(
            model, chosen, folder=tmp_path, augmentations=2, workers=0, processes=processes, say=lambda line: None
        )

    monkeypatch.setattr(FeatureStore, "missing", missing)
    late = threading.Thread(target=make, args=(1,))
    late.start()
    make(0)
    late.join()
    assert len(list(tmp_path.glob("*.npy"))) == AUGMENTATIONS * 3


@pytest.mark.usefixtures("small_parts")
@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs the system's list of open files")
def test_few_files_are_open(
    model: torch.nn.Module, tiny_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_features, "OPEN", 2)
    store = stored(model, options(tiny_sets), tmp_path, []).store
    before = len(list(OPEN_FILES.iterdir()))
    read = [store.read(augmentation, index)[0] for augmentation in (0, 1) for index in (*range(SAMPLES), 0)]
    assert len(list(OPEN_FILES.iterdir())) <= before + 2
    assert read == 2 * [*range(SAMPLES), 0]


def test_other_origins_are_refused(
    model: torch.nn.Module, tiny_sets: Path, tmp_path: Path, rule_body_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(model, options(tiny_sets), tmp_path, [])
    other = tore.create_model(arch="test_resnet", body_dir=rule_body_dir, **SMALL)
    with pytest.raises(ValueError, match=r"another backbone .* name another folder"):
        stored(other, options(tiny_sets), tmp_path, [])
    with pytest.raises(ValueError, match="another set"):
        stored(model, options(tiny_sets, yaml=tiny_sets / "val" / "set.yaml"), tmp_path, [])
    with pytest.raises(ValueError, match="another augmentation"):
        stored(model, options(tiny_sets, occlusion=0.0), tmp_path, [])
    trained = tore.create_model(arch="test_resnet", body_dir=rule_body_dir, **{**SMALL, "frozen_backbone": False})
    with pytest.raises(ValueError, match="add --freeze_backbone true"):
        stored(trained, options(tiny_sets), tmp_path, [])
    (tmp_path / "stored.json").write_text("[]")
    with pytest.raises(ValueError, match="is no record of stored features"):
        stored(model, options(tiny_sets), tmp_path, [])
    monkeypatch.setattr(stored_features, "LIMIT", 1.5 * SAMPLES * 2 * 96 * 49)
    with pytest.raises(ValueError, match=re.escape("give --cache_augmentations 1")):
        stored(model, options(tiny_sets), tmp_path / "large", [])
    assert not (tmp_path / "large").exists()


def test_networks_take_stored_features(model: torch.nn.Module, rule_body_dir: Path) -> None:
    images = torch.randn(2, 3, 224, 224)
    metro = tore.create_model(
        "metro", arch="test_resnet", body_dir=rule_body_dir, widths=(64, 32, 16), layers=1, hidden=32
    )
    for network in (model.eval(), metro.eval()):
        assert isinstance(network, METRO) == (network is metro)
        with torch.no_grad():
            batch = {"features": network.backbone(images)}
            pairs = zip(network(images), network(shown_to(batch)), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs if a is not None)
    assert shown_to({"image": images}) is images


def test_keypoints_are_stored_too(tiny_sets: Path, tmp_path: Path, rule_body_dir: Path) -> None:
    network = tore.create_model("fastmetro_tore_xs_movenet_thunder", body_dir=rule_body_dir)
    load_backbone_weights(network.backbone, "shipped")
    chosen = options(tiny_sets, image_format=network.config.image_format, yaml=tiny_sets / "val" / "set.yaml")
    made = stored(network, chosen, tmp_path, [])
    image = MeshDataset(**chosen)[4]["image"]
    with torch.no_grad():
        expected = network.backbone(image[None])
    torch.testing.assert_close(made[4]["keypoints"], expected.keypoints[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(made[4]["features"].float(), expected.map[0], rtol=1e-3, atol=2e-3)


def test_shift_moves_the_crop_and_its_labels(tiny_sets: Path) -> None:
    label = MeshDataset(tiny_sets / "train" / "set.yaml", True).label(0)
    crop, moved = (drawn_crop(label, Draw(scale=1.1, shift=shift)) for shift in ((0.0, 0.0), (0.2, -0.1)))
    assert moved.size == crop.size
    expected = np.array(crop.center) + crop.size * np.array([0.2, -0.1])
    np.testing.assert_allclose(moved.center, expected)
    point = np.array([[10.0, 20.0]])
    np.testing.assert_allclose(moved.to_crop(point), crop.to_crop(point) - 2 * np.array([0.2, -0.1]))


def test_more_draws_leave_the_official_ones_alone() -> None:
    plain, more = Ranges(True, 30.0, 0.25, 0.3), Ranges(True, 30.0, 0.25, 0.3, shift=0.1, occlusion=0.5)
    occluded = 0
    for index in range(200):
        rng, other = sample_rng(1, 0, index), sample_rng(1, 0, index)
        draw = draw_more(rng, draw_augmentation(rng, plain), plain)
        changed = draw_more(other, draw_augmentation(other, more), more)
        assert (draw.shift, draw.occluder) == ((0.0, 0.0), None) and max(map(abs, changed.shift)) <= 0.1
        assert (draw.flip, draw.color, draw.rotation) == (changed.flip, changed.color, changed.rotation)
        occluded += changed.occluder is not None
    assert 80 < occluded < 120 and BODY.ranges == plain


def test_occluder_covers_its_rectangle() -> None:
    crop = np.zeros((10, 10, 3))
    there = covered(crop, (0.1, 0.3, 0.4, 2.0, 1.0, 2.0, 3.0))
    for row in range(10):
        for column in range(10):
            inside = row >= 3 and 1 <= column < 4
            assert there[row, column].tolist() == ([1, 2, 3] if inside else [0, 0, 0])
    assert not crop.any()
