"""`export_web`: a network as a folder of static files that recovers people or hands in a visitor's browser.

The folder holds the page (`tore/export/web`), the exports of the network and of what finds people or hands for it, the
faces of the mesh, and of onnxruntime-web and three.js what the page loads. All networks are verified as every export
is, and in onnxruntime-web's WASM under Node besides.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tore import __version__
from tore.export.detectors import SIDES, export_detector
from tore.export.exporting import BATCHES, CALLS, WEB_FILE, check_free, export_model, sample_images, verified
from tore.export.libraries import LIBRARIES, ONNXRUNTIME, library_archive, license_of, unpack
from tore.export.onnx_files import with_stored_weights
from tore.files import write_whole, writing
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO
from tore_runtime.predictor import FINDER, LANDMARKS, PALMS
from tore_runtime.record import BODY_FILE, NETWORK_FILES, RECORD_FILE, ExportRecord, file_sha256, read_record
from tore_runtime.sessions import RUNTIMES, Session

PAGE = Path(__file__).parent / "web"
PAGE_FILES = ("index.html", "style.css", "page.js", "recovery.js", "people.js", "hands.js", "images.js", "mesh.js")
SERVER = "serve.py"
LOADED = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "three.module.js", "three.core.js")
CHECK = Path(__file__).parent / "node_check.mjs"
FACES_FILE, LICENSES_FILE = "faces.bin", "LICENSES.txt"
NETWORK, LIBRARY_FOLDER = "network", "lib"  # folders
# For a network of bodies or hands: the folders of its detectors, by the names of tore.export.detector_graphs.
FINDERS = {"body": {"finder": FINDER}, "hand": {"finder": PALMS, "landmarks": LANDMARKS}}
WEB_RUNTIME = "onnxruntime-web"
APACHE = """ (Apache-2.0)

Copyright Google LLC; https://www.apache.org/licenses/LICENSE-2.0
"""
DETECTOR_LICENSES = {
    "body": f"MoveNet MultiPose, the person finder, and MoveNet Thunder in networks that build on it{APACHE}",
    "hand": f"MediaPipe's palm finder, and its hand landmarks, also in networks that build on them{APACHE}",
}
REASON = 200  # letters of what Node says
RULE = "\n" + "-" * 80 + "\n\n"


def export_web(
    model: FastMETRO | METRO,
    output_dir: str | Path,
    *,
    weights: str = "float16",
    runtimes: Sequence[str] = RUNTIMES,
    body_dir: str | Path | None = None,
    source: str | Path | None = None,
    overwrite: bool = False,
    tell: Callable[[str], object] = lambda text: None,
) -> ExportRecord:
    """Writes a static folder whose page finds people or hands in photographs and the camera's images, and their meshes.

    weights: how all networks' files store them; 16 bits halve what a visitor loads. tell: is handed a sentence before
    something is fetched from npm. The others as for `export_model`, and so are the errors; besides
    FileNotFoundError where Node.js or a library is missing. Returns the network's record.
    """
    folder = Path(output_dir)
    check_free(folder, overwrite, WEB_FILE)
    if shutil.which("node") is None:
        raise FileNotFoundError(f"a page is verified in {WEB_RUNTIME} under Node.js, which is not installed here")
    archives = {library: library_archive(library, tell) for library in LIBRARIES}
    options: dict[str, Any] = {"weights": weights, "body_dir": body_dir, "source": source}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as name:
            made = Path(name)
            for library, archive in archives.items():
                unpack(library, archive, made / LIBRARY_FOLDER)
            export_model(model, made / NETWORK, output="mesh", runtimes=runtimes, **options)
            record = _verify_in_node(made / NETWORK, made, _crops(model.config.image_format.size))
            for part, detector in FINDERS[model.config.body].items():
                found = export_detector(detector, made / part, runtimes=runtimes)
                if weights != "float32":
                    _store_weights(made / part, weights)
                _verify_in_node(made / part, made, _whole_images(found.image["size"]))
            for file in (*PAGE_FILES, SERVER):
                shutil.copyfile(PAGE / file, made / file)
            with np.load(made / NETWORK / BODY_FILE) as body:
                (made / FACES_FILE).write_bytes(body["faces"].astype("<u4").tobytes())
            (made / LICENSES_FILE).write_text(_licenses(record, archives), encoding="utf-8")
            (folder / WEB_FILE).unlink(missing_ok=True)
            for part in {part for parts in FINDERS.values() for part in parts}:  # another kind of page has others
                shutil.rmtree(folder / part, ignore_errors=True)
            _move(made, folder)
        write_whole(folder / WEB_FILE, _description(record))
    return record


def _move(made: Path, folder: Path) -> None:
    """Moves what a folder holds into another one, in the place of what has the same name."""
    for part in made.iterdir():
        if (folder / part.name).is_dir():
            shutil.rmtree(folder / part.name)
        part.replace(folder / part.name)


def loaded_size(folder: Path) -> int:
    """Bytes that a browser loads of a page's folder where WASM computes."""
    loaded = [PAGE_FILES, [FACES_FILE, WEB_FILE], [f"{LIBRARY_FOLDER}/{name}" for name in LOADED]]
    parts = (NETWORK, *FINDERS[read_record(folder / NETWORK).body["kind"]])
    loaded.append([f"{NETWORK}/{RECORD_FILE}", *(f"{part}/{NETWORK_FILES['onnx']}" for part in parts)])
    return sum((folder / name).stat().st_size for names in loaded for name in names)


