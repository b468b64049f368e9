"""TORE: token reduction for efficient human mesh recovery with Transformers (ICCV 2023).

    model = tore.load_model("state_dict.bin")
    prediction = model(images)  # (B, 3, 224, 224), ImageNet-normalized -> MeshPrediction

    people = tore.MeshRecovery.from_checkpoint("state_dict.bin").predict("image.jpg")

    model = tore.create_model("fastmetro_tore_l_efficientnet_b0", keep_ratio=0.8)
    print(tore.list_models("*efficientnet*"))

The names below are imported when they are first used, so that `import tore` itself is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tore import _moved
from tore_runtime import __version__ as __version__

if TYPE_CHECKING:
    from tore.export import export_model, for_inference
    from tore.inference.predictor import MeshRecovery
    from tore.modeling import (
        MeshPrediction,
        create_model,
        list_models,
        load_model,
        save_model,
        save_official,
        save_published,
    )

__all__ = [
    "MeshPrediction",
    "MeshRecovery",
    "create_model",
    "export_model",
    "for_inference",
    "list_models",
    "load_model",
    "save_model",
    "save_official",
    "save_published",
]
HOMES = {
    "MeshRecovery": "tore.inference.predictor",
    "export_model": "tore.export",
    "for_inference": "tore.export",
}  # where a name lives, if not in tore.modeling

_moved.install()


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(HOMES.get(name, "tore.modeling")), name)
    raise AttributeError(f"module 'tore' has no attribute {name!r}")
