"""The maps between mesh levels against dense products, in every setting that a network meets them in."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from tests import rules
from tore.body.mesh_levels import MeshLevels, SparseMap


@pytest.fixture(scope="module")
def levels() -> MeshLevels:
    held = rules.mesh_levels()
    return MeshLevels(held["U"], held["D"])


def rounded(matrix: sp.csc_matrix) -> np.ndarray:
    return matrix.toarray().astype(np.float32).astype(np.float64)


def test_both_ways_against_dense_products(levels: MeshLevels) -> None:
    held = rules.mesh_levels()
    levels = MeshLevels(held["U"], held["D"]).double()
    assert levels.sizes == (431, 1723, 6890)
    full = torch.from_numpy(np.random.RandomState(0).standard_normal((3, 6890, 3)))
    middle, coarse = levels.downsample(full)
    np.testing.assert_allclose(middle, rounded(held["D"][0]) @ full.numpy(), atol=1e-12)
    np.testing.assert_allclose(coarse, rounded(held["D"][1]) @ middle.numpy(), atol=1e-12)
    again, finest = levels.upsample(coarse)
    np.testing.assert_allclose(again, rounded(held["U"][1]) @ coarse.numpy(), atol=1e-12)
    np.testing.assert_allclose(finest, rounded(held["U"][0]) @ again.numpy(), atol=1e-12)


def test_rows_of_different_lengths() -> None:
    dense = np.array([[0, 0, 0, 0], [1, 0, 2, 0], [0, 0, 0, 3], [4, 5, 6, 7], [0, 0, 0, 0]], dtype=np.float64)
    vertices = torch.from_numpy(np.random.RandomState(1).standard_normal((2, 4, 3)))
    for matrix in (dense, sp.coo_matrix(dense), sp.csc_matrix(dense)):
        applied = SparseMap(matrix).double()
        np.testing.assert_allclose(applied(vertices), dense @ vertices.numpy(), atol=1e-14)
        assert applied.shape == (5, 4)
        assert applied.dense_macs == 60
        assert applied.index.shape == applied.weight.shape == (5, 4)
    np.testing.assert_array_equal(SparseMap(np.zeros((2, 4))).double()(vertices), np.zeros((2, 2, 3)))
    twice = sp.coo_matrix((np.ones(2), ([0, 0], [1, 1])), shape=(1, 4))
    np.testing.assert_allclose(SparseMap(twice).double()(vertices), 2 * vertices[:, 1:2])


def test_a_far_vertex_that_is_not_finite_stays_where_it_is() -> None:
    dense = np.array([[0, 1, 0], [0, 1, 1.0]])
    vertices = torch.tensor([[[float("nan")] * 3, [1.0] * 3, [2.0] * 3]])
    assert torch.isfinite(SparseMap(dense)(vertices)).all()


def test_gradient_is_the_transposed_product() -> None:
    held = rules.hand_mesh_levels()
    levels = MeshLevels(held["U"], held["D"]).double()
    coarse = torch.zeros(2, 195, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.from_numpy(np.random.RandomState(2).standard_normal((2, 778, 3)))
    (levels.upsample(coarse)[0] * weights).sum().backward()
    np.testing.assert_allclose(coarse.grad, rounded(held["U"][0]).T @ weights.numpy(), atol=1e-12)


def test_one_graph_when_compiled(levels: MeshLevels) -> None:
    compiled = torch.compile(lambda coarse: levels.upsample(coarse), fullgraph=True, backend="aot_eager")
    coarse = torch.randn(2, 431, 3, requires_grad=True)
    for actual, expected in zip(compiled(coarse), levels.upsample(coarse), strict=True):
        torch.testing.assert_close(actual, expected)
    compiled(coarse)[1].sum().backward()
    assert torch.isfinite(coarse.grad).all()


def test_buffers_follow_and_stay_out_of_checkpoints(levels: MeshLevels) -> None:
    assert not levels.state_dict()
    assert not list(levels.parameters())
    meta = MeshLevels(*(rules.hand_mesh_levels()[name] for name in "UD")).to("meta")
    assert meta.upsample(torch.empty(2, 195, 3, device="meta"))[0].shape == (2, 778, 3)


def test_sizes_that_do_not_chain_are_refused() -> None:
    held = rules.mesh_levels()
    with pytest.raises(ValueError, match="mesh levels do not fit together"):
        MeshLevels(held["U"][::-1], held["D"][::-1])
    with pytest.raises(ValueError, match="mesh levels do not fit together"):
        MeshLevels(held["U"], held["D"][:1])
