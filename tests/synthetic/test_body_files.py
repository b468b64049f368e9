"""The stand-ins' files: mesh levels, adjacency, the loaders that read them, and how they are made."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from manopth.files import load_tensor
from tests.plain_figure import BENT, Figure, edges_of, joints24, joints_h36m
from tore.body.body_model import load_body
from tore.body.topology import load_topology
from tore.entry import entry_point
from tore.files import OutputError
from tore.paths import CAPSULE_FILES, CAPSULE_HAND_FILES, CAPSULES_VERSION, BodyFiles
from tore.synthetic import body_files, models


@pytest.fixture
def body(standin_body: Figure) -> Figure:
    return standin_body


# ---- levels


def test_down_picks_vertices_and_up_mixes_three(figure: Figure) -> None:
    vertices = figure.template
    for down, up in zip(figure.levels["D"], figure.levels["U"], strict=True):
        assert (down.toarray().sum(1) == 1).all()
        assert set(down.data) == {1.0}
        assert (np.diff(up.tocsr().indptr) <= 3).all()
        assert up.min() >= 0
        assert np.abs(up.sum(1) - 1).max() < 1e-9
        coarse = down @ vertices
        error = np.linalg.norm(up @ coarse - vertices, axis=1)
        size = np.ptp(vertices[:, 1 if len(figure.template) == 6890 else 0])
        assert error.mean() < (0.004 if len(figure.template) == 6890 else 0.008) * size
        assert np.linalg.norm((down @ (up @ coarse)) - coarse, axis=1).max() < 1e-9
        vertices = coarse


def test_coarse_vertices_bend_with_the_full_mesh(body: Figure) -> None:
    bent = body.skin(BENT["sitting"])
    down, up = body.levels["D"], body.levels["U"]
    grown = up[0] @ (up[1] @ (down[1] @ (down[0] @ bent)))
    assert np.linalg.norm(grown - bent, axis=1).mean() < 0.012


def test_adjacency_is_the_coarse_mesh_with_self_loops(figure: Figure) -> None:
    indices, values, size = (
        load_tensor(figure.folder / f"{figure.files.adjacency}_{part}.pt") for part in ("indices", "values", "size")
    )
    dense = torch.sparse_coo_tensor(indices, values, size, check_invariants=True).to_dense().numpy()
    expected = figure.levels["A"][-1].toarray() + np.eye(size[0])
    assert (dense == expected).all()
    edges, _ = edges_of(figure.levels["F"][-1])
    assert dense.sum() == size[0] + 2 * len(edges)
    assert (dense[edges[:, 0], edges[:, 1]] == 1).all()


# ---- the project's loaders


def test_the_body_loader_reads_the_stand_in(capsule_body_dir: Path, standin_body: Figure) -> None:
    body = load_body("body", capsule_body_dir)
    pose = np.random.RandomState(9).standard_normal((1, 72)) * 0.4
    vertices = body(torch.tensor(pose, dtype=torch.float32), torch.zeros(1, 10))
    expected = standin_body.skin(pose.reshape(24, 3))
    assert np.abs(vertices[0].numpy() - expected).max() < 1e-5
    assert np.abs(body.joints24(vertices)[0].numpy() - joints24(standin_body, expected)).max() < 1e-5
    assert np.abs(body.joints_h36m(vertices)[0].numpy() - joints_h36m(standin_body, expected)).max() < 1e-5
    assert [level.shape[1] for level in body.levels.downsample(vertices)] == [1723, 431]


def test_the_hand_loader_reads_the_stand_in(capsule_body_dir: Path, standin_hand: Figure) -> None:
    hand = load_body("hand", capsule_body_dir)
    vertices = hand(torch.zeros(1, 48), torch.zeros(1, 10))
    mean = standin_hand.model["hands_mean"].reshape(15, 3)
    assert np.abs(vertices[0].numpy() - standin_hand.skin(np.concatenate([np.zeros((1, 3)), mean]))).max() < 1e-5
    joints = hand.regress_joints(vertices)[0].numpy()
    tips = vertices[0].numpy()[[745, 317, 445, 556, 673]]
    assert np.abs(joints[[4, 8, 12, 16, 20]] - tips).max() < 1e-6
    assert [level.shape[1] for level in hand.levels.downsample(vertices)] == [195]


@pytest.mark.parametrize(("kind", "coarse"), [("body", 431), ("hand", 195)])
def test_the_topology_loader_reads_the_stand_in(capsule_body_dir: Path, kind: str, coarse: int) -> None:
    topology = load_topology(kind, capsule_body_dir, template=True)
    assert topology.adjacency.shape == (coarse, coarse)
    assert topology.template_joints.shape == (topology.num_joints, 3)
    assert topology.template_vertices.shape == (coarse, 3)


# ---- making the files


def test_made_again_gives_the_same_bytes(capsule_body_dir: Path, tmp_path: Path) -> None:
    for kind in body_files.KINDS:
        models.write_capsules(kind, tmp_path)
        for name in body_files.file_names(CAPSULE_FILES[kind]):
            same = (tmp_path / name).read_bytes() == (capsule_body_dir / name).read_bytes()
            assert same, f"{name} differs from the cache: count up paths.CAPSULES_VERSION if the figures changed"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in capsule_body_dir.iterdir())


def test_the_folder_is_made_once_and_only_when_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))
    made = []

    def pretend(files: BodyFiles, figure: object, folder: Path) -> None:
        made.append(files.kind)
        (folder / files.kind).write_text("whole")
        if len(made) == 2:  # another process is ready first
            other = tmp_path / f"standin-v{CAPSULES_VERSION}"
            other.mkdir()
            (other / "first").write_text("first")

    monkeypatch.setattr(models, "build", lambda kind: None)
    monkeypatch.setattr(body_files, "write_files", pretend)
    folder = models.capsule_body_dir()
    assert made == ["body", "hand"]
    assert [path.name for path in folder.iterdir()] == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "no temporary folder stays behind"
    assert models.capsule_body_dir() == folder
    assert len(made) == 2


def test_a_failed_build_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))

    def fail(files: BodyFiles, figure: object, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(models, "build", lambda kind: None)
    monkeypatch.setattr(body_files, "write_files", fail)
    with pytest.raises(OSError, match="disk full"):
        models.capsule_body_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_build_ended_by_a_signal_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))

    def end(files: BodyFiles, figure: object, folder: Path) -> None:
        (folder / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)

    @entry_point("tore try")
    def main(argv=None) -> int:
        models.capsule_body_dir()
        return 0

    monkeypatch.setattr(models, "build", lambda kind: None)
    monkeypatch.setattr(body_files, "write_files", end)
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 143 and list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_removed_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))
    old, new = (tmp_path / f".standin-v{CAPSULES_VERSION}.{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "half").touch()
    os.utime(old, (1e9, 1e9))
    monkeypatch.setattr(models, "build", lambda kind: None)
    monkeypatch.setattr(body_files, "write_files", lambda files, figure, folder: (folder / files.kind).touch())
    made = models.capsule_body_dir()
    assert sorted(tmp_path.iterdir()) == [new, made], "another process may still write into a new one"


def test_a_cache_that_cannot_be_made_names_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="is a file, not a folder; set TORE_CACHE_DIR to a folder that can be"):
        models.capsule_body_dir()


def test_a_broken_write_keeps_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / CAPSULE_HAND_FILES.model
    old.write_text("old")

    def fail(*_: object, **__: object) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr(body_files.pickle, "dumps", fail)
    with pytest.raises(OSError, match="disk full"):
        models.write_capsules("hand", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert old.read_text() == "old"


def test_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'foot' is not known; use 'body' or 'hand'"):
        models.write_capsules("foot", tmp_path)


def test_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage.measure", None)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        models.write_capsules("hand", tmp_path)
