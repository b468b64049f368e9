"""A small network and its export, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.export.test_optimized_form import NETWORKS, SIDE, lived_in
from tests.modeling.test_networks import small
from tore.export.exporting import export_model
from tore.export.libraries import LIBRARIES, kept_archive

QUICK = "fastmetro S"


def model_of(name: str, body_dir: Path | str) -> torch.nn.Module:
    network, options = NETWORKS[name]
    return lived_in(small(network, body_dir, image_size=SIDE, **options))


def needs_runtimes() -> None:
    for package in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason=f"{package} writes or runs exports; pip install '.[export]'")


def needs_page() -> None:
    """What `export_web` needs; its libraries are not fetched for a test."""
    needs_runtimes()
    if shutil.which("node") is None:
        pytest.skip("needs node")
    for library in LIBRARIES:
        if kept_archive(library) is None:
            pytest.skip(f"{library.archive} is not kept here; `tore export --format web` fetches it from npm")


@pytest.fixture(scope="session")
def network(rule_body_dir: Path) -> torch.nn.Module:
    return model_of(QUICK, rule_body_dir)


@pytest.fixture(scope="session")
def exported(network: torch.nn.Module, rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_runtimes()
    folder = tmp_path_factory.mktemp("exported")
    export_model(network, folder, body_dir=rule_body_dir)
    return folder
