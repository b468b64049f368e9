"""The networks: backbones, token reduction, shape regressor, FastMETRO and METRO."""

from tore.modeling.build import create_model
from tore.modeling.checkpoints import load_model, save_model, save_official, save_published
from tore.modeling.heads import MeshPrediction
from tore.modeling.model_names import list_models

__all__ = [
    "MeshPrediction",
    "create_model",
    "list_models",
    "load_model",
    "save_model",
    "save_official",
    "save_published",
]
