"""The page's libraries: fetched once by npm, of one checksum; its folder; what the command and `export_web` refuse."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tore import cli
from tore.cli import export as command
from tore.export import browser
from tore.export.libraries import LIBRARIES, Library, kept_archive, library_archive, license_of, unpack
from tore_runtime.predictor import FINDER, LANDMARKS, PALMS
from tore_runtime.record import BODY_FILE, RECORD_FILE

FILES = {"package.json": "{}", "dist/code.mjs": "export {};", "LICENSE": "As you like."}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A library whose archive an npm of two lines gives; there is no other program."""
    archive = tmp_path / "small-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as opened:
        for name, text in FILES.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            opened.addfile(entry, io.BytesIO(text.encode()))
    programs = tmp_path / "programs"
    programs.mkdir()
    said = '[ "$2" = small@1.0.0 ] || { echo "npm error 404 Not Found" >&2; exit 1; }'
    copy = shutil.which("cp")
    (programs / "npm").write_text(f'#!/bin/sh\n{said}\n"{copy}" "{archive}" "$4"\n')
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path / "cache"))
    checksum = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    return Library("small", "1.0.0", checksum, "MIT", ("dist/code.mjs",), license_file="LICENSE")


def test_a_library_is_fetched_once(library: Library, tmp_path: Path) -> None:
    told: list[str] = []
    assert kept_archive(library) is None
    archive = library_archive(library, told.append)
    assert archive == library_archive(library, told.append) == kept_archive(library)
    assert len(told) == 1 and "fetching small 1.0.0 from npm into" in told[0]
    unpack(library, archive, tmp_path / "flat")
    assert [path.name for path in (tmp_path / "flat").iterdir()] == ["code.mjs"]
    unpack(library, archive, tmp_path / "whole", flat=False)
    for name in ("package.json", "dist/code.mjs"):
        assert (tmp_path / "whole" / name).read_text() == FILES[name]
    assert license_of(library, archive) == "small 1.0.0 (MIT)\n\nAs you like.\n"
    archive.write_bytes(b"damaged")
    assert library_archive(library, told.append) == archive and len(told) == 2, "fetched again"


def test_a_library_that_cannot_be_had(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"small-1\.0\.0\.tgz from npm is not the package that is expected"):
        library_archive(replace(library, sha512="other"))
    assert not list((tmp_path / "cache" / "npm").iterdir())
    with pytest.raises(FileNotFoundError, match=r"could not fetch none 1\.0\.0 \(npm error 404 Not Found\): mend its"):
        library_archive(replace(library, name="none"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        FileNotFoundError, match=r"no npm is installed here: install Node\.js, or put the archive small-"
    ):
        library_archive(library)


def test_libraries_are_pinned() -> None:
    for library in LIBRARIES:
        assert len(base64.b64decode(library.sha512)) == 64 and library.license == "MIT"
        assert library.license_file or "Copyright" in library.license_text
    files = {Path(name).name for library in LIBRARIES for name in library.files}
    assert set(browser.LOADED) < files


def test_what_a_page_is_not_made_of(
    network: torch.nn.Module, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web.json").write_text("{}")
    with pytest.raises(FileExistsError, match="holds a page; add --overwrite"):
        browser.export_web(network, tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        FileNotFoundError, match=r"verified in onnxruntime-web under Node\.js, which is not installed here"
    ):
        browser.export_web(network, tmp_path / "out", body_dir=rule_body_dir)
    assert not (tmp_path / "out").exists()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def page_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, bytes]]:
    """Writes a page for a "body" or a "hand" whose exports are files with their names; gives what its folder holds."""
    folder, broken = tmp_path / "page", set[str]()

    def export_model(model: Any, made: Path, **options: Any) -> None:
        made.mkdir()
        (made / RECORD_FILE).write_text(model.config.body)
        np.savez(made / BODY_FILE, faces=np.arange(3))

    def export_detector(detector: str, made: Path, **options: Any) -> Any:
        if detector in broken:
            raise ValueError(f"{detector} gives other numbers")
        made.mkdir()
        (made / "network.onnx").write_text(detector)
        return SimpleNamespace(image={"size": None})

    def verified(export: Path, made: Path, every: Any) -> Any:
        kind = (made / browser.NETWORK / RECORD_FILE).read_text()
        return SimpleNamespace(body={"kind": kind, "name": kind, "rights": "free"}, network={"network": "", "arch": ""})

    for name, fake in {
        "export_model": export_model,
        "export_detector": export_detector,
        "_verify_in_node": verified,
        "library_archive": lambda library, tell: Path(library.name),
        "unpack": lambda library, archive, made: made.mkdir(exist_ok=True),
        "license_of": lambda library, archive: library.name,
    }.items():
        monkeypatch.setattr(browser, name, fake)
    monkeypatch.setattr(shutil, "which", lambda program: program)

    def written(kind: str, *, overwrite: bool = True, failing: str | None = None) -> dict[str, bytes]:
        broken.update(() if failing is None else (failing,))
        model: Any = SimpleNamespace(config=SimpleNamespace(body=kind, image_format=SimpleNamespace(size=32)))
        browser.export_web(model, folder, weights="float32", overwrite=overwrite)
        return content(folder)

    return written


