"""ImageNet weights of the backbones: the official files (docs/DOWNLOAD.md lists them) and timm's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor

from tore.modeling.backbones import PUBLISHED, Backbone
from tore.modeling.published_keys import backbone_names
from tore.modeling.tensor_file import read_tensors
from tore.modeling.wrappings import named_tensors

CLASSIFIERS = ("fc.", "_fc.", "classifier.", "head.fc.")
COUNTER = "num_batches_tracked"


def load_backbone_weights(backbone: Backbone, path: str | Path) -> None:
    """Loads an ImageNet file of the backbone's official or timm layout; its classifier is left out.

    The tensors may lie in a dictionary of a training program, with prefixes, and in a safetensors file.

    Raises FileNotFoundError, or ValueError naming the entries that are missing, unexpected or misshapen, or the
    backbone whose file it is.
    """
    path = Path(path)
    entries = named_tensors(read_tensors(path), path)
    _refuse_other_padding(backbone.arch, entries, path)
    expected = backbone.trunk.state_dict()
    state, unread = _for_trunk(backbone, entries, expected)
    # Files of old torch versions have no step counters in their batch norms.
    missing = [n for n in expected if n not in state and not n.endswith(COUNTER)]
    wrong = [*unread, *(n for n in state if n in expected and state[n].shape != expected[n].shape)]
    if missing or wrong:
        raise ValueError(
            f"{path} is no weight file of {backbone.arch}: {len(missing)} entries missing ({', '.join(missing[:3])}) "
            f"and {len(wrong)} unexpected or of another shape ({', '.join(wrong[:3])}); "
            "give the file that docs/DOWNLOAD.md names for this backbone, or timm's file of this name"
        )
    backbone.trunk.load_state_dict(state, strict=False)


def _for_trunk(
    backbone: Backbone, entries: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The entries under the trunk's names, and those that neither the trunk nor timm's whole network has."""
    with torch.device("meta"):
        whole = timm.create_model(PUBLISHED.get(backbone.arch, backbone.arch)).state_dict()
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
    if arch in PUBLISHED and arch.startswith("efficientnet") and timm_names:
        if not path.name.startswith(PUBLISHED[arch]):
            other = arch.replace("-", "_")
            raise ValueError(
                f"{path} has timm's names, and {arch} pads as TensorFlow does, where timm's {other} does not: use "
                f"--arch {other} with this file, or give {arch} its official file (docs/DOWNLOAD.md)"
            )
        return
    official = arch.removeprefix("tf_").replace("_", "-")
    if "_conv_stem.weight" in entries and arch not in PUBLISHED and official in PUBLISHED:
        raise ValueError(f"{path} is an official EfficientNet file: use --arch {official} with it, not {arch}")
    twin = arch.removeprefix("tf_") if arch.startswith("tf_") else f"tf_{arch}"
    if arch not in PUBLISHED and path.name.startswith(twin) and timm.is_model(twin):
        raise ValueError(f"{path} is {twin}'s, which pads in another way than {arch}: use --arch {twin} with this file")
