"""From an image to a mesh: reading, preprocessing, the predictor, its results and their drawings."""

from tore.geometry.crop import Crop
from tore.inference.crops import PersonCrop
from tore.inference.images import read_image
from tore.inference.inputs import find_images
from tore.inference.predictor import MeshRecovery
from tore.inference.result import Recovery, save_result

__all__ = [
    "Crop",
    "MeshRecovery",
    "PersonCrop",
    "Recovery",
    "find_images",
    "read_image",
    "save_result",
]
