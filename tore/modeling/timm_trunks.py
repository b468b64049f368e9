"""What timm knows: its networks as backbones, their pretrained weights, names and layouts.

Imported where a network needs it: timm brings torchvision and with it torch's compiler, which takes longer than torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

from tore.image_format import STRIDE
from tore.ops.depthwise import depthwise, quicken_depthwise

EFFICIENTNET_TRAINING = {"drop_path_rate": 0.2, "bn_momentum": 0.01}
RESNET_START = {"zero_init_last": False}  # torchvision's, which the official code builds on


class WideDepthwiseSame(Conv2dSame):
    """timm's convolution with TensorFlow's padding, with the quicker gradient of `tore.ops.depthwise`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W')."""
        return depthwise(pad_same(x, self.kernel_size, self.stride), self.weight, self.bias, self.stride, (0, 0))


def classification_trunk(name: str) -> Any:
    """A network without its pooling and classifier, freshly initialized."""
    efficient, resnet = name.startswith("tf_efficientnet"), name.startswith("resnet")
    options = EFFICIENTNET_TRAINING if efficient else RESNET_START if resnet else {}
    return quickened(timm.create_model(name, num_classes=0, global_pool="", **options))


def feature_trunk(name: str) -> Any:
    """A feature extractor of stride 32, freshly initialized. ValueError where timm has none of this name."""
    try:
        trunk = timm.create_model(name, features_only=True, out_indices=(-1,))
        stride = trunk.feature_info.reduction()[-1]
    except (RuntimeError, AttributeError, AssertionError) as error:
        raise ValueError(f"backbone {name!r} gives no feature map ({error}); choose one of stride {STRIDE}") from error
    if stride != STRIDE:
        raise ValueError(f"backbone {name!r} has stride {stride}; the networks need a feature map of stride {STRIDE}")
    return quickened(trunk)


def quickened(trunk: nn.Module) -> nn.Module:
    """The same network, whose wide depthwise convolutions have the quicker gradient of `tore.ops.depthwise`."""
    quicken_depthwise(trunk, {Conv2dSame: WideDepthwiseSame})
    return trunk


def has(name: str) -> bool:
    """Whether timm has a network of this name."""
    return timm.is_model(name)


def entries_of(name: str) -> dict[str, Tensor]:
    """A whole network's entries on the meta device, with its classifier."""
    with torch.device("meta"):
        return timm.create_model(name).state_dict()


def pretrained(name: str) -> Mapping[str, Tensor]:
    """The entries of a pretrained network. FileNotFoundError where they cannot be had, ValueError where none exist."""
    if not timm.is_model_pretrained(name):
        raise ValueError(
            f"timm has no pretrained weights of {name}: give a file with --backbone_weights FILE, or start from "
            "scratch with --backbone_weights none"
        )
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # whatever a download raises: each of timm's sources has errors of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise FileNotFoundError(
            f"timm's pretrained weights of {name} are not in its cache ({_cache()}) and cannot be downloaded "
            f"({reason}): run once where there is a network, give their file with --backbone_weights FILE, or start "
            "from scratch with --backbone_weights none"
        ) from None


def _cache() -> Path:
    """Where timm keeps what it downloads from the Hugging Face hub; `HF_HOME` moves it."""
    from huggingface_hub.constants import HF_HUB_CACHE  # timm brings it

    return Path(HF_HUB_CACHE)


def in_todays_layout(name: str, entries: dict[str, Tensor]) -> Mapping[str, Tensor]:
    """A file's entries, through timm's own table where it knows an older layout of this network."""
    with torch.device("meta"):
        whole = timm.create_model(name)
    table = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    if table is None or entries.keys() & whole.state_dict().keys():
        return entries
    try:
        return table(dict(entries), whole)
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError):
        return entries  # no older layout either: what does not fit is named
