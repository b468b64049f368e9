"""Files of 2D keypoints in COCO's form, and the sets that `tore convert coco` makes of them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import RandomState

from tests.datasets.sources import write_jpeg
from tests.processes import ROOT, environment
from tore import cli
from tore.body.joints import COCO_NAMES, HAND_NAMES, J24_NAMES
from tore.datasets.keypoints import read_keypoints
from tore.datasets.mesh_dataset import MeshDataset
from tore.losses.recipes import RECIPES
from tore.training.set_check import trains


def coco(joints: int = 17) -> dict[str, Any]:
    """Three images, and of six annotations two that are left out and one without keypoints."""
    rng = RandomState(joints)
    images = [
        {"id": 10 + n, "file_name": f"part/{n}.jpg", "height": 60, "width": 80, "kind": "ab"[n % 2]} for n in range(3)
    ]
    annotations = []
    for number in range(6):
        points = np.hstack([rng.randint(0, 60, (joints, 2)), rng.randint(0, 3, (joints, 1))])
        box = [5.0 + number, 4.0, 40.0, 50.0]
        annotations.append(
            {"id": 100 + number, "image_id": 10 + number % 3, "bbox": box, "iscrowd": 0, "category_id": 1,
             "num_keypoints": int((points[:, 2] > 0).sum()), "keypoints": points.ravel().tolist()}
        )  # fmt: skip
    annotations[1]["iscrowd"] = 1
    annotations[2]["bbox"] = [3.0, 4.0, -2.0, 50.0]
    annotations[4]["keypoints"] = [0] * 3 * joints
    del annotations[5]["keypoints"]
    return {"images": images, "annotations": annotations, "info": {}}


def written(folder: Path, content: dict[str, Any]) -> Path:
    for number in range(3):
        write_jpeg(folder / "images" / "part" / f"{number}.jpg", number, 60, 80)
    path = folder / "person_keypoints.json"
    path.write_text(json.dumps(content))
    return path


def test_people_are_read_and_those_of_no_use_are_named(tmp_path: Path) -> None:
    content = coco()
    file = read_keypoints(written(tmp_path, content))
    assert (file.kind, file.images, len(file.people)) == ("body", 3, 5)
    assert file.left_out() == {"a crowd": 1, "the box has no area": 1, "no keypoint is labeled": 1}
    (first, second), given = file.usable(), content["annotations"]
    assert (first.file, first.image_kind, first.image_size) == ("part/0.jpg", "a", (60, 80))
    assert first.keypoints.tolist() == np.reshape(given[0]["keypoints"], (17, 3)).tolist()
    assert second.box.tolist() == given[3]["bbox"]


def test_an_annotation_that_occurs_twice_counts_once(tmp_path: Path) -> None:
    content = coco()
    content["annotations"].append(copy.deepcopy(content["annotations"][0]))
    file = read_keypoints(written(tmp_path, content))
    assert len(file.usable()) == 2 and file.left_out()["its id occurs a second time"] == 1


def test_keypoints_may_be_in_any_order_that_the_file_names(tmp_path: Path) -> None:
    content, order = coco(), RandomState(0).permutation(17)
    usual = read_keypoints(written(tmp_path, content))
    for annotation in content["annotations"][:5]:
        annotation["keypoints"] = np.reshape(annotation["keypoints"], (17, 3))[order].ravel().tolist()
    content["categories"] = [{"id": 1, "keypoints": [COCO_NAMES[joint] for joint in order]}]
    for one, other in zip(usual.people, read_keypoints(written(tmp_path, content)).people, strict=True):
        assert (one.keypoints == other.keypoints).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("images"), "not in COCO's form: it needs lists named images and annotations"),
        (lambda c: c.update(annotations=[{"id": 1}]), "no annotation with keypoints"),
        (
            lambda c: c["annotations"][0].update(keypoints=[1, 2]),
            "annotation 100: keypoints is .* give 51 finite",
        ),
        (
            lambda c: c["annotations"][0].update(bbox=[1, 2, 3, np.nan]),
            "annotation 100: bbox is .* give 4 finite",
        ),
        (lambda c: c["annotations"][3].update(image_id=7), "annotation 103 has no image_id of the file's images"),
        (lambda c: c["images"].append(c["images"][0]), "image id 10 occurs twice"),
        (lambda c: c["images"][1].pop("file_name"), "image number 2 needs an id and a file_name"),
        (lambda c: c.update(categories=[{"keypoints": ["a", "b"]}]), "the 2 keypoints of its first category"),
        (lambda c: c["annotations"][0].update(side="up"), "side is 'up'; give left or right"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, change: Any, sentence: str) -> None:
    content = coco()
    change(content)
    with pytest.raises(ValueError, match=sentence):
        read_keypoints(written(tmp_path, content))


def convert(tmp_path: Path, path: Path) -> int:
    options = ["--annotations", str(path), "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    return cli.main(["convert", "coco", *options, "--name", "train", "--quiet"])


def test_a_set_of_people_with_2d_joints_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = coco()
    assert convert(tmp_path, written(tmp_path, content)) == 0
    said = capsys.readouterr().out
    assert "2 rows of 5" in said and "left out 1: a crowd, for example part/1.jpg" in said
    assert "has_2d_joints 100.0%  has_3d_joints 0.0%  has_smpl 0.0%" in said
    dataset = MeshDataset(tmp_path / "out" / "train.yaml", train=True)
    assert len(dataset) == 2 and dataset.sample(0, RandomState(0))["image"].shape == (3, 224, 224)
    label, points = dataset.label(1), np.reshape(content["annotations"][3]["keypoints"], (17, 3))
    sides = {"left": "L", "right": "R"}
    names = ["_".join([sides[word], part.title()]) for word, _, part in (n.partition("_") for n in COCO_NAMES[1:])]
    for name, point in zip(["Nose", *names], points, strict=True):
        expected = [point[0], point[1], 1] if point[2] else [0, 0, 0]
        assert label.joints_2d[J24_NAMES.index(name)].tolist() == expected
    absent = [name for name in J24_NAMES if name not in ("Nose", *names)]
    assert absent == ["Neck", "Top_of_Head", "Pelvis", "Thorax", "Spine", "Jaw", "Head"]
    assert not any(label.joints_2d[J24_NAMES.index(name)].any() for name in absent)
    assert label.center.tolist() == [28, 29] and label.scale == pytest.approx(1.2 * 50 / 200)
    assert (label.has_smpl, label.has_3d_joints, label.has_2d_joints) == (0, 0, 1)
    assert trains(RECIPES["fastmetro", "body"], "body")(label)


def test_a_set_of_right_hands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = coco(21)
    content["annotations"][3]["side"] = "left"
    assert convert(tmp_path, written(tmp_path, content)) == 0
    said = capsys.readouterr().out
    assert "1 rows of 5" in said and "a left hand, and networks know right ones" in said
    label = MeshDataset(tmp_path / "out" / "train.yaml", train=True, body="hand").label(0)
    points = np.reshape(content["annotations"][0]["keypoints"], (len(HAND_NAMES), 3))
    assert (label.joints_2d[:, 2] == (points[:, 2] > 0)).all()


def test_a_list_of_people_is_written_in_cocos_form(tmp_path: Path) -> None:
    """scripts/people_to_coco.py, and back through the reader."""
    rng = RandomState(0)
    people = [
        {"file": f"{n % 2}.jpg", "source": ("lsp", "mpii")[n % 2], "box": [1, 2, 30.5, 40],
         "keypoints": np.hstack([rng.randint(0, 9, (17, 2)), np.full((17, 1), 2)]).tolist()}
        for n in range(3)
    ]  # fmt: skip
    (tmp_path / "people.json").write_text(json.dumps({"people": people}))
    command = [sys.executable, str(ROOT / "scripts" / "people_to_coco.py"), "people.json", "out.json"]
    subprocess.run([*command, "--kind", "lsp=sports"], cwd=tmp_path, env=environment(), check=True, timeout=60)
    found = read_keypoints(tmp_path / "out.json").people
    assert [(p.file, p.image_kind) for p in found] == [("0.jpg", "sports"), ("1.jpg", "mpii"), ("0.jpg", "sports")]
    assert [p.keypoints.tolist() for p in found] == [p["keypoints"] for p in people]
