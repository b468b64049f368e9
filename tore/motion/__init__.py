"""Motions: body parameters over time, and the animation files that are made of them."""

from tore.motion.bvh import save_bvh
from tore.motion.glb import save_glb
from tore.motion.reading import Reading, read_motions
from tore.motion.rig import Rig, rig_of, skin_difference
from tore.motion.sequence import Motion

__all__ = ["Motion", "Reading", "Rig", "read_motions", "rig_of", "save_bvh", "save_glb", "skin_difference"]
