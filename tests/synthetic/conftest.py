"""The synthetic body and hand in a cache folder of the tests' own, written afresh, and their files read plainly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plain_figure import Figure
from tore.paths import SYNTHETIC_BODY_FILES, SYNTHETIC_HAND_FILES
from tore.synthetic.free_body import synthetic_body_dir


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return synthetic_body_dir()


@pytest.fixture(scope="session")
def body(folder: Path) -> Figure:
    return Figure(folder, SYNTHETIC_BODY_FILES)


@pytest.fixture(scope="session")
def hand(folder: Path) -> Figure:
    return Figure(folder, SYNTHETIC_HAND_FILES)
