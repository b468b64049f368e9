"""Rendered scenes: labels describe the rendered skin exactly, and a recipe always gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.synthetic.small_assets import write_assets
from tore.cli import data, synth
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import TSVSet
from tore.geometry.camera import PinholeCamera
from tore.paths import example_people
from tore.synthetic import writing
from tore.synthetic.hand_scenes import HandStudio
from tore.synthetic.look import open_look
from tore.synthetic.people import BATCH
from tore.synthetic.rendering import World, render
from tore.synthetic.scenes import PeopleStudio
from tore.synthetic.surfaces import Surface, plain_texture
from tore.synthetic.visibility import OUTSIDE
from tore.synthetic.writing import Recipe, write_images
from tore_runtime.renderer import render as draw_mesh

SIZE = 64
KINDS = pytest.mark.parametrize("kind", ["body", "hand"])
JOINTS = {"body": 24, "hand": 21}


@pytest.fixture(scope="module")
def studios(folder: Path) -> dict[str, PeopleStudio | HandStudio]:
    look = open_look(None, None, "train")
    return {"body": PeopleStudio(SIZE, folder, look), "hand": HandStudio(SIZE, folder, look)}


def label_mesh(studio: PeopleStudio | HandStudio, label: dict) -> tuple[np.ndarray, PinholeCamera]:
    """The mesh (V, 3) in the camera frame and the camera, from nothing but the label's text."""
    label = json.loads(json.dumps(label))
    pose, betas = (torch.tensor([label[field]], dtype=torch.float32) for field in ("pose", "betas"))
    camera = label["camera"]
    with torch.no_grad():
        vertices = studio.figure.model(pose, betas)[0].double().numpy() + np.array(camera["translation"])
    return vertices, PinholeCamera(camera["focal_length"], tuple(camera["principal_point"]))


def test_the_label_describes_the_rendered_skin(studios: dict[str, PeopleStudio]) -> None:
    studio = studios["body"]
    for number in range(6):
        drawn = studio.draw(np.random.default_rng(number))
        label, person = studio.label(drawn), drawn.people[0]
        vertices, camera = label_mesh(studio, label)
        assert np.abs(vertices - drawn.camera.to_camera(person.skin)).max() < 1e-5
        faces = studio.figure.faces
        skin = Surface("skin", person.skin, faces, np.zeros((1, 2)), np.zeros_like(faces), plain_texture((9, 9, 9)))
        light = studio.look.light(np.random.default_rng(0))
        shown = render(World([skin]), drawn.camera, light, SIZE, np.random.default_rng(0)).surface == 0
        mesh = draw_mesh(vertices, faces, camera, shown.shape, samples=1).mask
        assert (shown & mesh).sum() >= 0.97 * (shown | mesh).sum()
        dressed = np.isin(drawn.rendering.surface, np.flatnonzero(drawn.owners == 0))
        if len(drawn.people) == 1 and drawn.visible > 0.97:
            assert (dressed & mesh).sum() >= 0.9 * mesh.sum()


def test_hands_lie_where_their_labels_say(studios: dict[str, HandStudio]) -> None:
    studio = studios["hand"]
    for number in range(6):
        hand, world, view, _ = studio.draw(np.random.default_rng(number))
        vertices, camera = label_mesh(studio, studio.label(hand, world, view))
        assert np.abs(vertices - view.to_camera(hand.mesh)).max() < 1e-5
        rim = hand.surfaces[1].vertices[: len(studio.arm.rim)]
        assert np.abs(rim - hand.mesh[studio.arm.rim]).max() < 1e-6  # the forearm goes on where the hand ends
        assert camera.focal_length == pytest.approx(view.lens.focal_length)


@KINDS
def test_labels_have_every_field(studios: dict[str, PeopleStudio | HandStudio], kind: str) -> None:
    studio = studios[kind]
    for sample in studio.batch(3, "train", 0, 5):
        label = json.loads(json.dumps(sample.label))
        points, joints = np.array(label["2d_joints"]), np.array(label["3d_joints"])
        assert points.shape == (JOINTS[kind], 3) and joints.shape == (JOINTS[kind], 4)
        _, camera = label_mesh(studio, label)
        projected = camera.project(joints[:, :3] + np.array(label["camera"]["translation"]))
        assert np.abs(projected - points[:, :2]).max() < 0.02
        states = np.array(label["joints_visible"])
        assert ((states == OUTSIDE) == (points[:, 2] == 0)).all()
        assert sample.mask.any() and label["scale"] > 0


