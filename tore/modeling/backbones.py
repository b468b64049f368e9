"""CNN backbones, and their ImageNet weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from tore.files import read_tensors
from tore.image_format import MEDIAPIPE_HAND, MOVENET_THUNDER
from tore.modeling.checkpoint_contents import named_tensors
from tore.modeling.mediapipe_hand import HAND_JOINTS, HAND_NUMBERS, HandTrunk, load_hand_trunk
from tore.modeling.movenet import KEYPOINTS, ThunderTrunk, decode_keypoints, load_thunder_trunk, surer_keypoints
from tore.modeling.official_keys import backbone_names
from tore.ops.depthwise import quicken_depthwise

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

OFFICIAL = {
    "resnet50": "resnet50",
    "hrnet": "hrnet_w40",
    "hrnet-w64": "hrnet_w64",
    **{f"efficientnet-b{i}": f"tf_efficientnet_b{i}" for i in range(5)},
}
FAMILIES = {"resnet50": "layer1.", "hrnet": "stage2.", "efficientnet": "conv_head."}  # and what only they hold
# Pose networks: whose keypoints they find, how many, and the numbers of each: x, y, score, and what else is known.
KEYPOINTS_OF = {MOVENET_THUNDER: ("body", KEYPOINTS, 3), MEDIAPIPE_HAND: ("hand", HAND_JOINTS, HAND_NUMBERS)}
TRUNKS: dict[str, Any] = {MOVENET_THUNDER: ThunderTrunk, MEDIAPIPE_HAND: HandTrunk}


class ImageFeatures(NamedTuple):
    """What a backbone gives of images, in whose place a network takes it."""

    map: Tensor  # (B, C, h, w)
    keypoints: Tensor | None  # (B, K, 3 or more): x, y in shares of the image's sides, score, ...; None where unwanted


class Backbone(nn.Module):
    """A timm classification network without its pooling and classifier, or a pose network (`KEYPOINTS_OF`).

    A frozen one has no gradient and stays in evaluation mode, with its batch norms, while the network trains.
    """

    trunk: Any
    channels: int

    def __init__(self, arch: str, *, keypoints: bool = False, frozen: bool = False) -> None:
        """`arch` is an official name, a pose network's or any timm name; weights are a fresh initialization.

        `keypoints`: those of a pose network are given too, as `ImageFeatures`, without a gradient; MoveNet's are the
        surer ones of two looks (`surer_keypoints`).
        Raises ValueError for a name that timm does not know, a network without a stride-32 feature map, and keypoints
        of a backbone that has none.
        """
        super().__init__()
        self.arch, self.keypoints, self.frozen = arch, keypoints, frozen
        self.whole = arch in OFFICIAL
        if keypoints and arch not in KEYPOINTS_OF:
            raise ValueError(f"backbone {arch!r} finds no keypoints; use {', '.join(KEYPOINTS_OF)}, or leave them out")
        if arch in KEYPOINTS_OF:
            self.trunk = TRUNKS[arch](keypoints=keypoints)
            self.channels = self.trunk.channels
            quicken_depthwise(self.trunk)
        elif self.whole:
            self.trunk = _timm().classification_trunk(OFFICIAL[arch])
            self.channels = self.trunk.num_features
        elif _timm().has(arch):
            self.trunk = _timm().feature_trunk(arch)
            self.channels = self.trunk.feature_info.channels()[-1]
        else:
            names = ", ".join((*OFFICIAL, *KEYPOINTS_OF))
            raise ValueError(f"backbone {arch!r} is not known; use one of {names}, or a name of timm's")
        for module in self.trunk.modules():
            if isinstance(module, nn.SiLU):
                module.inplace = False  # its gradient needs its input: in place, that would be copied first
        if frozen:
            self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As of every module, but a frozen backbone stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> Tensor | ImageFeatures:
        """(B, 3, H, W) normalized -> (B, C, H/32, W/32), with keypoints `ImageFeatures`."""
        if self.arch in KEYPOINTS_OF:
            features, said = self.trunk(images)
            if not self.keypoints:
                return features
            found = self._surer(images, decode_keypoints(said)) if self.arch == MOVENET_THUNDER else said
            return ImageFeatures(features, found.detach())
        return self.trunk.forward_features(images) if self.whole else self.trunk(images)[-1]

    @torch.no_grad()
    def _surer(self, images: Tensor, first: Tensor) -> Tensor:
        """`surer_keypoints` by the trunk, which found the `first` ones in whole images."""
        return surer_keypoints(lambda closer: decode_keypoints(self.trunk(closer)[1]), images, first.detach())


def _timm() -> ModuleType:
    """What timm knows. Importing it takes longer than torch, and networks on a pose network do without."""
    from tore.modeling import timm_trunks

    return timm_trunks


def identify(keys: dict[str, torch.Size]) -> str | None:
    """The official name of the backbone whose timm entries (name -> shape) these are, None for any other.

    Step counters of batch norms do not count: many files are without them.
    """
    shapes = {name: shape for name, shape in keys.items() if not name.endswith("num_batches_tracked")}
    families = {family for family, mark in FAMILIES.items() if any(name.startswith(mark) for name in keys)}
    for arch in OFFICIAL:
        if families.intersection(arch.split("-")[:1]) and shapes == _shapes_of(arch):
            return arch
    return None


@lru_cache
def _shapes_of(arch: str) -> dict[str, torch.Size]:
    """The entries of an official backbone, name -> shape, without step counters."""
    with torch.device("meta"):
        entries = Backbone(arch).trunk.state_dict().items()
    return {name: value.shape for name, value in entries if not name.endswith("num_batches_tracked")}


CLASSIFIERS = ("fc.", "_fc.", "classifier.", "head.fc.")
COUNTER = "num_batches_tracked"
# In place of a file: timm's own pretrained weights, those that come with this package, or a random start.
TIMM, SHIPPED, NONE = "timm", "shipped", "none"


def load_backbone_weights(backbone: Backbone, path: str | Path) -> None:
    """Loads an ImageNet file of the backbone's official or timm layout; its classifier is left out.

    The tensors may lie in a dictionary of a training program, with prefixes, and in a safetensors file. "timm" takes
    timm's pretrained weights, downloaded where they are not in its cache; "none" leaves the random start. Pose networks
    take "shipped", the weights that come with this package, or a file of scripts/convert_movenet.py or
    convert_mediapipe.py.

    Raises FileNotFoundError, or ValueError naming the entries that are missing, unexpected or misshapen, or the
    backbone whose file it is.
    """
    if str(path) == NONE:
        return
    if isinstance(backbone.trunk, ThunderTrunk):
        load_thunder_trunk(backbone.trunk, None if str(path) == SHIPPED else path)
        return
    if isinstance(backbone.trunk, HandTrunk):
        load_hand_trunk(backbone.trunk, None if str(path) == SHIPPED else path)
        return
    if str(path) == SHIPPED:
        raise ValueError(
            f"no weights of {backbone.arch} come with this package; only {', '.join(KEYPOINTS_OF)} have some"
        )
    if str(path) == TIMM:
        entries = _timm().pretrained(OFFICIAL.get(backbone.arch, backbone.arch))
        _load_entries(backbone, entries, f"timm's weights of {backbone.arch}")
        return
    path = Path(path)
    entries = named_tensors(read_tensors(path), path)
    _refuse_other_padding(backbone.arch, entries, path)
    official = backbone.arch in OFFICIAL
    _load_entries(backbone, entries if official else _timm().in_todays_layout(backbone.arch, entries), str(path))


def _load_entries(backbone: Backbone, entries: Mapping[str, Tensor], source: str) -> None:
    """Loads entries of the official or timm's names; `source` says in an error where they come from."""
    expected = backbone.trunk.state_dict()
    state, unread = _for_trunk(backbone, entries, expected)
    # Files of old torch versions have no step counters in their batch norms.
    missing = [n for n in expected if n not in state and not n.endswith(COUNTER)]
    wrong = [*unread, *(n for n in state if n in expected and state[n].shape != expected[n].shape)]
    if missing or wrong:
        raise ValueError(
            f"{source} is no weight file of {backbone.arch}: {len(missing)} entries missing ({', '.join(missing[:3])}) "
            f"and {len(wrong)} unexpected or of another shape ({', '.join(wrong[:3])}); "
            "give the file that docs/DATA.md names for this backbone, or timm's file of this name"
        )
    backbone.trunk.load_state_dict(state, strict=False)


