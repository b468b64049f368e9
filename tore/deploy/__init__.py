"""The networks as they run fastest: a twin of each, tested against the plain one."""

from tore.deploy.form import for_inference
from tore.deploy.parts import Parts

__all__ = ["Parts", "for_inference"]
