"""The official support files, where a user has them: `TORE_TEST_ASSETS=folder pytest tests/body`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from manopth.files import load_object_arrays
from tore.body import load_topology
from tore.body.files import read_regressor
from tore.paths import BODY_FILES, SMPL_FILES

ASSETS = os.environ.get("TORE_TEST_ASSETS", "")
pytestmark = pytest.mark.skipif(not ASSETS, reason="TORE_TEST_ASSETS does not name a folder of official files")


@pytest.mark.parametrize(("kind", "sizes"), [("body", (431, 1723, 6890)), ("hand", (195, 778))])
def test_topology_without_a_warning(kind: str, sizes: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        topology = load_topology(kind, Path(ASSETS))
    assert topology.levels.sizes == sizes
    neighbours = topology.adjacency != 0
    assert torch.equal(neighbours, neighbours.T)
    assert neighbours.diagonal().all()
    files = BODY_FILES[kind][0]
    held = load_object_arrays(Path(ASSETS) / files.mesh_levels, ["U", "D"])
    full = torch.from_numpy(np.random.RandomState(0).standard_normal((2, sizes[-1], 3)))
    coarse = topology.levels.double().downsample(full)
    for mesh, matrix in zip(full.numpy(), coarse[0], strict=True):
        np.testing.assert_allclose(matrix, held["D"][0] @ mesh, atol=1e-6)
    for mesh, matrix in zip(coarse[0].numpy(), topology.levels.upsample(coarse[-1])[-1], strict=True):
        expected = held["U"][0] @ (mesh if kind == "hand" else held["U"][1] @ (held["D"][1] @ mesh))
        np.testing.assert_allclose(matrix, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "rows"), [(SMPL_FILES.regressor_extra, 14), (SMPL_FILES.regressor_h36m, 17)])
def test_regressors_without_a_warning(name: str, rows: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = read_regressor(name, rows, 6890, Path(ASSETS))
    np.testing.assert_allclose(array.sum(1), 1, atol=1e-3)  # official rows miss 1 by up to 4e-4
