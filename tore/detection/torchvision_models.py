"""torchvision's detectors, for crowds: Keypoint R-CNN, Faster R-CNN and others, trained on COCO.

Their weights are not part of this package. They are taken from torch hub's cache (`TORCH_HOME`), downloaded into it
after a sentence that names file, size and license, or read from a file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tore.files import read_tensors
from tore.modeling.checkpoint_contents import named_tensors
from tore_runtime.detector import Found, without_duplicates

ON_CPU, ELSEWHERE = "fasterrcnn_mobilenet_v3_large_fpn", "keypointrcnn_resnet50_fpn"
MODELS = (
    ELSEWHERE, ON_CPU, "fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2",
    "ssdlite320_mobilenet_v3_large",
)  # fmt: skip
THRESHOLD = 0.5
PERSON = 1  # COCO's number
COCO_CATEGORIES = 91
LICENSE = "code BSD-3-Clause; torchvision states no license for the weights, which were trained on COCO"
LOGIT_SPAN = 10.0  # a keypoint's score, a logit, as a share of 1: sigmoid of its tenth part


class TorchvisionDetector:
    """One of `MODELS`, by default Keypoint R-CNN on a GPU and the quick Faster R-CNN on a CPU.

    threshold: of scores. weights: a file in place of the one in torch hub's cache. tell: is handed a sentence before a
    download. Raises ValueError for an unknown model, FileNotFoundError where its weights can't be had.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        threshold: float | None = None,
        device: str | torch.device = "cpu",
        weights: str | Path | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self.device = torch.device(device)
        model = model or (ON_CPU if self.device.type == "cpu" else ELSEWHERE)
        if model not in MODELS:
            raise ValueError(f"torchvision:{model} is not known; use one of {', '.join(MODELS)}")
        self.name, self.threshold = f"torchvision:{model}", THRESHOLD if threshold is None else threshold
        self._network = _loaded(model, Path(weights) if weights is not None else fetched(model, tell)).to(self.device)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """images: each (H, W, 3) uint8 RGB. One result for each."""
        return [self._found(image) for image in images]

    def _found(self, image: np.ndarray) -> Found:
        shown = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            (result,) = self._network([shown])
        values = {name: value.cpu().numpy().astype(np.float64) for name, value in result.items()}
        kept = (values["labels"] == PERSON) & (values["scores"] >= self.threshold)
        corners = values["boxes"][kept]
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        keypoints = None
        if "keypoints" in values:
            logits = values["keypoints_scores"][kept]
            scores = 1 / (1 + np.exp(-logits / LOGIT_SPAN))
            keypoints = np.concatenate([values["keypoints"][kept][..., :2], scores[..., None]], -1)
        return without_duplicates(Found(boxes, values["scores"][kept], keypoints))


def _loaded(model: str, path: Path) -> torch.nn.Module:
    """The network with a file's weights, in evaluation mode. ValueError for the file of another network."""
    build = getattr(importlib.import_module("torchvision.models.detection"), model)
    network = build(weights=None, weights_backbone=None, num_classes=_categories(model))
    entries = named_tensors(read_tensors(path), path)
    expected = network.state_dict()
    wrong = (entries.keys() ^ expected.keys()) - {name for name in expected if name.endswith("num_batches_tracked")}
    wrong |= {name for name in entries.keys() & expected.keys() if entries[name].shape != expected[name].shape}
    if wrong:
        raise ValueError(
            f"{path} does not hold the weights of torchvision's {model}: {len(wrong)} entries differ, such as "
            f"{min(wrong)}; give the model's own file, or name its model as --detector torchvision:MODEL"
        )
    network.load_state_dict(entries, strict=False)
    return network.eval().requires_grad_(False)


def _categories(model: str) -> int:
    return 2 if model.startswith("keypointrcnn") else COCO_CATEGORIES


def fetched(model: str, tell: Callable[[str], object] | None = None) -> Path:
    """The weights' file in torch hub's cache, downloaded where it is not there. FileNotFoundError where that fails."""
    weights = _weights_of(model)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if path.is_file():
        return path
    if tell is not None:
        size = weights.meta["_file_size"]
        tell(f"downloading {weights.url} ({size:.0f} MB; {LICENSE}) to {path.parent}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = path.stem.rpartition("-")[2]  # of the file's SHA-256
        torch.hub.download_url_to_file(weights.url, str(path), prefix, progress=False)
    except Exception as error:  # whatever a download raises, down to http.client's own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise FileNotFoundError(
            f"the weights of torchvision's {model} are not in torch hub's cache ({path}) and cannot be downloaded "
            f"({reason}): run once where there is a network, give the file with --detector_weights FILE, or use "
            "--detector movenet, whose weights ship with this package"
        ) from None
    return path


def _weights_of(model: str) -> Any:
    models = importlib.import_module("torchvision.models")
    return models.get_model_weights(model).DEFAULT