def _for_trunk(
    backbone: Backbone, entries: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The entries under the trunk's names, and those that neither the trunk nor timm's whole network has."""
    whole = _timm().entries_of(OFFICIAL.get(backbone.arch, backbone.arch))
    renamed = backbone_names(entries)
    state, unread = {}, []
    for name, value in entries.items():
        place = next((p for p in _places(renamed[name]) if p in expected), None)
        if place is not None:
            state[place] = value
        elif not name.startswith(CLASSIFIERS) and (name not in whole or whole[name].shape != value.shape):
            unread.append(name)
    return state, unread


def _places(name: str) -> tuple[str, ...]:
    """What timm's feature extractors make of a name: itself, its first parts joined, or one level further in."""
    return name, name.replace(".", "_", 1), name.replace(".", "_", 2), f"model.{name}"


def _refuse_other_padding(arch: str, entries: Mapping[str, Tensor], path: Path) -> None:
    """ValueError for the file of a network of the same shapes that pads and normalizes in another way."""
    timm_names = "conv_stem.weight" in entries
    if arch in OFFICIAL and arch.startswith("efficientnet") and timm_names:
        if not path.name.startswith(OFFICIAL[arch]):
            other = arch.replace("-", "_")
            raise ValueError(
                f"{path} has timm's names, and {arch} pads as TensorFlow does, where timm's {other} does not: use "
                f"--arch {other} with this file, or give {arch} its official file (docs/DATA.md)"
            )
        return
    official = arch.removeprefix("tf_").replace("_", "-")
    if "_conv_stem.weight" in entries and arch not in OFFICIAL and official in OFFICIAL:
        raise ValueError(f"{path} is an official EfficientNet file: use --arch {official} with it, not {arch}")
    twin = arch.removeprefix("tf_") if arch.startswith("tf_") else f"tf_{arch}"
    if arch not in OFFICIAL and path.name.startswith(twin) and _timm().has(twin):
        raise ValueError(f"{path} is {twin}'s, which pads in another way than {arch}: use --arch {twin} with this file")
