"""Body models: joint names, file reading, SMPL, MANO, mesh levels, and the synthetic stand-ins."""

from tore.body.body_model import BodyModel, BodyTargets
from tore.body.load import load_body
from tore.body.mano import MANO
from tore.body.mesh_levels import MeshLevels
from tore.body.smpl import SMPL
from tore.body.topology import Topology, load_topology

__all__ = ["MANO", "SMPL", "BodyModel", "BodyTargets", "MeshLevels", "Topology", "load_body", "load_topology"]
