"""Images of meshes: renderer, overlays, heatmaps, contact sheets, mesh files."""

from tore_runtime.drawing import contact_sheet, draw_skeleton, overlay, save_image
from tore_runtime.mesh_files import save_mesh
from tore_runtime.renderer import render

__all__ = [
    "contact_sheet",
    "draw_skeleton",
    "overlay",
    "render",
    "save_image",
    "save_mesh",
]
