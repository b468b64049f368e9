"""Optimized networks, each tested against the plain one."""

from tore.export.networks import for_inference
from tore.export.parts import Parts

__all__ = ["Parts", "for_inference"]
