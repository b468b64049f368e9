"""Networks outside of training: the optimized graph, its export to ONNX, and the runtimes that run exports."""

from tore.export.exporting import export_model
from tore.export.networks import for_inference

__all__ = ["export_model", "for_inference"]