def run_in_node(library: Path, network: Path, every: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The outputs of an ONNX file for several images (B, 3, H, W) float32, in one session of onnxruntime-web's WASM.

    library: `ort.wasm.bundle.min.mjs`. ValueError with what Node says where it fails.
    """
    with tempfile.TemporaryDirectory(prefix="tore-node-") as name:
        calls, answers = Path(name) / "calls", Path(name) / "answers"
        with calls.open("wb") as stream:
            stream.write(json.dumps([images.shape for images in every]).encode() + b"\n")
            for images in every:
                stream.write(np.ascontiguousarray(images, "<f4").tobytes())
        command = ["node", str(CHECK), str(library), str(network), str(calls), str(answers)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            told = re.findall(r"^\w*Error.*", done.stderr, re.MULTILINE)
            raise ValueError(f"{WEB_RUNTIME} does not run {network.name} ({(told or ['no reason'])[-1][:REASON]})")
        header, _, content = answers.read_bytes().partition(b"\n")
    found, at = [], 0
    for shapes in json.loads(header):
        outputs = {}
        for output, shape in shapes.items():
            count = int(np.prod(shape))
            outputs[output] = np.frombuffer(content, "<f4", count, at).reshape(shape)
            at += 4 * count
        found.append(outputs)
    return found


def _verify_in_node(export: Path, made: Path, every: Sequence[np.ndarray]) -> ExportRecord:
    """Compares an export in the page's library with the runtime that it was verified in, and notes the differences."""
    record = read_record(export)
    native = Session(export / record.file, next(iter(record.differences)))
    expected = [(images, native(images)) for images in every]
    answers = iter(run_in_node(made / LIBRARY_FOLDER / LOADED[0], export / record.file, every))
    found = verified(lambda images: next(answers), expected, f"in {WEB_RUNTIME}")
    record = replace(
        record,
        differences={**record.differences, WEB_RUNTIME: found},
        versions={**record.versions, WEB_RUNTIME: ONNXRUNTIME.version},
    )
    write_whole(export / RECORD_FILE, record.text())
    return record


def _store_weights(export: Path, dtype: str) -> None:
    """Stores an export's weights in 16 bits, of which detectors' are."""
    record = read_record(export)
    rounded = export / "rounded.onnx"
    with_stored_weights(export / record.file, rounded, dtype)
    rounded.unlink()
    record = replace(record, weights=dtype, sha256=file_sha256(export / record.file))
    write_whole(export / RECORD_FILE, record.text())


def _crops(size: int) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(1)
    return [sample_images(batch, size, generator).numpy() for batch in BATCHES * CALLS]


def _whole_images(size: int | None) -> list[np.ndarray]:
    """Images of noise for a detector, of several sides where they are free; else of `size`, in several batches."""
    generator = torch.Generator().manual_seed(1)
    batches = [1] * len(SIDES) if size is None else BATCHES
    shapes = [(batch, 3, *((size, size) if size else side)) for batch, side in zip(batches, SIDES, strict=True)]
    return [(255 * torch.rand(*shape, generator=generator)).numpy() for shape in shapes * CALLS]


def _licenses(record: ExportRecord, archives: dict[Any, Path]) -> str:
    texts = [license_of(library, archive) for library, archive in archives.items()]
    texts += [DETECTOR_LICENSES[record.body["kind"]], f"The network and its body model\n\n{record.body['rights']}\n"]
    return RULE.join(texts)


def _description(record: ExportRecord) -> str:
    network = f"{record.network['network']}, {record.network['arch']}"
    libraries = {library.name: library.version for library in LIBRARIES}
    body = f"{record.body['name']}, {record.body['rights']}"
    plain = {"tore": __version__, "kind": record.body["kind"], "network": network, "body": body}
    return json.dumps({**plain, "libraries": libraries}, indent=2) + "\n"
