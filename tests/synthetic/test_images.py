"""Synthetic images: every label field agrees with the image, and a recipe always gives the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tore.body import load_body
from tore.datasets.mesh_dataset import MeshDataset
from tore.geometry.camera import PinholeCamera
from tore.synthetic import image as image_module
from tore.synthetic.collisions import joint_positions, overlap
from tore.synthetic.hand_poses import bend_axes, random_rotation
from tore.synthetic.image import Studio, add_forearm, rim_of
from tore.synthetic.people import BATCH
from tore.synthetic.poses import draw_angles, draw_poses, pose_from_angles
from tore.synthetic.writing import Recipe, write_images
from tore_runtime.renderer import Light, Lighting, render

SIZES = {"body": 256, "hand": 224}
JOINTS = {"body": 24, "hand": 21}
TABLES = ("img", "hw", "label", "linelist")
KINDS = pytest.mark.parametrize("kind", ["body", "hand"])


@pytest.fixture(scope="module")
def studios(capsule_body_dir: Path) -> dict[str, Studio]:
    return {kind: Studio(kind, size, capsule_body_dir) for kind, size in SIZES.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def decoded(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def label_mesh(studio: Studio, label: dict) -> tuple[np.ndarray, PinholeCamera]:
    """Vertices before the camera, and the camera, from nothing but the label's text."""
    label = json.loads(json.dumps(label))
    pose, betas = (torch.tensor([label[field]], dtype=torch.float32) for field in ("pose", "betas"))
    camera = label["camera"]
    with torch.no_grad():
        vertices = studio.figure.model(pose, betas)[0].double().numpy() + np.array(camera["translation"])
    return vertices, PinholeCamera(camera["focal_length"], tuple(camera["principal_point"]))


def intersection_over_union(one: np.ndarray, two: np.ndarray) -> float:
    return (one & two).sum() / (one | two).sum()


@KINDS
def test_labels_have_every_field_and_agree_with_themselves(studios: dict[str, Studio], kind: str) -> None:
    studio, size = studios[kind], SIZES[kind]
    for sample in studio.batch(5, "train", 0):
        label = sample.label
        points, joints = np.array(label["2d_joints"]), np.array(label["3d_joints"])
        assert points.shape == (JOINTS[kind], 3) and joints.shape == (JOINTS[kind], 4)
        assert len(label["pose"]) == 3 * len(studio.figure.joints) and len(label["betas"]) == 10
        assert label["has_2d_joints"] == label["has_3d_joints"] == label["has_smpl"] == 1
        vertices, camera = label_mesh(studio, label)
        projected = camera.project(joints[:, :3] + np.array(label["camera"]["translation"]))
        assert np.abs(projected - points[:, :2]).max() < 0.01
        inside = ((points[:, :2] >= 0) & (points[:, :2] < size)).all(1)
        assert (points[:, 2] == inside).all() and inside.mean() > 0.5 and (joints[:, 3] == 1).all()
        model = studio.figure.model
        regressed = model.joints24 if kind == "body" else model.regress_joints
        mesh = torch.from_numpy(vertices - np.array(label["camera"]["translation"])).float()[None]
        assert np.abs(regressed(mesh)[0].numpy() - joints[:, :3]).max() < 1e-5
        outline = camera.project(vertices)
        low, high = outline.min(0), outline.max(0)
        if kind == "body":
            assert np.allclose(label["center"], (low + high) / 2, atol=0.01)
            assert label["scale"] == pytest.approx(1.2 * (high - low).max() / 200, rel=1e-3)
        else:
            assert label["center"] == [112, 112] and label["scale"] == 0.9


