"""Other starts for bodies of which a part lies far worse than the others after a least-squares fit.

Pose directions give the sum of squares several minima: what they add depends on a joint's turn, so that two turns of a
foot can bring its vertices to nearly the same places. The part's joint, or one below it, is given each of twelve
rotations, the limb alone is fitted from there, and the best of these bodies is fitted as a whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tore.body.gauss_newton import (
    LEAST_WEIGHT,
    BodyState,
    Kinematics,
    Points,
    Posed,
    ResidualBlock,
    ShapePrior,
    VertexBlock,
    gauss_newton,
)

ROUNDS = 4  # at most; in each another part may be the worst
LIMB_STEPS, BODY_STEPS = 6, 8
ODD, ODD_FROM = 4.0, 0.0005  # times the median part's distance, and meters, from which a part is tried again
CLEARLY = 0.5  # of the sum of squares: what a body has to come down to for another of its parts to be tried
ABOVE, BELOW = 2, 2  # joints of a limb before and after the worst part's
OWN = 0.2  # least weight of a limb's joints on its points


def restarted(kinematics: Kinematics, state: BodyState, block: VertexBlock, prior: ShapePrior) -> BodyState:
    """The state, or a better one of samples of which one part lies far worse than the others."""
    left = torch.arange(len(block.target), device=block.target.device)
    for _ in range(ROUNDS):
        joint, odd = _worst_parts(kinematics.pose(state.of(left)), block.of(left), max(ODD_FROM, prior.noise))
        left, joint = left[odd], joint[odd]
        if not len(left):
            break
        own, before = block.of(left), state.of(left)
        starts = [
            _limb_refitted(kinematics, state.of(row), block.of(row), int(worst))
            for row, worst in zip(left.split(1), joint, strict=True)
        ]
        blocks: list[ResidualBlock] = [own, prior]
        found = gauss_newton(kinematics, BodyState.joined(starts), blocks, steps=BODY_STEPS)
        cost = gauss_newton(kinematics, before, blocks, steps=0).cost
        state = state.replaced(left, found.state.where(found.cost < cost, before))
        left = left[found.cost < CLEARLY * cost]
    return state


def _worst_parts(posed: Posed, block: VertexBlock, least: float) -> tuple[Tensor, Tensor]:
    """The joint (B,) of each body's worst part; whether (B,) that is far worse than others, and than `least` meters."""
    weights = block.points.weights
    off = block.residual(posed).unflatten(1, (3, -1)).square().sum(1)  # (B, N)
    parts = (off @ weights.mT / weights.sum(1).clamp_min(LEAST_WEIGHT)).sqrt()  # (B, K)
    worst, joint = parts.max(1)
    return joint, (worst > ODD * parts.median(1).values) & (worst > least)


def _limb_refitted(kinematics: Kinematics, state: BodyState, block: VertexBlock, joint: int) -> BodyState:
    """One body with the limb around a joint turned anew, so that its own points lie best; the rest stays."""
    turned, limb = _limb(kinematics.parents, joint)
    points = block.points
    own = points.weights[limb].sum(0) > OWN  # (N,)
    few = Points(*(part[..., own].contiguous() for part in points))
    starts = _turns().to(block.target)
    count = len(turned) * len(starts)
    tries = state.of(torch.zeros(count, dtype=torch.long, device=starts.device))
    rotations = tries.rotations.unflatten(0, (len(turned), -1))
    for number, other in enumerate(turned):
        rotations[number, :, other] = starts
    tries = BodyState(rotations.flatten(0, 1), tries.betas, tries.translation, tries.extra)
    free = torch.tensor([3 * moved + axis for moved in limb for axis in range(3)], device=starts.device)
    target = block.target[..., own].expand(count, -1, -1)
    found = gauss_newton(kinematics, tries, [VertexBlock(few, target)], steps=LIMB_STEPS, free=free)
    return found.state.of(found.cost.argmin()[None])


def _limb(parents: list[int], joint: int) -> tuple[list[int], list[int]]:
    """Which joints are turned: this one and a few below; and which are fitted: these and a few above."""
    depth = {joint: 0}
    for other in range(joint + 1, len(parents)):
        if depth.get(parents[other], BELOW) < BELOW:
            depth[other] = depth[parents[other]] + 1
    above: list[int] = []
    while len(above) < ABOVE and (parent := parents[above[-1] if above else joint]) >= 0:
        above.append(parent)
    return list(depth), above + list(depth)


def _turns() -> Tensor:
    """The twelve rotations (12, 3, 3) of a tetrahedron: axes exchanged in a circle, an even number of them reversed."""
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    circle = torch.stack([torch.eye(3).roll(places, 0) for places in range(3)])
    return (torch.diag_embed(signs)[:, None] @ circle).flatten(0, 1)
