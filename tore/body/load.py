"""One door to the body models."""

from __future__ import annotations

from pathlib import Path

from tore.body.mano import MANO
from tore.body.smpl import SMPL


def load_body(kind: str, data_dir: str | Path | None = None, gender: str = "neutral") -> SMPL | MANO:
    """SMPL for "body" (of a gender: "neutral", "female", "male"), MANO's right hand for "hand".

    Raises FileNotFoundError with the file to fetch, ValueError for another kind or gender and for a wrong file.
    """
    if kind == "hand" and gender == "neutral":
        return MANO(data_dir)
    if kind == "body":
        return SMPL(data_dir, gender)
    if kind == "hand":
        raise ValueError(f"gender {gender!r} of a hand is not known; hands have none, leave it out")
    raise ValueError(f"body kind {kind!r} is not known; use 'body' or 'hand'")
