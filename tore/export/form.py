"""The door: a network's inference form."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from tore.export.fastmetro import FastMETROForm
from tore.export.metro import METROForm
from tore.export.parts import Parts, check_compiler
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO

OPTIONS = {"cpu": {"freezing": True}, "cuda": {"triton.cudagraphs": True}}  # torch.compile's options by device


@torch.no_grad()
def for_inference(model: FastMETRO | METRO, parts: Parts | None = None) -> FastMETROForm | METROForm:
    """A twin of the network in evaluation mode that gives the same prediction to rounding, sooner.

    It has weights of its own, on the network's device and in its dtype, and may be moved; what was computed
    beforehand keeps its rounding, so make it in the dtype that it shall run in. Pictures of every size that
    the network takes are taken. It cannot be trained; `joint_mask` is training's and not taken. Its `config` is the
    network's.

    Args:
        model: any FastMETRO or METRO; left as it is.
        parts: what to do; None means all but compiling.

    Raises ValueError for another kind of network, FileNotFoundError where compiling lacks a compiler.
    """
    if not isinstance(model, FastMETRO | METRO):
        raise ValueError(f"there is no inference form of a {type(model).__name__}; give a FastMETRO or a METRO")
    parts, device = parts or Parts(), next(model.parameters()).device
    if parts.compiled:
        check_compiler(device)
        parts = replace(parts, packed_weights=False)
    plain = copy.deepcopy(model).eval().requires_grad_(False)
    form = FastMETROForm(plain, parts) if isinstance(plain, FastMETRO) else METROForm(plain, parts)
    form.config = model.config
    if parts.compiled:
        form.compile(options=OPTIONS.get(device.type))
    return form.eval().requires_grad_(False)
