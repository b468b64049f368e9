"""torchvision's detectors with weights from a file, from torch hub's cache, and where there is neither."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import detection

from tests import rules
from tore.detection import detector_of, torchvision_models
from tore.detection.torchvision_models import TorchvisionDetector, fetched

SMALL = "ssdlite320_mobilenet_v3_large"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the smallest model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(getattr(detection, SMALL)(weights=None, weights_backbone=None, num_classes=91).state_dict(), path)
    return path


def test_people_are_the_persons_that_score_high_enough(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = detector_of(f"torchvision:{SMALL}", weights=weights)
    assert detector.name == f"torchvision:{SMALL}"
    image = rules.capsule_people(120, 160, [(80, 110, 100)])
    assert detector([image])[0].boxes.shape[1] == 4
    corners = torch.tensor([[10.0, 20, 40, 90], [0, 0, 50, 50], [10, 21, 40, 90], [60, 20, 90, 80]])
    labels, scores = torch.tensor([1, 2, 1, 1]), torch.tensor([0.8, 0.99, 0.9, 0.4])
    told = [{"boxes": corners, "labels": labels, "scores": scores}]
    monkeypatch.setattr(detector, "_network", lambda images: told)
    (found,) = detector([image])
    np.testing.assert_allclose(found.boxes, [[10, 21, 30, 69]])  # a dog, a duplicate and a doubtful one are left out
    assert found.scores == pytest.approx([0.9]) and found.keypoints is None
    told[0] |= {"keypoints": torch.ones(4, 17, 3), "keypoints_scores": torch.full((4, 17), 10.0)}
    np.testing.assert_allclose(detector([image])[0].keypoints[0, 0], [1, 1, 1 / (1 + np.exp(-1))])


def test_files_that_do_not_fit(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"random\.pth does not hold the weights of torchvision's fasterrcnn"):
        TorchvisionDetector("fasterrcnn_mobilenet_v3_large_320_fpn", weights=weights)
    with pytest.raises(FileNotFoundError, match="missing"):
        TorchvisionDetector(SMALL, weights=tmp_path / "none.pth")
    with pytest.raises(ValueError, match="torchvision:yolo is not known; use one of keypointrcnn_resnet50_fpn"):
        detector_of("torchvision:yolo")


def test_a_download_is_announced_and_its_failure_is_a_sentence(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    said: list[str] = []

    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded \(<urlopen error no network>\).*movenet"):
        fetched(SMALL, said.append)
    (line,) = said
    assert "ssdlite320_mobilenet_v3_large_coco-a79551df.pth (13 MB; code BSD-3-Clause" in line
    cached = tmp_path / "hub" / "checkpoints" / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    cached.write_bytes(weights.read_bytes())
    assert fetched(SMALL, said.append) == cached and len(said) == 1
    assert detector_of(f"torchvision:{SMALL}").name == f"torchvision:{SMALL}"


def test_which_model_is_usual(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    monkeypatch.setattr(torchvision_models, "_loaded", lambda model, path: torch.nn.Identity())
    assert TorchvisionDetector(weights=weights).name == "torchvision:fasterrcnn_mobilenet_v3_large_fpn"
    assert TorchvisionDetector(weights=weights, device="meta").name == "torchvision:keypointrcnn_resnet50_fpn"
