"""The capsule figures' files: mesh levels, adjacency, and the loaders that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from manopth.files import load_tensor
from tests.plain_figure import BENT, Figure, edges_of, joints24, joints_h36m
from tore.body.body_model import load_body
from tore.body.topology import load_topology


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
