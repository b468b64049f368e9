"""The snippets of docs/DEPLOY.md, which use an export without this package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from tests import rules
from tests.conftest import assert_agrees
from tests.export.conftest import needs_page
from tests.export.test_optimized_form import SIDE
from tore.export.libraries import ONNXRUNTIME, kept_archive, unpack

PAGE = Path(__file__).parents[2] / "docs" / "DEPLOY.md"


def snippet(language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (text,) = (each for each in found if "exported/" in each)
    return text


def normalized(model: torch.nn.Module, crop: np.ndarray) -> torch.Tensor:
    shown = model.config.image_format
    return torch.from_numpy(((crop / 255 - shown.mean) / shown.std).transpose(2, 0, 1)[None]).float()


@torch.no_grad()
def test_python(network: torch.nn.Module, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "exported").symlink_to(exported)
    photograph = rules.photo(1, 480, 640)
    Image.fromarray(photograph).save(tmp_path / "photo.jpg", quality=95)
    code = snippet("python") + '\nnp.savez("found.npz", vertices=vertices, pixels=pixels, faces=faces)\n'
    code += 'import sys\nassert not {"torch", "tore"} & set(sys.modules)\n'
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    image = cv2.imread(str(tmp_path / "photo.jpg"))[..., ::-1]
    expected = network(normalized(network, cv2.resize(image[:, 80:560], (SIDE, SIDE))))
    with np.load(tmp_path / "found.npz") as found:
        assert_agrees(found["vertices"], expected.vertices[0].numpy(), 2e-5)
        assert found["pixels"].shape == (len(found["vertices"]), 2) and found["faces"].max() < len(found["vertices"])


@torch.no_grad()
def test_javascript(network: torch.nn.Module, exported: Path, tmp_path: Path) -> None:
    needs_page()
    (tmp_path / "exported").symlink_to(exported)
    unpack(ONNXRUNTIME, kept_archive(ONNXRUNTIME), tmp_path / "node_modules" / "onnxruntime-web", flat=False)
    crop = rules.photo(2, SIDE, SIDE)
    (tmp_path / "crop.rgb").write_bytes(crop.tobytes())
    (tmp_path / "run.mjs").write_text(snippet("js"))
    said = subprocess.run(["node", "run.mjs"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    found, expected = json.loads(said.splitlines()[-1]), network(normalized(network, crop))
    assert_agrees(np.array(found["camera"]), expected.camera[0].numpy(), 2e-5)
    assert_agrees(np.array(found["first"]), expected.vertices[0, 0].numpy(), 2e-4)
