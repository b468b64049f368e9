"""Shared fixtures: the rule-made body files, and the reference values and key lists."""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import rules
from tore import device
from tore.modeling.official_keys import UNREAD
from tore.paths import MANO_FILES, SMPL_FILES, BodyFiles
from tore.synthetic import free_body

REFERENCE = Path(__file__).parent / "reference"
SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ  # several processes run the tests
if SIDE_BY_SIDE:
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands that tests run
torch.set_num_threads(1 if SIDE_BY_SIDE else min(2, torch.get_num_threads()))
# A command's process keeps its peak of memory until it ends; the tests' own would keep that of the largest test.
device.keep_freed_memory = lambda: False


@pytest.fixture(scope="module", autouse=True)
def memory_goes_back() -> Iterator[None]:
    """What the tests of a file have freed goes back to the system (glibc keeps it), so that others may have it."""
    yield
    gc.collect()
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def reference(name: str) -> dict[str, np.ndarray]:
    """The arrays of tests/reference/values/<name>.npz."""
    with np.load(REFERENCE / "values" / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


def published_keys(name: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Entry name -> (shape, dtype) of tests/reference/keys/<name>.json."""
    entries = json.loads((REFERENCE / "keys" / f"{name}.json").read_text())
    return {key: (tuple(shape), dtype) for key, (shape, dtype) in entries.items()}


@functools.cache
def rule_entry(key: str, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    """One entry of an official checkpoint, made once: networks share most of theirs. Not to be written into.

    Entries that nothing reads are NaN, one stored number each, so that reading one would show.
    """
    if UNREAD.fullmatch(key):
        return torch.full((1,), torch.nan).expand(shape)
    return torch.from_numpy(rules.parameter(key, shape)).to(getattr(torch, dtype))


def rule_state_dict(name: str) -> dict[str, torch.Tensor]:
    """An official checkpoint of the network `name`, every entry that is read filled by its rule."""
    return {key: rule_entry(key, shape, dtype) for key, (shape, dtype) in published_keys(name).items()}


def assert_agrees(actual: torch.Tensor | np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Largest difference relative to the largest expected value."""
    actual = actual.detach().cpu().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    error = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max() / np.abs(expected).max()
    assert error <= tolerance, f"relative difference {error:.3g} > {tolerance:g}"


def object_array(items: list) -> np.ndarray:
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return out


def write_levels(path: Path, levels: dict[str, list]) -> None:
    np.savez(path, **{name: object_array(matrices) for name, matrices in levels.items()})


def write_adjacency(folder: Path, prefix: str, matrix: np.ndarray) -> None:
    indices = np.stack(np.nonzero(matrix))
    torch.save(torch.from_numpy(indices), folder / f"{prefix}_indices.pt")
    torch.save(torch.from_numpy(matrix[tuple(indices)]), folder / f"{prefix}_values.pt")
    torch.save(torch.Size(matrix.shape), folder / f"{prefix}_size.pt")


def write_body(folder: Path, files: BodyFiles, model: dict, levels: dict[str, list], adjacency: np.ndarray) -> None:
    (folder / files.model).write_bytes(pickle.dumps(model, protocol=2))
    write_levels(folder / files.mesh_levels, levels)
    write_adjacency(folder, files.adjacency, adjacency)


@pytest.fixture(scope="session")
def rule_body_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of body and hand files under the official names, made by the rules."""
    folder = tmp_path_factory.mktemp("rule_bodies")
    extra, h36m = rules.joint_regressors()
    write_body(folder, SMPL_FILES, rules.smpl_model(), rules.mesh_levels(), rules.adjacency())
    np.save(folder / str(SMPL_FILES.regressor_extra), extra)
    np.save(folder / str(SMPL_FILES.regressor_h36m), h36m)
    write_body(folder, MANO_FILES, rules.mano_model(), rules.hand_mesh_levels(), rules.adjacency(195, 13))
    return folder


@pytest.fixture(scope="session")
def synthetic_body_dir() -> Path:
    """The folder of the synthetic body and hand, written once in the project's cache folder and reused later."""
    return free_body.synthetic_body_dir()


from tests.training_runs import synthetic_sets, tiny_sets  # noqa: E402, F401 - fixtures of several packages
