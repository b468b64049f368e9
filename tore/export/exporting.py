"""`export_model`: a network as a file that other programs run, verified in the runtimes that are to run it.

What is written is the optimized graph (`tore.export.networks`) with a free batch. An export is kept only where every
runtime gives the network's own numbers, over several sizes of batch and several calls of one session: two ways are
known in which an export is wrong without an error, a batch that is fixed in the graph, and a runtime that overwrites a
constant in its first call.
"""

from __future__ import annotations

import copy
import functools
import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.body.body_model import BodyModel, load_body
from tore.body.joints import JOINT_NAMES
from tore.export.networks import for_inference
from tore.export.onnx_files import STORED, import_onnx, with_stored_weights, write_onnx
from tore.files import check_output_folder, write_whole, writing
from tore.modeling.build import describe
from tore.modeling.checkpoint_contents import not_finite
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.heads import SMPLRegressor
from tore.modeling.metro import METRO
from tore.modeling.recorded_body import body_dir_for, check_body
from tore.paths import BODY_FILES, MADE_BODIES, example_photograph
from tore_runtime.images import read_image
from tore_runtime.record import BODY_FILE, NETWORK_FILES, OUTPUTS, RECORD_FILE, UNITS, ExportRecord, file_sha256
from tore_runtime.sessions import RUNTIMES, Session, import_runtime

WEB_FILE = "web.json"  # of a page (`tore.export.browser`)
MARKS = {RECORD_FILE: "an export", WEB_FILE: "a page"}  # by the file that is written last
BATCHES, CALLS = (1, 2, 5), 3  # what is verified: sizes of batch, and calls with other images for each
TOLERANCE = 5e-5  # of the larger of 1 and the largest number of an output: 0.05 mm of a mesh
LOOSER = {"heatmap": 5e-4}  # exponentials, in which rounding grows
THREADS = 2  # of verification, so that the way of one image and that of many are both taken
Outputs = list[tuple[np.ndarray, dict[str, np.ndarray]]]  # images, and the outputs that they should give


class Unprojected(nn.Module):
    """The SMPL parameter regressor without its singular value decomposition, which ONNX does not know."""

    def __init__(self, regressor: SMPLRegressor) -> None:
        super().__init__()
        self.regressor = regressor

    def forward(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """vertices (B, V, 3) -> any matrices (B, 24, 3, 3), betas (B, 10)."""
        return self.regressor.matrices(vertices)


class ExportGraph(nn.Module):
    """The optimized network with its outputs as a tuple, in the order of `names`."""

    def __init__(self, plain: FastMETRO | METRO, output: str) -> None:
        """`output`: "all", or one of `OUTPUTS`."""
        super().__init__()
        self.form = for_inference(plain)
        side = plain.config.image_format.size
        with torch.no_grad():  # also makes the constants that depend on the size of the feature map
            found = self.form(torch.zeros(1, 3, side, side))._asdict()
        present = [name for name, value in found.items() if value is not None]
        self.names = [name for name in present if output == "all" or name in OUTPUTS[output]]
        self.shapes = {name: list(found[name].shape[1:]) for name in self.names}
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, n, n), normalized."""
        found = self.form(images)._asdict()
        return tuple(found[name] for name in self.names)


def export_model(
    model: FastMETRO | METRO,
    output_dir: str | Path,
    *,
    format: str = "onnx",
    weights: str = "float32",
    output: str = "all",
    runtimes: Sequence[str] = RUNTIMES,
    body_dir: str | Path | None = None,
    source: str | Path | None = None,
    overwrite: bool = False,
) -> ExportRecord:
    """Writes a network into a folder for programs without this package, and verifies it: see the module's text.

    Beside the network's file lie body.npz (faces, joint regressor) and export.json, which says what is needed to run
    it: the images, the outputs with shapes and units, the body model, checksums, versions and measured differences.

    Args:
        model: any FastMETRO or METRO on any device; left as it is.
        output_dir: the folder, made where it is missing.
        format: "onnx", or "torch" for a file of `torch.export`.
        weights: how ONNX stores them: "float32", or "float16" and "bfloat16" for half the size; the arithmetic is
            float32 in each. What rounding them changes is measured and noted.
        output: "all", "mesh" (camera, joints and full mesh) or "joints" (camera and joints).
        runtimes: those that shall run the ONNX file, of "openvino" and "onnxruntime"; others refuse it later.
        body_dir: the folder of its body model's files, where it is not made by this project.
        source: the checkpoint file that it is from, whose name and checksum are noted.
        overwrite: replace an export that lies in the folder.

    Raises ValueError for a network that cannot be exported and where a runtime gives other numbers, in which case
    nothing is written; ImportError where a package is missing; FileExistsError without `overwrite`.
    """
    folder = Path(output_dir)
    _check_request(model, format, weights, output, runtimes)
    check_free(folder, overwrite)
    body = load_body(model.config.body, body_dir_for(model.trained_on, body_dir))
    check_body(model, body)
    plain = copy.deepcopy(model).to("cpu", torch.float32).eval()
    if plain.smpl_regressor is not None:
        plain._modules["smpl_regressor"] = Unprojected(plain.smpl_regressor)
    graph, expected = ExportGraph(plain, output), expected_outputs(plain)

    def make(temporary: Path) -> ExportRecord:
        file = temporary / NETWORK_FILES[format]
        if format == "onnx":
            measured = _onnx(graph, file, weights, runtimes, expected)
        else:
            measured = {"differences": {"torch": _torch(graph, file, expected)}}
        np.savez_compressed(temporary / BODY_FILE, **_body_arrays(body))
        return _record(graph, model, file, body, source, format=format, weights=weights, **measured)

    return written(folder, make)


def check_free(folder: Path, overwrite: bool, mark: str = RECORD_FILE) -> None:
    """FileExistsError where an export or page lies in the folder and may not be replaced, OutputError where none can.

    mark: the file that says what is to be written, of `MARKS`; an export of the other kind is not replaced.
    """
    for file, what in MARKS.items():
        if file != mark and (folder / file).exists():
            raise FileExistsError(
                f"{folder} holds {what}, in whose place {MARKS[mark]} is not written; name another --output_dir"
            )
    if (folder / mark).exists() and not overwrite:
        raise FileExistsError(f"{folder} holds {MARKS[mark]}; add --overwrite, or name another --output_dir")
    check_output_folder(folder)


def written(folder: Path, make: Callable[[Path], ExportRecord]) -> ExportRecord:
    """Has the files of an export made in a temporary folder, and moves them into `folder`, the record last."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as name:
            temporary = Path(name)
            record = make(temporary)
            (folder / RECORD_FILE).unlink(missing_ok=True)
            for part in temporary.iterdir():
                part.replace(folder / part.name)
        write_whole(folder / RECORD_FILE, record.text())
    return record


