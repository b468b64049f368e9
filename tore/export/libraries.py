"""The JavaScript libraries of the page that `tore export --format web` writes, fetched from npm when one is written.

Each is a package of a pinned version whose checksum is npm's own; it is kept in `tore.paths.cache_dir()`, and of it
only the files that the page loads are taken.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tore.paths import cache_dir

KEPT_LIBRARIES = "npm"  # folder within `tore.paths.cache_dir()`
MEMBERS = "package"  # folder within npm's archives
TIMEOUT = 600  # seconds that npm gets for an archive


@dataclass(frozen=True)
class Library:
    """A package of npm. files: those that the page loads. license_file: of them; where None, `license_text` is it."""

    name: str
    version: str
    sha512: str  # base64, as npm's `dist.integrity` has it
    license: str
    files: tuple[str, ...]
    license_file: str | None = None
    license_text: str = ""

    @property
    def archive(self) -> str:
        """The name of its archive."""
        return f"{self.name}-{self.version}.tgz"


MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
COMPILED_IN = """The libraries that are compiled into it have their notices in
https://github.com/microsoft/onnxruntime/blob/v1.30.0/ThirdPartyNotices.txt
"""
ONNXRUNTIME = Library(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    "MIT",
    (
        "dist/ort.wasm.bundle.min.mjs",
        "dist/ort-wasm-simd-threaded.wasm",
        "dist/ort-wasm-simd-threaded.mjs",  # Node's alone
        "dist/ort.webgpu.bundle.min.mjs",
        "dist/ort-wasm-simd-threaded.asyncify.wasm",
    ),
    license_text=f"Copyright (c) Microsoft Corporation\n\n{MIT}\n{COMPILED_IN}",
)
THREE = Library(
    "three",
    "0.187.0",
    "Qiu7R+Cmh8CstZsY1uJOSWnVlfo7ZtNLV7mF8Jltk3LB3AtDu9cRZlcnRKkAk8Y4z6KKw35z7Y7Urd7jWY8etA==",
    "MIT",
    ("build/three.module.js", "build/three.core.js"),
    license_file="LICENSE",
)
LIBRARIES = (ONNXRUNTIME, THREE)


def kept_archive(library: Library) -> Path | None:
    """The package's archive in the cache, or None where there is no undamaged one."""
    place = cache_dir() / KEPT_LIBRARIES / library.archive
    return place if place.is_file() and _checksum(place) == library.sha512 else None


def library_archive(library: Library, tell: Callable[[str], object] = lambda text: None) -> Path:
    """The package's archive, whose checksum is right; fetched by npm where it is not kept, which `tell` is told.

    Raises FileNotFoundError where it can't be fetched, ValueError for an archive with another checksum.
    """
    if (kept := kept_archive(library)) is not None:
        return kept
    folder = cache_dir() / KEPT_LIBRARIES
    place = folder / library.archive
    by_hand = f"or put the archive {library.archive} of it into {folder}"
    if shutil.which("npm") is None:
        raise FileNotFoundError(
            f"the page needs {library.name} {library.version} from npm, and no npm is installed here: install Node.js, "
            f"{by_hand}"
        )
    tell(f"fetching {library.name} {library.version} from npm into {folder}, once")
    folder.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    command = ["npm", "pack", f"{library.name}@{library.version}", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, cwd=folder)
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    except subprocess.TimeoutExpired:
        said = [f"no answer in {TIMEOUT} s"]
    if not place.is_file():
        reason = next((line for line in said if "error" in line.lower()), said[-1])
        raise FileNotFoundError(
            f"npm could not fetch {library.name} {library.version} ({reason}): mend its connection, {by_hand}"
        )
    if _checksum(place) != library.sha512:
        place.unlink()
        raise ValueError(
            f"{library.archive} from npm is not the package that is expected: its checksum is another one; "
            "check npm's registry with `npm config get registry`"
        )
    return place


def unpack(library: Library, archive: Path, folder: Path, *, flat: bool = True) -> None:
    """Writes the files of a library that the page loads into a folder.

    flat: without the package's own folders; else as a package that node finds, with its package.json.
    """
    names = library.files if flat else ("package.json", *library.files)
    with tarfile.open(archive) as opened:
        for name in names:
            target = folder / (Path(name).name if flat else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_member(opened, name))


def license_of(library: Library, archive: Path) -> str:
    """The text of its license under a line that names it."""
    text = library.license_text
    if library.license_file is not None:
        with tarfile.open(archive) as opened:
            text = io.TextIOWrapper(io.BytesIO(_member(opened, library.license_file)), "utf-8").read()
    return f"{library.name} {library.version} ({library.license})\n\n{text.strip()}\n"


def _member(opened: tarfile.TarFile, name: str) -> bytes:
    stream = opened.extractfile(f"{MEMBERS}/{name}")
    assert stream is not None
    return stream.read()


def _checksum(path: Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
