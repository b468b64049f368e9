"""Body models: joint names, file reading, SMPL, MANO, mesh levels, and their files."""

from tore.body.body_model import MANO, SMPL, BodyModel, BodyTargets, load_body
from tore.body.mesh_levels import MeshLevels
from tore.body.topology import Topology, load_topology

__all__ = ["MANO", "SMPL", "BodyModel", "BodyTargets", "MeshLevels", "Topology", "load_body", "load_topology"]
