"""Programs of npm that read animation files: Khronos' validator, and three.js in headless Chromium."""

from __future__ import annotations

import base64
import functools
import html
import http.server
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser import find_browser, served

HERE = Path(__file__).parent
VALIDATE = """
const [modules, file] = process.argv.slice(1);
const validator = require(modules + "/gltf-validator");
validator.validateBytes(new Uint8Array(require("fs").readFileSync(file)))
  .then((report) => console.log(JSON.stringify(report.issues)));
"""


@functools.cache
def modules_folder() -> Path | None:
    """The folder of installed packages: $NODE_PATH, else that of `npm install --prefix tests/motion`."""
    named = [Path(part) for part in os.environ.get("NODE_PATH", "").split(os.pathsep) if part]
    return next((folder for folder in [*named, HERE / "node_modules"] if folder.is_dir()), None)


def package(name: str) -> Path:
    """The folder of installed packages; skips the test where node or the package is missing."""
    folder = modules_folder()
    if shutil.which("node") is None or folder is None or not (folder / name).is_dir():
        pytest.skip(f"node with {name} is not here: npm install --prefix tests/motion")
    return folder


def validated(path: Path) -> dict[str, Any]:
    """What the validator says of a file."""
    command = ["node", "-e", VALIDATE, str(package("gltf-validator")), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


class Files(http.server.SimpleHTTPRequestHandler):
    """Gives the page, the packages and the files of a test."""

    folders: dict[str, Path]

    def translate_path(self, path: str) -> str:
        first, _, rest = path.strip("/").partition("/")
        return str(self.folders[first] / rest if rest else HERE / "page.html")


def server(**folders: Path) -> http.server.ThreadingHTTPServer:
    """A server on this machine alone, of the page and of these folders."""
    handler = type("Handler", (Files,), {"folders": folders})
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


def read_by_three(
    folder: Path,
    glb: str,
    bvh: str | None,
    times: Sequence[float],
    *,
    drawn: Sequence[float] = (0.0,),
    vertices: Sequence[int] = (),
    distance: float = 1.5,
    size: tuple[int, int] = (320, 400),
) -> tuple[dict[str, Any], np.ndarray]:
    """What three.js in headless Chromium says of a folder's files at `times`, and the image (H, W, 3) of frames.

    Skips the test where the browser or the package is missing. distance: of the camera, in steps of 2.3 meters.
    """
    modules, browser = package("three"), find_browser()
    wanted = {"glb": glb, "bvh": bvh, "times": list(times), "drawn": list(drawn), "vertices": list(vertices)}
    (folder / "wanted.json").write_text(json.dumps(wanted | {"distance": distance, "size": size}))
    command = [browser, "--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    command += [f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=30000", "--dump-dom"]
    with served(server(modules=modules, files=folder)) as address:
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=240, check=True)
    told = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr[-2000:]
    found = json.loads(html.unescape(told.group(1)))
    assert "error" not in found, found["error"]
    content = base64.b64decode(found.pop("image").partition(",")[2])
    return found, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
