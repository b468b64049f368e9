"""Body models: joint names, file reading, SMPL, MANO, mesh levels, and their files."""

from tore.body.body_model import MANO, SMPL, BodyModel, BodyTargets, load_body
from tore.body.fitting import FittedParameters, fit_parameters
from tore.body.identity import BodyIdentity, body_identity
from tore.body.mesh_levels import MeshLevels
from tore.body.topology import Topology, load_topology

__all__ = [
    "MANO",
    "SMPL",
    "BodyIdentity",
    "BodyModel",
    "BodyTargets",
    "FittedParameters",
    "MeshLevels",
    "Topology",
    "body_identity",
    "fit_parameters",
    "load_body",
    "load_topology",
]
