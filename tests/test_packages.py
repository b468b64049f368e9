"""What pip builds: the source archive holds all that a wheel needs, and its wheel is that of the tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT, environment
from tore.paths import example_photograph

NEEDED = (
    "setup.py",
    "pyproject.toml",
    "README.md",
    "requirements.txt",
    "MANIFEST.in",
    "tore",
    "tore_runtime",
    "manopth",
)


def build(kind: str, source: Path, out: Path) -> Path:
    program = f"import sys; from setuptools.build_meta import {kind}; {kind}(sys.argv[1])"
    command = [sys.executable, "-c", program, str(out)]
    subprocess.run(command, cwd=source, env=environment(), check=True, capture_output=True, timeout=240)
    (built,) = out.iterdir()
    return built


@pytest.mark.slow
def test_the_source_archive_builds_the_wheel_of_the_tree(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    (tree := tmp_path / "tree").mkdir()
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    for unwanted in [*tree.rglob("__pycache__"), *tree.rglob("*.egg-info")]:
        shutil.rmtree(unwanted)
    archive = build("build_sdist", tree, tmp_path / "sdist")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "requirements.txt").is_file()
    contents = []
    for source in (tree, unpacked):
        with zipfile.ZipFile(build("build_wheel", source, tmp_path / f"wheel of {source.name}")) as wheel:
            contents.append({item.filename: item.CRC for item in wheel.infolist()})
    assert contents[0] == contents[1]
    photograph = example_photograph().relative_to(ROOT).as_posix()
    files = ("tore/__main__.py", "tore/modeling/shipped/people.safetensors", "tore/visualize/page/style.css")
    for name in (*files, photograph):
        assert name in contents[0]
    (metadata,) = [name for name in contents[0] if name.endswith("METADATA")]
    with zipfile.ZipFile(next((tmp_path / "wheel of tree").iterdir())) as wheel:
        required = wheel.read(metadata).decode()
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert line.startswith("#") or f"Requires-Dist: {line}" in required
