"""From an image to a mesh: reading, preprocessing, the predictor, its results and their drawings."""

from tore.inference.images import read_image
from tore.inference.predictor import MeshRecovery
from tore_runtime.crop import Crop
from tore_runtime.crops import PersonCrop
from tore_runtime.inputs import find_images
from tore_runtime.result import Recovery, save_result

__all__ = [
    "Crop",
    "MeshRecovery",
    "PersonCrop",
    "Recovery",
    "find_images",
    "read_image",
    "save_result",
]
