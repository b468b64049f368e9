"""Exports without ONNX, for tests of what is around them: the file holds the graph, and torch runs it."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tore.export import exporting, loading
from tore_runtime import predictor


def written_by_torch(graph: torch.nn.Module, file: Path, sample: Any, outputs: Sequence[str], **more: Any) -> None:
    torch.save((graph, list(outputs)), file)


class TorchSession:
    """Takes the place of `Session`."""

    def __init__(self, path: Path, runtime: str, *, threads: int = 1, precision: str = "float32") -> None:
        self.graph, self.outputs = torch.load(path, weights_only=False)
        self.path, self.runtime, self.threads, self.precision = path, runtime, threads, precision

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = self.graph(torch.from_numpy(images))
        return {name: value.numpy() for name, value in zip(self.outputs, found, strict=True)}


def without_onnx(monkeypatch: pytest.MonkeyPatch, cache: Path, session: type = TorchSession) -> None:
    """From here on exports go by torch, and those that are kept lie in `cache`."""
    monkeypatch.setenv("TORE_CACHE_DIR", str(cache))
    package = types.SimpleNamespace(__version__="0")
    monkeypatch.setattr(exporting, "write_onnx", written_by_torch)
    monkeypatch.setattr(exporting, "_versions", lambda packages: dict.fromkeys(packages, "0"))
    for module in (exporting, predictor):
        monkeypatch.setattr(module, "Session", session)
    for module in (exporting, loading):
        monkeypatch.setattr(module, "import_onnx", lambda: package)
        monkeypatch.setattr(module, "import_runtime", lambda name: package)
