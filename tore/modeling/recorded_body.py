"""Which body model a checkpoint was trained on: how files record it, and that no network meets another one.

A network carries it as `trained_on`, a `BodyIdentity`. Our own layout holds it beside the configuration, the official
layout in an entry of ours, which the official code passes over. Files without it were trained on SMPL or MANO: official
ones, and ours of before, which noted only whether the body was a figure that the project no longer has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tore.body.identity import BodyIdentity
from tore.modeling.checkpoint_contents import unwrapped
from tore.paths import BODY_FILES, MADE_BODIES, REMOVED, REMOVED_BODIES

RECORD = "trained_on"  # the name of the record in every kind of file
FIGURE_MARK = "stand_in"  # what configurations held before there was a record


def without_mark(config: Mapping[str, Any]) -> tuple[dict[str, Any], BodyIdentity]:
    """A recorded configuration without the old mark, and the body model that it means where there is no record."""
    plain = dict(config)
    marked = plain.pop(FIGURE_MARK, False)
    return plain, BodyIdentity(REMOVED_BODIES[0]) if marked else licensed(plain.get("body", "body"))


def licensed(kind: str) -> BodyIdentity:
    """The body model that a file without a record was trained on: by its name alone."""
    return BodyIdentity(BODY_FILES["hand" if kind == "hand" else "body"][0].name)


def entry_of(identity: BodyIdentity) -> Tensor:
    """The record as an entry of the official layout: its JSON text as bytes (N,)."""
    return torch.tensor(list(json.dumps(identity.described()).encode()), dtype=torch.uint8, device="cpu")


def identity_in(entry: Tensor, path: Path) -> BodyIdentity:
    """The record that `entry_of` made. ValueError, naming the file, for anything else."""
    try:
        value = json.loads(bytes(entry.flatten().tolist()))
    except (ValueError, TypeError):
        value = None
    return BodyIdentity.from_plain(value, path)


def body_dir_for(
    trained_on: BodyIdentity | None, body_dir: str | Path | None, what: str | Path = "the network"
) -> str | Path | None:
    """The folder that was named; else the body model that the record names, where the project makes it itself.

    ValueError, which begins with `what`, where the record names one that the project no longer has.
    """
    refuse_removed_body(trained_on, what)
    if body_dir is None and trained_on is not None and trained_on.name in MADE_BODIES:
        return trained_on.name
    return body_dir


def refuse_removed_body(trained_on: BodyIdentity | None, what: str | Path) -> None:
    """ValueError where `what` records a body model that the project made once and no longer has."""
    if trained_on is not None and trained_on.name in REMOVED_BODIES:
        raise ValueError(
            f"{what} is of the body model {trained_on.name!r}, one of {REMOVED}: use it with version 0.1, or take a "
            "network or a set of the synthetic body model"
        )


def refuse_another_body(trained_on: BodyIdentity | None, found: BodyIdentity | None, what: str | Path) -> None:
    """ValueError, which names both, where `found` is not the body model that `what` was trained on."""
    if trained_on is None or found is None:
        return
    if trained_on.is_known:
        trained_on.refuse_another(found, f"{what} was trained on")
        return
    more = f"; if it was trained on {found.name!r}, say so: load_model(..., {RECORD}={found.name!r})"
    trained_on.refuse_another(found, f"{what} records no fingerprint and counts as trained on", more)


def trained_on_of(model: nn.Module) -> BodyIdentity | None:
    """The record that a network carries, whatever wraps it; None for a module without one."""
    found = getattr(unwrapped(model), RECORD, None)
    return found if isinstance(found, BodyIdentity) else None


def check_body(model: nn.Module, body: Any, what: str = "the network") -> None:
    """ValueError where a network was trained on another body model than `body`, a `BodyModel`."""
    refuse_another_body(trained_on_of(model), getattr(body, "identity", None), what)
