"""GraphCMR's and SPIN's annotations, and FreiHAND's: what becomes of each field."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import sources
from tore.datasets.convert.freihand import FreiHand
from tore.datasets.convert.spin import SpinAnnotations
from tore.datasets.convert.writing import convert
from tore.datasets.sets import TSVSet


def labels_of(source, start: int = 0) -> list[dict]:
    return [entry.label for entry in source.entries(start)]


def test_spin_fields(tmp_path: Path) -> None:
    arrays = sources.spin_arrays()
    arrays["part"][4, :, 2] = 0
    source = SpinAnnotations(sources.write_spin(tmp_path, arrays))
    labels = labels_of(source)
    for row, label in enumerate(labels):
        assert label["center"] == arrays["center"][row].tolist()
        assert label["scale"] == arrays["scale"][row]
        assert label["3d_joints"] == arrays["S"][row].tolist()
        assert label["has_smpl"] == arrays["has_smpl"][row] == 1 - row % 2
        shown = (arrays["pose"], arrays["shape"]) if row % 2 == 0 else (np.zeros((6, 72)), np.zeros((6, 10)))
        assert (label["pose"], label["betas"]) == (shown[0][row].tolist(), shown[1][row].tolist())
        assert label["2d_joints"] == (arrays["part"][row].tolist() if row != 4 else np.zeros((24, 3)).tolist())
        assert label["has_2d_joints"] == (row != 4)
        assert label.get("gender") == ["m", "f", None][row % 3]
    assert [entry.key for entry in source.entries(2)] == arrays["imgname"][2:].tolist()
    assert labels_of(source, 4) == labels[4:]


def test_spin_absent_arrays_are_zeros(tmp_path: Path) -> None:
    arrays = {name: sources.spin_arrays()[name] for name in ("imgname", "center", "scale")}
    arrays["imgname"] = arrays["imgname"].astype("S")  # as Python 2 saved them
    arrays["scale"] = arrays["scale"][:, None]
    label = labels_of(SpinAnnotations(sources.write_spin(tmp_path, arrays)))[0]
    assert [label[name] for name in ("has_smpl", "has_2d_joints", "has_3d_joints")] == [0, 0, 0]
    assert np.shape(label["2d_joints"]) == (24, 3)
    assert np.shape(label["3d_joints"]) == (24, 4)
    assert np.shape(label["pose"]) == (72,)
    assert np.shape(label["betas"]) == (10,)
    assert not any(np.any(label[name]) for name in ("2d_joints", "3d_joints", "pose", "betas"))


def test_spin_without_has_smpl_trusts_its_poses(tmp_path: Path) -> None:
    arrays = sources.spin_arrays()
    del arrays["has_smpl"]
    assert all(label["has_smpl"] for label in labels_of(SpinAnnotations(sources.write_spin(tmp_path / "a", arrays))))
    del arrays["shape"]
    assert not any(
        label["has_smpl"] for label in labels_of(SpinAnnotations(sources.write_spin(tmp_path / "b", arrays)))
    )


def test_spin_errors_name_file_and_array(tmp_path: Path) -> None:
    arrays = sources.spin_arrays()
    wrong = {
        "lacks center .it has: S, ": {name: value for name, value in arrays.items() if name != "center"},
        "array 'part' has shape \\(6, 49, 3\\), expected \\('any', 24, 3\\)": arrays | {"part": np.zeros((6, 49, 3))},
        "different lengths": arrays | {"scale": arrays["scale"][:4]},
        "array 'scale' does not hold an array of numbers": arrays | {"scale": np.array(["x"] * 6)},
        "array 'S' does not hold an array of numbers": arrays | {"S": np.array([{}] * 6, dtype=object)},
    }
    for number, (message, given) in enumerate(wrong.items()):
        path = sources.write_spin(tmp_path / str(number), given)
        with pytest.raises(ValueError, match=message) as error:
            SpinAnnotations(path)
        assert str(path) in str(error.value)
    path = tmp_path / "cut.npz"
    path.write_bytes(sources.write_spin(tmp_path / "whole", arrays).read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cut.npz is not a whole .npz file"):
        SpinAnnotations(path)
    with pytest.raises(FileNotFoundError, match=r"absent.npz is missing"):
        SpinAnnotations(tmp_path / "absent.npz")


def test_freihand_training(tmp_path: Path) -> None:
    given = sources.write_freihand(tmp_path / "freihand")
    source = FreiHand(tmp_path / "freihand", "training")
    entries = list(source.entries())
    assert [entry.key for entry in entries] == [f"training/rgb/{i:08d}.jpg" for i in range(12)]
    assert len(source) == 12
    for image, entry in enumerate(entries):
        hand, label = image % 3, entry.label
        xyz = given["xyz"][hand]
        assert (label["center"], label["scale"]) == ([112, 112], 0.9)
        np.testing.assert_allclose(np.array(label["3d_joints"])[:, :3], xyz - xyz[0], atol=1e-12)
        pixels = np.stack([480 * xyz[:, 0] / xyz[:, 2] + 112, 470 * xyz[:, 1] / xyz[:, 2] + 110], 1)
        np.testing.assert_allclose(np.array(label["2d_joints"])[:, :2], pixels, atol=1e-9)
        assert (np.array(label["2d_joints"])[:, 2] == 1).all()
        assert (np.array(label["3d_joints"])[:, 3] == 1).all()
        assert label["pose"] == given["mano"][hand, :48].tolist()
        assert label["betas"] == given["mano"][hand, 48:58].tolist()
        assert [label[name] for name in ("has_smpl", "has_2d_joints", "has_3d_joints")] == [1, 1, 1]
    assert list(source.entries(5)) == entries[5:]


@pytest.mark.parametrize("labeled", [False, True])
def test_freihand_evaluation(tmp_path: Path, labeled: bool) -> None:
    root, out = tmp_path / "freihand", tmp_path / "out"
    given = sources.write_freihand(root, evaluation_labels=labeled)
    report = convert(FreiHand(root, "evaluation"), root, out, "test", show_progress=False)
    assert report["shares"] == {"has_2d_joints": labeled, "has_3d_joints": labeled, "has_smpl": 0, "gender": 0}
    table = TSVSet(out / "test.yaml")
    assert len(table) == 3
    key, text = table.columns("label", 2)
    (label,) = json.loads(text)
    assert key == b"evaluation/rgb/00000002.jpg"
    assert label["pose"] == [0] * 48
    expected = given["xyz"][2] - given["xyz"][2, 0] if labeled else np.zeros((21, 3))
    np.testing.assert_allclose(np.array(label["3d_joints"])[:, :3], expected, atol=1e-12)


def test_freihand_errors(tmp_path: Path) -> None:
    root = tmp_path / "freihand"
    sources.write_freihand(root)
    (root / "training_xyz.json").rename(root / "kept")
    with pytest.raises(FileNotFoundError, match=r"training_xyz.json is missing: docs/DATA.md"):
        FreiHand(root, "training")
    (root / "training_xyz.json").write_text((root / "kept").read_text()[:-9])
    with pytest.raises(ValueError, match=r"training_xyz.json is not JSON"):
        FreiHand(root, "training")
    (root / "training_xyz.json").write_text(json.dumps(np.zeros((2, 21, 3)).tolist()))
    with pytest.raises(ValueError, match=r"training_xyz.json has shape \(2, 21, 3\), expected \(3, 21, 3\)"):
        FreiHand(root, "training")
    with pytest.raises(ValueError, match="split 'test' of FreiHAND is not known"):
        FreiHand(root, "test")


def test_spin_names_saved_as_objects(tmp_path: Path) -> None:
    plain = sources.spin_arrays()
    odd = {name: plain[name].astype(object) for name in ("imgname", "gender", "scale")}
    found = SpinAnnotations(sources.write_spin(tmp_path / "objects", plain | odd))
    assert list(found.entries()) == list(SpinAnnotations(sources.write_spin(tmp_path / "plain", plain)).entries())
    for item, sentence in ((1, "row 0 is a int64, not a text"), (b"gr\xf6n.jpg", "not UTF-8"), (Path("a"), "Path")):
        names = np.empty(6, object)
        names[:] = [item] * 6
        np.savez(tmp_path / "odd.npz", **plain | {"imgname": names})
        with pytest.raises(ValueError, match=rf"odd\.npz.*{sentence}"):
            SpinAnnotations(tmp_path / "odd.npz")


def test_another_projects_npz_says_what_is_missing(tmp_path: Path) -> None:
    plain = sources.spin_arrays()
    kept = {name: plain[name] for name in ("imgname", "center", "scale")}
    for arrays, sentence in (
        ({"image_path": plain["imgname"], "bbox": np.ones((6, 4))}, "lacks imgname, center, scale .it has: bbox"),
        ({"poses": np.ones((6, 72)), "trans": np.ones((6, 3))}, "lacks imgname, center, scale .it has: poses, trans"),
        (kept | {"body_pose": np.ones((6, 69)), "betas": np.ones((6, 10))}, "has no label"),
        ({f"array{number}": np.ones(1) for number in range(99)}, "and 87 more"),
    ):
        path = tmp_path / "other.npz"
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=f"other.npz {sentence}" if "more" not in sentence else sentence) as caught:
            SpinAnnotations(path)
        assert "`tore convert 3dpw`" in str(caught.value) and len(str(caught.value)) < 600 + len(str(path))
    (tmp_path / "sequence.pkl").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"`tore convert 3dpw` reads \.pkl files"):
        SpinAnnotations(tmp_path / "sequence.pkl")
