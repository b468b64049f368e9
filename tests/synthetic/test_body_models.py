"""The stand-in body and hand: counts, symmetry, rig, landmarks, bending."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from manopth.lbs import SkinnedModel, linear_blend_skinning
from tests import rules
from tests.plain_figure import (
    BENT,
    H36M,
    J24,
    J24_FLIP,
    POSE_FLIP,
    Figure,
    edges_of,
    folded_share,
    joints24,
    joints_h36m,
    mirror_partner,
    turned,
)


@pytest.fixture
def body(standin_body: Figure) -> Figure:
    return standin_body


@pytest.fixture
def hand(standin_hand: Figure) -> Figure:
    return standin_hand


# ---- counts and surfaces


def test_arrays_have_the_shapes_of_the_official_files(body: Figure, hand: Figure) -> None:
    for figure, like in ((body, rules.smpl_model()), (hand, rules.mano_model())):
        assert set(figure.model) == set(like)
        for name, array in like.items():
            assert figure.model[name].shape == array.shape, name
    assert tuple(body.parents) == rules.BODY_PARENTS
    assert tuple(hand.parents) == rules.HAND_PARENTS


def test_every_level_of_the_body_is_closed_and_of_genus_zero(body: Figure) -> None:
    for count, faces in zip((6890, 1723, 431), body.levels["F"], strict=True):
        edges, uses = edges_of(faces)
        assert faces.max() == count - 1
        assert (uses == 2).all()
        assert count - len(edges) + len(faces) == 2
        directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()
        assert len({tuple(side) for side in directed}) == len(directed), "two faces wind against each other"


def test_the_hand_is_open_at_the_wrist_alone(hand: Figure) -> None:
    for count, faces, rim in zip((778, 195), hand.levels["F"], (16, 8), strict=True):
        edges, uses = edges_of(faces)
        assert count - len(edges) + len(faces) == 1
        assert (uses == 1).sum() == rim
        assert set(uses) == {1, 2}
    wrist = hand.rows[0] @ hand.template
    rim_edges, uses = edges_of(hand.faces)
    rim = hand.template[np.unique(rim_edges[uses == 1])]
    assert (rim[:, 0] > wrist[0] + 0.02).all(), "the right hand's fingers point to -x, its rim lies behind the wrist"


def test_faces_look_outwards(figure: Figure) -> None:
    corners = figure.template[figure.faces] - figure.template.mean(0)
    assert np.linalg.det(corners).sum() / 6 > (0.05 if len(figure.template) == 6890 else 1e-4)


def test_triangles_are_even(figure: Figure) -> None:
    corners = figure.template[figure.faces]
    sides = np.stack([np.linalg.norm(corners[:, k] - corners[:, k - 1], axis=1) for k in range(3)], 1)
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    quality = 4 * np.sqrt(3) * area / (sides**2).sum(1)  # 1 = equilateral
    assert np.median(quality) > 0.85
    assert quality.min() > 0.08


# ---- symmetry


def test_body_is_its_own_mirror_image_at_every_level(body: Figure) -> None:
    vertices = body.template
    for level, faces in enumerate(body.levels["F"]):
        partner = mirror_partner(vertices)
        assert (partner[partner] == np.arange(len(vertices))).all()
        mirrored = {frozenset(face) for face in partner[faces.astype(int)].tolist()}
        assert mirrored == {frozenset(face) for face in faces.tolist()}
        if level < 2:
            down, up = body.levels["D"][level], body.levels["U"][level]
            coarse = down @ vertices
            assert np.abs((up @ coarse)[partner] * [-1, 1, 1] - up @ coarse).max() < 1e-12
            vertices = coarse


def test_mirrored_pose_gives_mirrored_mesh_and_joints(body: Figure) -> None:
    rng = np.random.RandomState(3)
    partner = mirror_partner(body.template)
    for _ in range(3):
        pose, betas = rng.standard_normal((24, 3)) * 0.5, rng.standard_normal(10) * 2
        vertices = body.skin(pose, betas)
        mirrored = body.skin(pose[POSE_FLIP] * [1, -1, -1], betas)
        assert np.abs(vertices[partner] * [-1, 1, 1] - mirrored).max() < 1e-6
        flipped = joints24(body, vertices)[J24_FLIP] * [-1, 1, 1]
        assert np.abs(flipped - joints24(body, mirrored)).max() < 1e-6


# ---- rig


def test_weights_and_regressors_are_shares(figure: Figure) -> None:
    assert (figure.weights >= 0).all()
    assert np.abs(figure.weights.sum(1) - 1).max() < 1e-12
    assert ((figure.weights > 0).sum(1) <= 8).all()
    assert (figure.weights.max(0) > 0.5).all(), "every joint carries some skin of its own"
    regressors = [figure.rows]
    if figure.files.regressor_extra:
        regressors += [
            np.load(figure.folder / name) for name in (figure.files.regressor_extra, figure.files.regressor_h36m)
        ]
    for rows in regressors:
        assert (rows >= 0).all()
        assert np.abs(rows.sum(1) - 1).max() < 1e-9


def test_weights_change_slowly_along_the_skin(figure: Figure) -> None:
    edges, _ = edges_of(figure.faces)
    change = np.abs(figure.weights[edges[:, 0]] - figure.weights[edges[:, 1]]).sum(1)
    assert change.max() < 1.4  # of 2; a fingertip is three vertices long
    assert np.percentile(change, 99) < 1.0


def test_joints_lie_inside_the_skin(body: Figure) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.Trimesh(body.template, body.faces, process=False)
    assert mesh.contains(body.rows @ body.template).all()


@pytest.mark.parametrize("name", list(BENT))
def test_bending_tears_nothing(body: Figure, name: str) -> None:
    edges, _ = edges_of(body.faces)
    rest, bent = body.template, body.skin(BENT[name])
    stretch = np.linalg.norm(np.diff(bent[edges], axis=1)[:, 0], axis=1)
    stretch /= np.linalg.norm(np.diff(rest[edges], axis=1)[:, 0], axis=1)
    assert stretch.max() < 3.0
    assert np.percentile(stretch, 1) > 0.3
    assert np.percentile(stretch, 99) < 2.0
    assert folded_share(body, BENT[name]) < 0.015  # the hollow of a knee, the crease of a hip
    volume = [np.linalg.det(v[body.faces]).sum() / 6 for v in (rest, bent)]
    assert volume[1] / volume[0] == pytest.approx(1, abs=0.05)


def test_pose_directions_give_back_what_blending_takes(body: Figure) -> None:
    """At a bent elbow, the middle of the joint is nearer to its rest girth with the pose directions than without."""
    pose = turned(24, j18=(0, -90, 0))
    joint = body.rows[18] @ body.template
    ring = np.flatnonzero((np.abs(body.template[:, 0] - joint[0]) < 0.012) & (body.template[:, 2] < joint[2] - 0.02))
    wanted = np.linalg.norm(body.template[ring] - joint, axis=1).mean()
    corrected = np.linalg.norm(body.skin(pose)[ring] - joint, axis=1).mean()
    plain = Figure(body.folder, body.files)
    plain.model["posedirs"] = np.zeros_like(body.model["posedirs"])
    blended = np.linalg.norm(plain.skin(pose)[ring] - joint, axis=1).mean()
    assert blended < 0.9 * wanted
    assert abs(corrected - wanted) < 0.5 * abs(blended - wanted)


def test_the_shared_skinning_reads_the_same_figure(figure: Figure) -> None:
    rng = np.random.RandomState(8)
    pose, betas = rng.standard_normal((len(figure.parents), 3)) * 0.5, rng.standard_normal(10)
    model = SkinnedModel(figure.model).double()
    turns = torch.from_numpy(Rotation.from_rotvec(pose).as_matrix())[None]
    vertices, joints = linear_blend_skinning(turns, torch.from_numpy(betas)[None], model)
    assert np.abs(vertices[0].numpy() - figure.skin(pose, betas)).max() < 1e-5
    assert joints.shape == (1, len(figure.parents), 3)


# ---- shape


def measures(body: Figure, number: int, sigmas: float) -> dict[str, float]:
    betas = np.eye(10)[number] * sigmas
    vertices, joint = body.skin(betas=betas), dict(zip(J24, joints24(body, body.skin(betas=betas)), strict=True))

    def apart(a: str, b: str) -> float:
        return float(np.linalg.norm(joint[a] - joint[b]))

    waist = vertices[np.abs(body.template[:, 1] + 0.05) < 0.03]
    forearm = vertices[np.abs(body.template[:, 0] - 0.55) < 0.03]
    return {
        "height": float(np.ptp(vertices[:, 1])),
        "waist": float(np.ptp(waist[np.abs(waist[:, 0]) < 0.3, 0])),
        "depth": float(waist[:, 2].max()),
        "leg": apart("L_Hip", "L_Ankle"),
        "arm": apart("L_Shoulder", "L_Wrist"),
        "shoulders": apart("L_Shoulder", "R_Shoulder"),
        "hips": apart("L_Hip", "R_Hip"),
        "head": apart("Top_of_Head", "Jaw"),
        "trunk": apart("Neck", "Pelvis"),
        "limb": float(np.ptp(forearm[:, 1])),
    }


@pytest.mark.parametrize(
    ("number", "what"),
    list(enumerate(["height", "waist", "leg", "arm", "shoulders", "hips", "head", "depth", "trunk", "limb"])),
)
def test_each_shape_number_changes_its_measure_most(body: Figure, number: int, what: str) -> None:
    small, large = measures(body, number, -1), measures(body, number, 1)
    change = {name: large[name] / small[name] - 1 for name in large}
    assert 0.02 < change[what] < 0.35
    rivals = {"height": set(change), "waist": {"depth", "limb"}}.get(what, set()) | {what}  # these go together
    assert change[what] > max([value for name, value in change.items() if name not in rivals], default=0.0), change


def test_body_has_a_persons_size(body: Figure) -> None:
    assert 1.65 < np.ptp(body.template[:, 1]) < 1.75
    assert 1.6 < np.ptp(body.template[:, 0]) < 1.8
    volume = np.linalg.det(body.template[body.faces]).sum() / 6
    assert 0.055 < volume < 0.080


# ---- landmarks


@pytest.mark.parametrize("names", [J24, H36M], ids=["J24", "H36M"])
def test_joints_land_where_their_names_say(body: Figure, names: list[str]) -> None:
    regress = joints24 if names is J24 else joints_h36m
    at = dict(zip(names, regress(body, body.template), strict=True))
    for name, place in at.items():
        if name.startswith("L_"):
            assert place[0] > 0.025, name
            assert np.abs(place * [-1, 1, 1] - at["R_" + name[2:]]).max() < 1e-9
        elif not name.startswith("R_"):
            assert abs(place[0]) < 1e-9, name
    rising = ["L_Ankle", "L_Knee", "L_Hip", "L_Shoulder", "Neck", "Nose", "Head"]
    assert (np.diff([at[name][1] for name in rising]) > 0.02).all()
    assert at["L_Shoulder"][0] < at["L_Elbow"][0] - 0.2 < at["L_Wrist"][0] - 0.4
    assert at["Nose"][2] > at["Head"][2] + 0.08, "the figure faces +z"
    assert np.linalg.norm(at["Pelvis"] - (at["L_Hip"] + at["R_Hip"]) / 2) < 0.03


def test_face_of_the_24_joints(body: Figure) -> None:
    at = dict(zip(J24, joints24(body, body.template), strict=True))
    assert at["Top_of_Head"][1] > body.template[:, 1].max() - 0.01
    assert (
        at["Pelvis"][1]
        < at["Spine"][1]
        < at["Thorax"][1]
        < at["Neck"][1]
        < at["Jaw"][1]
        < at["Nose"][1]
        < at["L_Eye"][1]
    )
    assert at["L_Ear"][0] > at["L_Eye"][0] + 0.03
    assert at["L_Eye"][2] > at["L_Ear"][2] + 0.05


def test_both_joint_sets_agree_on_the_fourteen_of_the_network(body: Figure) -> None:
    pose = np.random.RandomState(5).standard_normal((24, 3)) * 0.4
    vertices = body.skin(pose)
    full, h36m = joints24(body, vertices)[[*range(13), 18]], joints_h36m(body, vertices)
    assert np.abs(full - h36m[[3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]]).max() < 1e-9


def test_hand_is_a_right_hand_with_its_tips_numbered(hand: Figure) -> None:
    joints = hand.rows @ hand.template
    tips = {"index": 317, "middle": 445, "pinky": 673, "ring": 556, "thumb": 745}
    for f, (name, vertex) in enumerate(tips.items()):
        bone = joints[3 * f + 3] - joints[3 * f + 2]
        along = (hand.template - joints[3 * f + 3]) @ bone / np.linalg.norm(bone)
        own = hand.weights[:, 3 * f + 3] > 0.5
        assert own[vertex], name
        assert along[vertex] > along[own].max() - 0.003, name
    assert np.linalg.norm(hand.template[444] - hand.template[445]) < 0.01
    # Palm down, fingers to -x: the thumb of a right hand lies to +z, then index, middle, ring, little finger.
    across = [hand.template[tips[name]][2] for name in ("thumb", "index", "middle", "ring", "pinky")]
    assert (np.diff(across) < -0.01).all()
    assert 0.17 < np.ptp(hand.template[:, 0]) - 0.025 < 0.22


def test_curling_brings_the_tips_to_the_palm(hand: Figure) -> None:
    mean = hand.model["hands_mean"].reshape(15, 3)
    eased = hand.skin(np.concatenate([np.zeros((1, 3)), mean]))
    closed = hand.skin(np.concatenate([np.zeros((1, 3)), mean * 3.5]))
    wrist = hand.rows[0] @ hand.template
    for vertex in (317, 445, 556, 673):
        reach = [np.linalg.norm(v[vertex] - wrist) for v in (hand.template, eased, closed)]
        assert reach[0] > reach[1] > reach[2]
        assert eased[vertex, 1] < hand.template[vertex, 1] - 0.01, "the palm looks down"
    components = hand.model["hands_components"]
    assert np.abs(components @ components.T - np.eye(45)).max() < 1e-9


def test_hand_shape_numbers_change_lengths(hand: Figure) -> None:
    def length(betas: np.ndarray, a: int, b: int) -> float:
        joints = hand.rows @ (hand.template + hand.model["shapedirs"] @ betas)
        return float(np.linalg.norm(joints[a] - joints[b]))

    unit = np.eye(10)
    assert length(unit[0], 0, 6) / length(-unit[0], 0, 6) > 1.05
    assert length(unit[2], 4, 6) / length(-unit[2], 4, 6) > 1.05
    assert length(unit[3], 13, 15) / length(-unit[3], 13, 15) > 1.05
    assert length(unit[4], 1, 7) / length(-unit[4], 1, 7) > 1.05
