"""The library leaves the process as it was, and says what it has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

import tore
from tests import process_state, rules
from tore.paths import default_checkpoint


def test_nothing_of_the_process_changes(synthetic_body_dir: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(rules.photo(1, 40, 50)).save(image)
    checkpoint = default_checkpoint("body")
    program = [sys.executable, "-m", process_state.__name__]
    arguments = [str(synthetic_body_dir), str(checkpoint), str(image), str(tmp_path / "set")]
    answer = subprocess.run([*program, *arguments], capture_output=True, text=True, check=True)
    assert answer.stdout == "nothing else\n", answer.stdout
    assert not answer.stderr


def test_the_package_lists_its_public_names() -> None:
    listed = dir(tore)
    assert set(tore.__all__) == {name for name in listed if not name.startswith("_")}
    assert "__version__" in listed
    names: dict[str, object] = {}
    exec("from tore import *", names)
    assert all(names[name] is getattr(tore, name) for name in tore.__all__)