def test_a_page_for_hands_replaces_one_for_people(page_of: Callable[..., dict[str, bytes]], tmp_path: Path) -> None:
    """Its own parts alone are there after it; another file stays, and all stays where the other page is not made."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "notes.txt").write_text("mine")
    people = page_of("body", overwrite=False)
    assert (people["finder/network.onnx"], people["notes.txt"]) == (FINDER.encode(), b"mine")
    with pytest.raises(FileExistsError, match="holds a page; add --overwrite"):
        page_of("hand", overwrite=False)
    assert content(tmp_path / "page") == people
    hands = page_of("hand")
    parts = {name: hands.pop(f"{name}/network.onnx").decode() for name in ("finder", "landmarks")}
    assert parts == {"finder": PALMS, "landmarks": LANDMARKS} and hands["notes.txt"] == b"mine"
    assert hands.keys() == people.keys() - {"finder/network.onnx"} and json.loads(hands["web.json"])["kind"] == "hand"
    assert b"palm finder" in hands["LICENSES.txt"] and b"palm finder" not in people["LICENSES.txt"]
    assert page_of("body") == people
    with pytest.raises(ValueError, match="gives other numbers"):
        page_of("hand", failing=LANDMARKS)
    assert content(tmp_path / "page") == people


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[dict[str, Any]] = []

    def export_web(model: torch.nn.Module, folder: str, **options: Any) -> Any:
        asked.append({**options, "body": model.config.body})
        return SimpleNamespace(file="network.onnx", weights=options["weights"], outputs=[], body={}, differences={},
                               rounding={})  # fmt: skip

    monkeypatch.setattr(command, "export_web", export_web)
    monkeypatch.setattr(command, "loaded_size", lambda folder: 47e6)
    flags = ["export", "--format", "web", "--output_dir", str(tmp_path / "page")]
    assert cli.main(flags) == 0
    said = capsys.readouterr()
    assert "which ships" in said.err and "a browser loads 47 MB of it" in said.out
    assert f"python {tmp_path / 'page'}/serve.py" in said.out
    assert cli.main([*flags, "--weights", "float32", "--runtime", "onnxruntime", "--overwrite"]) == 0
    first, second = asked
    assert (first["weights"], second["weights"]) == ("float16", "float32")
    assert second["runtimes"] == ["onnxruntime"] and second["overwrite"] and not first["overwrite"]
    for whose, kind in (("people", "body"), ("hands", "hand")):
        assert cli.main(["export", whose, *flags[1:]]) == 0 and asked.pop()["body"] == kind
        assert f"the network is {whose}.safetensors, which ships" in capsys.readouterr().err
    assert cli.main([*flags, "--output", "joints"]) == 2
    assert "--output joints: a page draws the mesh; leave it out" in capsys.readouterr().err
