"""The joint constants describe each other."""

from __future__ import annotations

import pytest

from tore.body import joints as J


def mirrored(name: str) -> str:
    side, _, rest = name.partition("_")
    return {"R": f"L_{rest}", "L": f"R_{rest}"}.get(side, name)


@pytest.mark.parametrize(
    ("names", "flip"),
    [(J.J24_NAMES, J.J24_FLIP), (J.J14_NAMES, J.J14_FLIP), (J.SMPL_NAMES, J.SMPL_FLIP)],
    ids=["J24", "J14", "SMPL"],
)
def test_flips_swap_left_and_right(names: tuple[str, ...], flip: tuple[int, ...]) -> None:
    assert [names[joint] for joint in flip] == [mirrored(name) for name in names]


def test_both_maps_lead_to_the_same_14_joints() -> None:
    from_h36m = tuple(J.H36M_NAMES[joint] for joint in J.H36M_TO_J14)
    assert from_h36m == J.J14_NAMES
    assert [J.J14_NAMES[joint] for joint in J.J14_HIPS] == ["R_Hip", "L_Hip"]
    assert (len(J.J24_NAMES), len(J.H36M_NAMES), len(J.SMPL_NAMES), len(J.HAND_NAMES)) == (24, 17, 24, 21)
    assert J.NUM_JOINTS == {"body": 14, "hand": 21}


def test_skeleton_rows_of_the_label_joints_have_their_names() -> None:
    for name, row in zip(J.J24_NAMES, J.SMPL_TO_J24, strict=True):
        if row < 24 and name.split("_")[0] in ("L", "R"):
            assert J.SMPL_NAMES[row] == name
    assert sorted(row for row in J.SMPL_TO_J24 if row >= 24) == list(range(24, 38))


def test_hand_order_runs_along_each_finger() -> None:
    parents = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
    tips = {16: 15, 17: 3, 18: 6, 19: 12, 20: 9}  # thumb, index, middle, ring, pinky after the last joint of each
    for start, end in J.HAND_EDGES:
        parent, child = J.MANO_TO_HAND[start], J.MANO_TO_HAND[end]
        assert (tips[child] if child in tips else parents[child]) == parent
    assert sorted(J.MANO_TO_HAND) == list(range(21))


@pytest.mark.parametrize(
    ("names", "edges"),
    [
        (J.J24_NAMES, J.J24_EDGES),
        (J.H36M_NAMES, J.H36M_EDGES),
        (J.J14_NAMES, J.J14_EDGES),
        (J.HAND_NAMES, J.HAND_EDGES),
    ],
    ids=["J24", "H36M", "J14", "hand"],
)
def test_edges_connect_every_joint(names: tuple[str, ...], edges: tuple[tuple[int, int], ...]) -> None:
    reached = {edges[0][0]}
    for _ in names:
        reached |= {end for edge in edges if reached & set(edge) for end in edge}
    assert reached == set(range(len(names)))
    assert len({frozenset(edge) for edge in edges}) == len(edges)


def test_manos_skeleton_names_agree_with_the_hand_order() -> None:
    """The 16 skeleton joints, brought into the order of the 21 hand joints, carry those joints' names."""
    for name, row in zip(J.HAND_NAMES, J.MANO_TO_HAND, strict=True):
        assert row >= 16 or J.MANO_NAMES[row] == name
    assert {kind: len(names) for kind, names in J.SKELETON_NAMES.items()} == {"body": 24, "hand": 16}
