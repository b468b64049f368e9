"""Pictures of meshes: renderer, overlays, heatmaps, contact sheets, mesh files."""
