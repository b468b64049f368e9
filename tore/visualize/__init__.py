"""Images of meshes: renderer, overlays, heatmaps, contact sheets, mesh files."""

from tore.visualize.drawing import contact_sheet, draw_skeleton, overlay, save_image
from tore.visualize.mesh_files import save_mesh
from tore.visualize.renderer import render

__all__ = [
    "contact_sheet",
    "draw_skeleton",
    "overlay",
    "render",
    "save_image",
    "save_mesh",
]