def test_people_stand_on_the_ground_and_apart(studios: dict[str, PeopleStudio]) -> None:
    studio = studios["body"]
    people = [studio.person(np.random.default_rng(number)) for number in range(6)]
    for person in people:
        lowest = min(surface.vertices[:, 1].min() for surface in person.surfaces)
        assert lowest == pytest.approx(0, abs=1e-5) or (person.support not in ("ground", "seat") and lowest > 0)
    (other,) = studio._beside(np.random.default_rng(5), people[:1])
    gaps = np.linalg.norm(people[0].skin[::9, None] - other.skin[None, ::9], axis=2)
    assert gaps.min() > 0


@KINDS
def test_the_bytes_depend_on_the_recipe_alone(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker, two workers, and a run that was cut off within its second file."""
    recipe = Recipe(kind=kind, split="val", seed=7, size=SIZE, body_dir=str(folder))
    count = BATCH + 2
    whole = TSVSet(write_images(recipe, count, tmp_path / "whole", workers=2 if kind == "body" else 1))
    monkeypatch.setattr(writing, "PART_ROWS", BATCH)
    made = writing._made

    def cut_off(*args: object) -> Iterator[object]:
        yield from islice(made(*args), count - 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_made", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write_images(recipe, count, tmp_path / "cut")
    assert len(TSVSet(tmp_path / "cut" / "val.yaml")) == BATCH  # the part that was completed
    monkeypatch.setattr(writing, "_made", made)
    yaml = write_images(recipe, count, tmp_path / "cut")
    assert (tmp_path / "cut" / "val.001.img.tsv").is_file()
    parts = TSVSet(yaml)
    for index in range(count):
        for table in ("img", "hw", "label"):
            assert parts.columns(table, index) == whole.columns(table, index)
    assert data.main(["check", str(yaml), "--body", kind, "--body_dir", str(folder)]) == 0
    sample = MeshDataset(yaml, train=False, body=kind).sample(count - 1, np.random.RandomState(0))
    assert sample["image"].shape == (3, 224, 224) and sample["joints_3d"].shape == (JOINTS[kind], 4)


def test_assets_dress_people_and_are_split(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assets = write_assets(tmp_path / "assets")
    (assets / "broken.hdr").write_bytes(b"")
    arguments = ["images", "--assets", str(assets), "--body_dir", str(folder), "--size", "64", "--num_workers", "1"]
    assert synth.main([*arguments, "--out", str(tmp_path / "set"), "--train", "1", "--val", "1", "--quiet"]) == 0
    assert f"left out: {assets / 'broken.hdr'}" in capsys.readouterr().err
    note = json.loads((tmp_path / "set" / "val.recipe.json").read_text())
    assert note["assets"] and str(tmp_path) not in json.dumps(note["assets"])
    looks = [open_look(assets, None, split).assets for split in ("train", "val")]
    assert not {skin.name for skin in looks[0].skins} & {skin.name for skin in looks[1].skins}
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments[2] = str(empty)
    assert synth.main([*arguments, "--out", str(tmp_path / "none"), "--train", "1"]) == 2
    assert str(empty) in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_images_of_another_body_model_are_refused(
    rule_body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["images", "--body_dir", str(rule_body_dir), "--train", "1", "--out", str(tmp_path / "set")]
    assert synth.main(arguments) == 2
    said = capsys.readouterr().err
    assert f"synthetic body and hand alone, and {rule_body_dir} is the folder of SMPL: use --body_dir synthetic" in said
    assert not (tmp_path / "set").exists()


def test_the_set_of_the_package_passes_the_check_and_says_how_it_was_made(folder: Path) -> None:
    yaml = example_people()
    rows = TSVSet(yaml)
    assert len(rows) == 128 and sum(path.stat().st_size for path in yaml.parent.iterdir()) < 3e6
    assert data.main(["check", str(yaml), "--body_dir", str(folder)]) == 0
    labels = [json.loads(rows.columns("label", index)[-1])[0] for index in range(len(rows))]
    assert {label["people"] for label in labels} == {1, 2, 3}
    assert 0.2 < np.mean([OUTSIDE in label["joints_visible"] for label in labels]) < 0.6
    assert len({label["pose_kind"] for label in labels}) > 12
    recipe = json.loads((yaml.parent / "val.recipe.json").read_text())
    assert recipe["seed"] == 2 and recipe["split"] == "val" and recipe["size"] == 256