def _versions(packages: Sequence[str]) -> dict[str, str]:
    return {name: importlib.import_module(name).__version__ for name in packages}


def _check_request(model: Any, format: str, weights: str, output: str, runtimes: Sequence[str]) -> None:
    if not isinstance(model, FastMETRO | METRO):
        raise ValueError(f"a {type(model).__name__} cannot be exported; give a FastMETRO or a METRO")
    words = {"format": (format, tuple(NETWORK_FILES)), "weights": (weights, ("float32", *STORED))}
    words["output"] = output, ("all", *OUTPUTS)
    for name, (word, known) in words.items():
        if word not in known:
            raise ValueError(f"{name} {word!r} is not known; use {', '.join(known)}")
    if bad := not_finite(model.state_dict()):
        raise ValueError(f"the network holds numbers that are not finite, such as in {bad[0]}; it cannot be exported")
    if format == "torch":
        if weights != "float32":
            raise ValueError(f"weights {weights} are for the format onnx; leave them out")
        return
    check_packages(runtimes)


def check_packages(runtimes: Sequence[str]) -> None:
    """ImportError where what writes or runs ONNX is missing, ValueError where no runtime is named."""
    import_onnx()
    if not runtimes:
        raise ValueError(f"no runtime is named; an ONNX file is verified in {' or '.join(RUNTIMES)}")
    for name in runtimes:
        import_runtime(name)


def _onnx(
    graph: ExportGraph, file: Path, weights: str, runtimes: Sequence[str], expected: Outputs
) -> dict[str, dict[str, Any]]:
    """Writes and verifies the ONNX file; returns the differences, and with 16-bit weights what rounding changes."""
    side = graph.form.config.image_format.size
    write_onnx(graph, file, torch.zeros(2, 3, side, side), graph.names)
    found = {name: verified(Session(file, name, threads=THREADS), expected, f"in {name}") for name in runtimes}
    if weights == "float32":
        return {"differences": found}
    rounded = file.with_name("rounded.onnx")
    with_stored_weights(file, rounded, weights)
    rounding: dict[str, float] = {}
    for name in runtimes:
        same = Session(rounded, name, threads=THREADS)
        wanted = [(images, same(images)) for images, _ in expected]
        session = Session(file, name, threads=THREADS)
        found[name] = verified(session, wanted, f"in {name} with {weights} weights")
        rounding = largest_differences(session, expected)
    rounded.unlink()
    return {"differences": found, "rounding": rounding}


def _torch(graph: ExportGraph, file: Path, expected: Outputs) -> dict[str, float]:
    """Writes and verifies the program of torch.export."""
    side = graph.form.config.image_format.size
    sample, batch = torch.zeros(2, 3, side, side), torch.export.Dim("batch")
    try:
        program = torch.export.export(graph, (sample,), dynamic_shapes={"images": {0: batch}})
        torch.export.save(program, file)
    except (RuntimeError, torch._dynamo.exc.UserError) as error:
        raise ValueError(f"torch.export does not take this network: {str(error).splitlines()[0]}") from error
    module = torch.export.load(file).module()

    @torch.no_grad()
    def call(images: np.ndarray) -> dict[str, np.ndarray]:
        found = module(torch.from_numpy(images))
        return {name: value.numpy() for name, value in zip(graph.names, found, strict=True)}

    return verified(call, expected, "in torch")


