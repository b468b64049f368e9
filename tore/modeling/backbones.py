"""CNN backbones: picture (B, 3, H, W) -> feature map (B, C, H/32, W/32). All of them are timm's.

The published names and what they stand for:

===================  ====================================  =====  =============================================
name                 timm                                  C      in training
===================  ====================================  =====  =============================================
`resnet50`           `resnet50`                            2048
`hrnet`              `hrnet_w40`, classification head's    2048
                     1x1 `final_layer` included
`hrnet-w64`          `hrnet_w64`, likewise                 2048
`efficientnet-b0`    `tf_efficientnet_b0`, 1x1 head        1280   BN momentum 0.01, drop-connect 0.2 rising
... `b4`             convolution included                  ...    with depth
===================  ====================================  =====  =============================================

Any other timm name works when the network has a stride-32 feature map.
"""

from __future__ import annotations

from functools import lru_cache

import timm
import torch
from torch import Tensor, nn

from tore.modeling.depthwise import quicken_depthwise

PUBLISHED = {
    "resnet50": "resnet50",
    "hrnet": "hrnet_w40",
    "hrnet-w64": "hrnet_w64",
    **{f"efficientnet-b{i}": f"tf_efficientnet_b{i}" for i in range(5)},
}
FAMILIES = {"resnet50": "layer1.", "hrnet": "stage2.", "efficientnet": "conv_head."}  # and what only they hold
STRIDE = 32
EFFICIENTNET_TRAINING = {"drop_path_rate": 0.2, "bn_momentum": 0.01}
RESNET_START = {"zero_init_last": False}  # torchvision's, which the published code builds on


class Backbone(nn.Module):
    """A timm classification network without its pooling and classifier."""

    def __init__(self, arch: str) -> None:
        """`arch` is a published name or any timm name; weights are timm's fresh initialisation.

        Raises ValueError for a name that timm does not know or a network without a stride-32 feature map.
        """
        super().__init__()
        self.arch = arch
        self.whole = arch in PUBLISHED
        if self.whole:
            efficient, resnet = arch.startswith("efficientnet"), arch.startswith("resnet")
            options = EFFICIENTNET_TRAINING if efficient else RESNET_START if resnet else {}
            self.trunk = timm.create_model(PUBLISHED[arch], num_classes=0, global_pool="", **options)
            self.channels = self.trunk.num_features
        else:
            self.trunk = _features_of(arch)
            self.channels = self.trunk.feature_info.channels()[-1]
        quicken_depthwise(self.trunk)
        for module in self.trunk.modules():
            if isinstance(module, nn.SiLU):
                module.inplace = False  # its gradient needs its input: in place, that would be copied first

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) ImageNet-normalised -> (B, C, H/32, W/32)."""
        return self.trunk.forward_features(images) if self.whole else self.trunk(images)[-1]


def _features_of(arch: str) -> nn.Module:
    """timm's feature extractor of a network that has no published name."""
    if not timm.is_model(arch):
        raise ValueError(f"backbone {arch!r} is not known; use one of {', '.join(PUBLISHED)}, or a name of timm's")
    try:
        trunk = timm.create_model(arch, features_only=True, out_indices=(-1,))
        stride = trunk.feature_info.reduction()[-1]
    except (RuntimeError, AttributeError, AssertionError) as error:
        raise ValueError(f"backbone {arch!r} gives no feature map ({error}); choose one of stride {STRIDE}") from error
    if stride != STRIDE:
        raise ValueError(f"backbone {arch!r} has stride {stride}; the networks need a feature map of stride {STRIDE}")
    return trunk


def identify(keys: dict[str, torch.Size]) -> str | None:
    """The published name of the backbone whose timm entries (name -> shape) these are, None for any other.

    Step counters of batch norms do not count: many files are without them.
    """
    shapes = {name: shape for name, shape in keys.items() if not name.endswith("num_batches_tracked")}
    families = {family for family, mark in FAMILIES.items() if any(name.startswith(mark) for name in keys)}
    for arch in PUBLISHED:
        if families.intersection(arch.split("-")[:1]) and shapes == _shapes_of(arch):
            return arch
    return None


@lru_cache
def _shapes_of(arch: str) -> dict[str, torch.Size]:
    """The entries of a published backbone, name -> shape, without step counters."""
    with torch.device("meta"):
        entries = Backbone(arch).trunk.state_dict().items()
    return {name: value.shape for name, value in entries if not name.endswith("num_batches_tracked")}