@KINDS
def test_the_mesh_of_the_label_covers_what_the_image_shows(
    kind: str, studios: dict[str, Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dark figure cut out of the JPEG before a white wall, against the mesh drawn from the label."""
    white = Lighting(lights=(Light((0, -1, 0), (0, 0, 0)),), sky=(1, 1, 1), ground=(1, 1, 1))
    monkeypatch.setattr(image_module, "draw_background", lambda rng, size, _: np.full((size, size, 3), 255, np.uint8))
    monkeypatch.setattr(image_module, "draw_lighting", lambda rng, up: white)
    monkeypatch.setattr(image_module, "draw_shadow", lambda rng, image, *_: image)
    monkeypatch.setattr(image_module, "draw_occluder", lambda rng, image, mask: image)
    monkeypatch.setattr(image_module, "expose", lambda rng, image: image)
    monkeypatch.setattr(image_module, "draw_colors", lambda rng, w, kind: np.zeros((len(w.rest), 3)))
    monkeypatch.setattr(image_module, "add_forearm", lambda rng, vertices, faces, colors, *_: (vertices, faces, colors))
    studio = studios[kind]
    scores = []
    for sample in studio.batch(6, "val", 0):
        shown = decoded(sample.jpeg).mean(-1) < 128
        vertices, camera = label_mesh(studio, sample.label)
        drawn = render(vertices, studio.figure.faces, camera, shown.shape, samples=1).mask
        assert (drawn == sample.mask).mean() > 0.9995
        scores.append(intersection_over_union(shown, drawn))
    assert min(scores) >= 0.97, scores


def test_a_hand_of_the_label_lies_within_hand_and_forearm(studios: dict[str, Studio]) -> None:
    studio = studios["hand"]
    for sample in studio.batch(6, "val", 0):
        vertices, camera = label_mesh(studio, sample.label)
        drawn = render(vertices, studio.figure.faces, camera, sample.mask.shape, samples=1).mask
        assert (drawn & sample.mask).sum() / drawn.sum() > 0.995 and sample.mask.sum() > drawn.sum()


def test_images_vary_and_show_their_people(studios: dict[str, Studio]) -> None:
    samples = studios["body"].batch(7, "train", 0)
    shares = [sample.mask.mean() for sample in samples]
    assert min(shares) > 0.03 and max(shares) < 0.6
    means = np.array([decoded(sample.jpeg).mean((0, 1)) for sample in samples])
    assert (means.std(0) > 15).all()
    poses = np.array([sample.label["pose"] for sample in samples])
    facing = [cv2.Rodrigues(pose[:3])[0] @ np.array([0, 0, 1.0]) for pose in poses]
    assert sum(ahead[2] < 0 for ahead in facing) > BATCH / 2 and any(ahead[2] > 0 for ahead in facing)
    assert len({sample.jpeg for sample in samples}) == BATCH


@KINDS
def test_the_bytes_depend_on_the_recipe_alone(kind: str, capsule_body_dir: Path, tmp_path: Path) -> None:
    recipe = Recipe(kind=kind, split="train", seed=11, size=64, body_dir=str(capsule_body_dir))
    done: list[int] = []
    yaml = write_images(recipe, BATCH + 3, tmp_path / "one", progress=done.append)
    write_images(recipe, BATCH + 3, tmp_path / "two", workers=2 if kind == "body" else 1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") and sum(done) == BATCH + 3
    names = [f"train.{table}.{suffix}" for table in TABLES for suffix in ("tsv", "tsv.crc32")]
    names += [f"train.{table}.lineidx" for table in TABLES[:3]]
    assert sorted(contents(tmp_path / "one")) == sorted([*names, "train.yaml", "train.recipe.json"])
    # a smaller set is the beginning of a larger one, and is continued
    write_images(recipe, 2, tmp_path / "three")
    write_images(recipe, BATCH + 3, tmp_path / "three")
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    data = MeshDataset(yaml, train=False, body=kind)
    assert len(data) == BATCH + 3
    item = data.sample(BATCH + 2, np.random.RandomState(0))
    assert item["image"].shape == (3, 224, 224) and item["joints_3d"].shape == (JOINTS[kind], 4)
    assert item["key"] == f"synthetic_{kind}/train/{BATCH + 2:08d}.jpg"


def test_chosen_poses_keep_their_limbs_apart(studios: dict[str, Studio]) -> None:
    figure = studios["body"].figure
    poses = draw_poses([np.random.RandomState([1, index]) for index in range(60)], figure.joints, figure.parents)
    excess = overlap(joint_positions(poses, figure.joints, figure.parents))
    assert (excess < 0.03).mean() > 0.97
    # what the capsules say of the skeleton holds for the body model's own joints
    with torch.no_grad():
        _, skeleton = figure.model.skin(torch.from_numpy(poses[:4]).float(), torch.zeros(4, 10))
    assert np.abs(joint_positions(poses[:4], figure.joints, figure.parents) - skeleton.numpy()).max() < 1e-4
    folded = np.zeros((1, 26))
    folded[0, [11, 13]] = 90, 120  # the left forearm folded through the chest
    folded[0, 10] = 15
    assert overlap(joint_positions(pose_from_angles(folded), figure.joints, figure.parents))[0] > 0.02


def test_angles_bend_the_joints_the_way_their_names_say(studios: dict[str, Studio]) -> None:
    figure = studios["body"].figure

    def joint(angle: int, degrees: float, which: int) -> np.ndarray:
        angles = np.zeros((1, 26))
        angles[0, [10, 15]] = 90  # arms aside
        angles[0, angle] = degrees
        return joint_positions(pose_from_angles(angles), figure.joints, figure.parents)[0, which]

    rest = figure.joints
    assert joint(0, 80, 4)[2] > rest[4, 2] + 0.2  # left hip flexion: the knee goes ahead
    assert joint(3, 80, 7)[2] < rest[7, 2] - 0.2  # knee flexion: the ankle goes back
    assert joint(6, 30, 5)[0] < rest[5, 0] - 0.1  # right hip abduction: the knee goes to the right
    assert joint(10, 10, 20)[1] < rest[16, 1] - 0.3 and joint(10, 160, 20)[1] > rest[16, 1] + 0.3  # arm elevation
    assert joint(16, 90, 21)[2] > rest[21, 2] + 0.3  # right arm azimuth: the wrist goes ahead
    assert joint(13, 90, 20)[2] > rest[18, 2] + 0.15  # elbow flexion of an arm aside: ahead
    assert joint(20, 50, 15)[2] > rest[15, 2] + 0.15  # trunk flexion: the head goes ahead
    angles = draw_angles(np.random.RandomState(0), 200)
    assert angles[:, 3].min() >= 0 and angles[:, 3].max() <= 140


def test_fingers_close_towards_the_palm(studios: dict[str, Studio]) -> None:
    figure = studios["hand"].figure
    axes = bend_axes(figure.joints)
    pose = np.concatenate([np.zeros(3), (np.deg2rad(60) * axes).reshape(45) - figure.mean_pose])
    with torch.no_grad():
        vertices = figure.model(torch.from_numpy(pose[None]).float(), torch.zeros(1, 10))
        tips = figure.model.regress_joints(vertices)[0, 8::4].numpy()
        flat = figure.model.regress_joints(torch.from_numpy(figure.rest[None]).float())[0, 8::4].numpy()
    assert (tips[:, 1] < flat[:, 1] - 0.03).all() and (tips[:, 0] > flat[:, 0] + 0.02).all()
    rotation = random_rotation(np.random.RandomState(0))
    assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) == pytest.approx(1)


def test_the_forearm_continues_the_hand(studios: dict[str, Studio], capsule_body_dir: Path) -> None:
    figure = studios["hand"].figure
    rim = rim_of(figure.faces)
    assert len(rim) == 16 and len(set(rim)) == 16
    colors = np.full((len(figure.rest), 3), 0.5)
    vertices, faces, paint = add_forearm(
        np.random.RandomState(0), figure.rest, figure.faces, colors, rim, figure.joints[1::3]
    )
    assert (vertices[: len(figure.rest)] == figure.rest).all() and len(paint) == len(vertices)
    assert vertices[:, 0].max() > figure.rest[:, 0].max() + 0.3
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)  # every edge once in each direction: one sense of rotation
    assert len(rim_of(faces)) == 16
    assert len(rim_of(load_body("body", capsule_body_dir).faces.numpy())) == 0
