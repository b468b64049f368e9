"""Exports in the place of networks: read from a folder, or made once of a checkpoint and kept for the next time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tore import __version__
from tore.body.identity import BodyIdentity, body_identity
from tore.device import resolve_device
from tore.export.exporting import export_model
from tore.export.networks import for_inference
from tore.export.onnx_files import import_onnx
from tore.modeling.build import configure, describe
from tore.modeling.checkpoints import Checkpoint, load_model, read_checkpoint
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.heads import MeshPrediction, signed_rotation
from tore.modeling.metro import METRO
from tore.modeling.recorded_body import body_dir_for
from tore.paths import PACKAGE_ROOT, cache_dir
from tore_runtime.predictor import open_export
from tore_runtime.record import ExportRecord, file_sha256, folder_of, is_export, read_record
from tore_runtime.sessions import RUNTIMES, STREAM_BATCH, import_runtime

KEPT_EXPORTS = "exports"  # folder within `tore.paths.cache_dir()`
GRAPH_CODE = ("modeling", "ops", "export")  # packages whose code decides what a graph computes


class ExportedNetwork(nn.Module):
    """An exported network, used as the network itself: images (B, 3, n, n) on the CPU -> `MeshPrediction`.

    It has no parameters, and its batch is free. `config` and `trained_on` are the network's, `record` is what
    export.json holds.
    """

    temporary: Any = None  # what keeps a temporary folder

    def __init__(
        self,
        path: str | Path,
        *,
        runtime: str = RUNTIMES[0],
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        """path: an export's folder. threads: None means torch's number of them.

        Raises ValueError for an export that the runtime was not verified with or that lacks the mesh, ImportError where
        the runtime is not installed, and what `read_record` raises.
        """
        super().__init__()
        threads = torch.get_num_threads() if threads is None else threads
        self.folder = folder_of(path)
        self.record, self.session = open_export(path, runtime, threads=threads, precision=precision)
        self.config, self.trained_on = _network_of(self.record, self.folder)
        self.eval()

    @property
    def usual_batch(self) -> int:
        """How many images fill its streams."""
        return self.session.threads * STREAM_BATCH

    def forward(self, images: Tensor) -> MeshPrediction:
        """images (B, 3, n, n), normalized as its configuration says."""
        side = self.config.image_format.size
        if images.shape[1:] != (3, side, side):
            raise ValueError(f"images {tuple(images.shape)} do not fit the export's (B, 3, {side}, {side})")
        found = {n: torch.from_numpy(values) for n, values in self.session(images.float().numpy()).items()}
        if "rotations" in found:
            found["rotations"] = signed_rotation(found["rotations"])
        return MeshPrediction(**{name: found.get(name) for name in MeshPrediction._fields})  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """The file and its runtime."""
        return f"{self.session.path}, {self.session.runtime} {self.session.precision}"


def exported_copy(
    model: FastMETRO | METRO, body_dir: str | Path | None, *, runtime: str = RUNTIMES[0], precision: str = "float32"
) -> ExportedNetwork:
    """The export of a network, in a temporary folder that goes with it."""
    folder = tempfile.TemporaryDirectory(prefix="tore-export-")
    export_model(model, folder.name, runtimes=[runtime], body_dir=body_dir)
    exported = ExportedNetwork(folder.name, runtime=runtime, precision=precision)
    exported.temporary = folder
    return exported


def recorded_network(path: str | Path, **overrides: Any) -> tuple[Any, BodyIdentity | None]:
    """The configuration and the body model of an export's or a checkpoint's network, which is not built."""
    if not is_export(path):
        checkpoint = read_checkpoint(path, **overrides)
        return checkpoint.config, checkpoint.trained_on
    if overrides:
        raise ValueError(f"{path} is an export, which tells all of its network; leave {', '.join(overrides)} out")
    return _network_of(read_record(path), path)


def _network_of(record: ExportRecord, path: str | Path) -> tuple[Any, BodyIdentity | None]:
    """Configuration and body model. ValueError for the export of a detector."""
    if not record.body:
        raise ValueError(f"{path} is the export of {record.network['network']}, a detector; name a network's")
    return configure(**record.network), _trained_on(record, path)


def _trained_on(record: ExportRecord, path: str | Path) -> BodyIdentity | None:
    return None if record.trained_on is None else BodyIdentity.from_plain(record.trained_on, path)


def load_network(
    source: str | Path | Checkpoint,
    body_dir: str | Path | None = None,
    device: str | torch.device = "auto",
    *,
    fast: bool = False,
    half: bool = False,
    runtime: str | None = None,
    tell: Callable[[str], object] = lambda text: None,
    **overrides: Any,
) -> nn.Module:
    """A network for inference: a checkpoint's, its fast form, or an export.

    source: a checkpoint or its folder, one that was read, or the folder of an export. fast: on a CPU the checkpoint's
    export, made on first use and kept in `tore.paths.cache_dir()`, which `tell` is told in a line; elsewhere the
    optimized graph in torch. half: an export computes in bfloat16. runtime: that runs the export, one of
    `RUNTIMES` [openvino]. overrides: as for `load_model`.

    Raises what `load_model`, `ExportedNetwork` and `export_model` raise, ValueError for an option that goes nowhere.
    """
    precision = "bfloat16" if half else "float32"
    if not isinstance(source, Checkpoint) and is_export(source):
        place = resolve_device("cpu" if device == "auto" else device)
        if place.type != "cpu":
            raise ValueError(f"{source} is an export, which runs on the CPU; leave --device {device} out")
        return ExportedNetwork(source, runtime=runtime or RUNTIMES[0], precision=precision)
    place = resolve_device(device)
    if fast and place.type == "cpu":
        checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source, **overrides)
        chosen = runtime or RUNTIMES[0]
        folder = kept_export(checkpoint, body_dir, chosen, tell)
        return ExportedNetwork(folder, runtime=chosen, precision=precision)
    if half or runtime:
        raise ValueError("half precision and runtimes are an export's, on a CPU; add --fast, or leave them out")
    model = load_model(source, body_dir, place, **overrides)
    return for_inference(model) if fast else model


def kept_export(
    checkpoint: Checkpoint, body_dir: str | Path | None, runtime: str, tell: Callable[[str], object]
) -> Path:
    """The folder of a checkpoint's export, verified in `runtime`; made where there is none of this file.

    Another file, configuration, body model, version of a package or code of networks makes another one.
    """
    body = body_identity(checkpoint.config.body, body_dir_for(checkpoint.trained_on, body_dir))
    facts = {
        "body": body.described(),
        "checkpoint": file_sha256(checkpoint.path),
        "network": describe(checkpoint.config),
        "trained_on": None if checkpoint.trained_on is None else checkpoint.trained_on.described(),
    }

    def make(folder: Path) -> None:
        model = load_model(checkpoint, body_dir, "cpu")
        export_model(model, folder, runtimes=[runtime], body_dir=body_dir, source=checkpoint.path)

    return kept(checkpoint.path.stem, facts, runtime, make, tell)


@lru_cache
def graph_code() -> str:
    """The checksum of the code that networks are made and exported by: a checkout changes it within a version."""
    digest = hashlib.sha256()
    for package in GRAPH_CODE:
        for path in sorted((PACKAGE_ROOT / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def kept(
    name: str, facts: dict[str, Any], runtime: str, make: Callable[[Path], None], tell: Callable[[str], object]
) -> Path:
    """The folder of an export in the cache, which `make` fills where there is none of these facts and versions."""
    packages = (import_onnx(), import_runtime(runtime), torch)
    versions = [__version__, graph_code(), runtime, *(package.__version__ for package in packages)]
    key = hashlib.sha256(json.dumps([facts, versions], sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir() / KEPT_EXPORTS / f"{name}-{key}"
    if _is_whole(folder):
        return folder
    tell(f"exporting {name} to {folder}, once; the next run takes it from there")
    made = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        make(made)
        if not _is_whole(folder):  # another process may have been quicker
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether a folder holds an export whose files are undamaged."""
    try:
        return is_export(folder) and bool(read_record(folder))
    except (ValueError, OSError):
        return False
