"""What the networks know of a body before they see an image: joint count, coarse adjacency, mesh levels, template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tore.body.body_model import MANO, SMPL
from tore.body.files import read_adjacency, read_levels
from tore.body.identity import BodyIdentity, body_identity, levels_fingerprint
from tore.body.joints import NUM_JOINTS
from tore.body.mesh_levels import MeshLevels
from tore.paths import find_body_files, takes_data_dir

TEMPLATE_ROOT_ANGLE = 3.1416  # Official: half a turn about x to five digits, not pi


@dataclass(frozen=True)
class Topology:
    """A body or a hand as the networks need it.

    - `identity`: which body model it is; without a template the mesh is open
    - `adjacency (Vc, Vc)`: 0 where two coarse vertices do not touch
    - `template_joints (J, 3)`, `template_vertices (Vc, 3)`: float64, meters, root-centered; None unless requested
    - `template_weights (Vc, K)`: float64, how much each skeleton joint moves each coarse vertex; None unless requested
    """

    kind: str
    num_joints: int
    adjacency: torch.Tensor
    levels: MeshLevels
    template_joints: torch.Tensor | None
    template_vertices: torch.Tensor | None
    identity: BodyIdentity | None = None
    template_weights: torch.Tensor | None = None


def template_points(kind: str, body_dir: str | Path | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints (J, 3) and coarse vertices (Vc, 3) in float64 of the unshaped template, METRO's reference positions.

    Body: SMPL turned half round its x axis, the 14 joints and the mesh minus the pelvis of its 17 joints. Hand: the
    layer's 21 joints and the mesh at pose 0, mean hand added, minus the layer's wrist.
    """
    return template_of(kind, body_dir)[:2]


@torch.no_grad()
def template_of(kind: str, body_dir: str | Path | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Joints and coarse vertices as in `template_points`, and (Vc, K) how much each skeleton joint moves a vertex."""
    betas = torch.zeros(1, 10, dtype=torch.float64, device="cpu")
    if kind == "hand":
        hand = MANO(body_dir).double()
        joints, levels = hand.targets(betas.new_zeros(1, 48), betas)
        assert joints is not None
        return joints[0], levels[0][0], hand.levels.downsample(hand.skinned.weights.mT[None])[-1][0]
    pose = betas.new_zeros(1, 72)
    pose[0, 0] = TEMPLATE_ROOT_ANGLE
    smpl = SMPL(body_dir).double()
    vertices = smpl(pose, betas)
    root = smpl.root(vertices)
    weights = smpl.levels.downsample(smpl.skinned.weights.mT[None])[-1][0]
    return (smpl.regress_joints(vertices) - root)[0], smpl.centered_levels(vertices, root)[0][0], weights


@takes_data_dir
def load_topology(kind: str, body_dir: str | Path | None = None, template: bool = False) -> Topology:
    """The topology of a "body" or a "hand" from its files; only `template` needs the licensed model file.

    Raises FileNotFoundError and ValueError as `tore.body.files` says, and where adjacency and levels disagree.
    """
    levels, adjacency = read_levels(kind, body_dir), read_adjacency(kind, body_dir)
    if len(adjacency) != levels.sizes[0]:
        raise ValueError(
            f"the {kind}'s adjacency has {len(adjacency)} vertices and its coarsest mesh {levels.sizes[0]}: "
            "the files belong to different meshes; get the official ones again"
        )
    joints, vertices, weights = template_of(kind, body_dir) if template else (None, None, None)
    name = find_body_files(kind, body_dir)[1].name
    identity = body_identity(kind, body_dir) if template else BodyIdentity(name, None, levels_fingerprint(levels))
    return Topology(kind, NUM_JOINTS[kind], adjacency, levels, joints, vertices, identity, weights)
