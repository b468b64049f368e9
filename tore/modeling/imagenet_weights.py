"""The published ImageNet weights of the backbones (docs/DOWNLOAD.md lists the files)."""

from __future__ import annotations

from pathlib import Path

from tore.modeling.backbones import Backbone
from tore.modeling.published_keys import backbone_names
from tore.modeling.tensor_file import read_tensors

CLASSIFIERS = ("fc.", "_fc.", "classifier.")


def load_backbone_weights(backbone: Backbone, path: str | Path) -> None:
    """Loads an ImageNet file of the backbone's published or timm layout; its classifier is left out.

    Raises FileNotFoundError, or ValueError naming the entries that are missing, unexpected or misshapen.
    """
    entries = read_tensors(path)
    if isinstance(entries, dict) and "state_dict" in entries:
        entries = entries["state_dict"]
    if not isinstance(entries, dict):
        raise ValueError(f"{path} holds a {type(entries).__name__}, not named tensors; give an ImageNet weight file")
    kept = {name: value for name, value in entries.items() if not name.startswith(CLASSIFIERS)}
    renamed = backbone_names(kept)
    state = {renamed[name]: value for name, value in kept.items()}
    expected = backbone.trunk.state_dict()
    # The files of old torch versions have no step counters in their batch norms.
    missing = [n for n in expected if n not in state and not n.endswith("num_batches_tracked")]
    wrong = [n for n in state if n not in expected or state[n].shape != expected[n].shape]
    if missing or wrong:
        raise ValueError(
            f"{path} is no weight file of {backbone.arch}: {len(missing)} entries missing ({', '.join(missing[:3])}) "
            f"and {len(wrong)} unexpected or of another shape ({', '.join(wrong[:3])}); "
            "give the file that docs/DOWNLOAD.md names for this backbone"
        )
    backbone.trunk.load_state_dict(state, strict=False)