@torch.no_grad()
def expected_outputs(plain: FastMETRO | METRO) -> Outputs:
    """Images and what the network itself gives for them, for every batch and call of verification."""
    generator = torch.Generator().manual_seed(0)
    found: Outputs = []
    for batch in BATCHES * CALLS:
        images = sample_images(batch, plain.config.image_format.size, generator)
        outputs = plain(images)._asdict()
        found.append((images.numpy(), {n: value.numpy() for n, value in outputs.items() if value is not None}))
    return found


def sample_images(batch: int, size: int, generator: torch.Generator) -> Tensor:
    """(batch, 3, size, size): squares of a photograph of a person from -1 to 1, some mirrored, under a little noise.

    In noise alone a pose network sees nobody, and what follows from its keypoints is not tried.
    """
    photograph, squares = _photograph(), []
    for _ in range(batch):
        side = int(torch.randint(320, 513, (), generator=generator))
        top, left = (int(torch.randint(0, 513 - side, (), generator=generator)) for _ in range(2))
        square = photograph[:, :, top : top + side, left : left + side]
        if torch.rand((), generator=generator) < 0.5:
            square = square.flip(3)
        squares.append(F.interpolate(square, (size, size), mode="bilinear", antialias=True))
    return torch.cat(squares) + 0.05 * torch.randn(batch, 3, size, size, generator=generator)


@functools.cache
def _photograph() -> Tensor:
    """(1, 3, 512, 512) from -1 to 1."""
    return torch.from_numpy(read_image(example_photograph())).permute(2, 0, 1)[None] / 127.5 - 1


def largest_differences(run: Callable[[np.ndarray], Mapping[str, np.ndarray]], expected: Outputs) -> dict[str, float]:
    """Of each output over all images, in its unit; infinite where a shape or a number is no such thing."""
    found: dict[str, float] = {}
    for images, wanted in expected:
        for name, values in run(images).items():
            fits = values.shape == wanted[name].shape and bool(np.isfinite(values - wanted[name]).all())
            difference = float(np.abs(values - wanted[name]).max()) if fits else float("inf")
            found[name] = max(found.get(name, 0.0), difference)
    return found


def verified(run: Callable[[np.ndarray], Mapping[str, np.ndarray]], expected: Outputs, where: str) -> dict[str, float]:
    """The largest differences. ValueError where one is more than rounding."""
    found = largest_differences(run, expected)
    for name, difference in found.items():
        scale = max(1.0, *(float(np.abs(outputs[name]).max()) for _, outputs in expected))
        allowed = LOOSER.get(name, TOLERANCE) * scale
        if not difference <= allowed:
            raise ValueError(
                f"the export is refused: {where} its output {name} differs from the network's by {difference:.3g}, "
                f"where {allowed:.1g} is allowed (batches {', '.join(map(str, BATCHES))}, {CALLS} calls each)"
            )
    return found


def _body_arrays(body: BodyModel) -> dict[str, Any]:
    return {
        "faces": body.faces.cpu().numpy().astype(np.int32),
        "joint_regressor": body.output_rows.cpu().numpy(),
        "joint_names": np.array(JOINT_NAMES[body.kind]),
    }


def _record(
    graph: ExportGraph,
    model: FastMETRO | METRO,
    file: Path,
    body: BodyModel,
    source: str | Path | None,
    *,
    format: str,
    weights: str,
    differences: dict[str, dict[str, float]],
    rounding: dict[str, float] | None = None,
) -> ExportRecord:
    shown, made = model.config.image_format, body.identity.name in MADE_BODIES
    rights = "made by this project, whose NOTICE names its sources"
    if not made:
        site = next(files.site for files in BODY_FILES[body.kind] if files.name == body.identity.name)
        rights = f"{body.identity.name}'s mesh, whose license holds for faces, joint regressor and outputs ({site})"
    names = ["torch", *(["onnx", *differences] if format == "onnx" else [])]
    return ExportRecord(
        format=format,
        file=file.name,
        sha256=file_sha256(file),
        weights=weights,
        network=describe(model.config),
        trained_on=None if model.trained_on is None else model.trained_on.described(),
        image={
            "size": shown.size,
            "mean": list(shown.mean),
            "std": list(shown.std),
            "layout": "NCHW, RGB",
            "upright": shown.upright,
        },
        input={"name": "images", "shape": ["batch", 3, shown.size, shown.size], "type": "float32"},
        outputs={name: {"shape": ["batch", *graph.shapes[name]], "unit": UNITS[name]} for name in graph.names},
        body={"name": body.identity.name, "kind": body.kind, "file": BODY_FILE, "rights": rights},
        source={} if source is None else {"file": Path(source).name, "sha256": file_sha256(source)},
        versions=_versions(names),
        differences=differences,
        rounding=rounding or {},
    )
