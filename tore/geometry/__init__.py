"""Rotations, cameras and Procrustes alignment: batched, pure torch, no other package of tore."""

from tore.geometry.alignment import align_similarity
from tore.geometry.camera import PinholeCamera, crop_camera_translation, project_weak_perspective
from tore.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_rotation_6d
from tore_runtime.crop import Crop

__all__ = [
    "Crop",
    "PinholeCamera",
    "align_similarity",
    "axis_angle_to_matrix",
    "crop_camera_translation",
    "matrix_to_axis_angle",
    "matrix_to_rotation_6d",
    "project_weak_perspective",
]
