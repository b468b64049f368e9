"""The networks: backbones, token reduction, shape regressor, FastMETRO and METRO."""

from tore.modeling.build import create_model
from tore.modeling.checkpoints import load_model, save_model, save_official, save_published
from tore.modeling.heads import MeshPrediction

__all__ = ["MeshPrediction", "create_model", "load_model", "save_model", "save_official", "save_published"]
