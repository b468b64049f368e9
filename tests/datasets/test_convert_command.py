"""`tore convert`: every source through the command, read back as training reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import sources
from tore import cli
from tore.datasets.mesh_dataset import MeshDataset


def test_spin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = sources.spin_arrays()
    path = sources.write_spin(tmp_path, arrays)
    options = ["--annotations", str(path), "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    assert cli.main(["convert", "spin", *options, "--name", "train", "--quiet"]) == 0
    assert "6 rows of 6" in capsys.readouterr().out
    dataset = MeshDataset(tmp_path / "out" / "train.yaml", train=False)
    assert len(dataset) == 6
    for index in range(6):
        sample = dataset.sample(index)
        assert sample["key"] == arrays["imgname"][index]
        assert sample["image"].shape == (3, 224, 224)
        assert sample["gender"] == ["male", "female", "neutral"][index % 3]
        assert int(sample["has_smpl"]) == 1 - index % 2
        centered = arrays["S"][index, :, :3] - arrays["S"][index, 14, :3]
        np.testing.assert_allclose(np.asarray(sample["joints_3d"])[:, :3], centered, atol=1e-6)


def test_freihand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = sources.write_freihand(tmp_path / "freihand")
    options = ["--root", str(tmp_path / "freihand"), "--out", str(tmp_path / "out"), "--quiet"]
    for split, name, rows in (("training", "train", 12), ("evaluation", "test", 3)):
        assert cli.main(["convert", "freihand", "--split", split, *options]) == 0
        assert f"{name}.yaml: {rows} rows of {rows}" in capsys.readouterr().out
        dataset = MeshDataset(tmp_path / "out" / f"{name}.yaml", train=False, body="hand")
        assert len(dataset) == rows
        sample = dataset.sample(rows - 1)
        known = split == "training"
        assert int(sample["has_smpl"]) == int(sample["has_3d_joints"]) == known
        xyz = (given["xyz"][2] - given["xyz"][2, 0]) * known
        np.testing.assert_allclose(np.asarray(sample["joints_3d"])[:, :3], xyz, atol=1e-6)


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("images/S1/Images/walk.000001.jpg", "walk.000001.jpg is missing: put the images below"),
        ("h36m_train.npz", "h36m_train.npz is missing: docs/DATA.md"),
        ("images", "images is not a folder"),
    ],
)
def test_what_is_missing_gives_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str, found: str
) -> None:
    path = sources.write_spin(tmp_path)
    (tmp_path / broken).rename(tmp_path / "elsewhere")
    options = ["--annotations", str(path), "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    assert cli.main(["convert", "spin", *options, "--name", "train", "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tore convert: ")
    assert found in line


def test_missing_images_are_counted_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sources.write_spin(tmp_path)
    (tmp_path / "images/S1/Images/walk.000001.jpg").unlink()
    options = ["--annotations", str(path), "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    assert cli.main(["convert", "spin", *options, "--name", "train", "--quiet", "--skip_missing"]) == 0
    assert "left out 2: the image is missing, for example S1/Images/walk.000001.jpg" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "train.report.json").read_text())
    assert (report["entries"], report["rows"]) == (6, 4)
