"""Reads the hand-made families, `arms.txt`, `everyday.txt` and `sports.txt`: which arms go with which postures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pose_prior.language import BODY_ANGLES, LIMB_ANGLES, POINTS, Angles, Limb, Pin, Posture

HERE = Path(__file__).parent
FILES = ("everyday.txt", "sports.txt")
JOINTS = {
    "pelvis": 0, "spine": 3, "chest": 9, "head": 15, "thigh": 1, "shin": 4, "foot": 7, "upper_arm": 16, "forearm": 18,
}  # fmt: skip
Clauses = list[tuple[str, str]]


@dataclass(frozen=True)
class Group:
    """Poses of one posture with one pair of arms, and its share of all draws of the kind."""

    kind: str
    name: str
    support: str
    posture: Posture
    arms: tuple[Limb, Limb]
    weight: float


def entries(path: Path) -> Iterator[tuple[str, str, Clauses]]:
    """Every entry of a file: its word, its name, and its clauses with their first word apart."""
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    for entry in re.split(r"\n(?=\S)", text):
        head, _, body = " ".join(entry.split()).partition(":")
        if head:
            word, _, name = head.partition(" ")
            clauses = [clause.strip().partition(" ") for clause in body.split("|")]
            yield word, name, [(first, rest) for first, _, rest in clauses]


def read_angles(text: str, known: dict[str, float]) -> Angles:
    """`flex 20~5 knee 8` as angles. Raises ValueError for an angle that is not known."""
    words = text.split()
    out: Angles = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name not in known:
            raise ValueError(f"angle {name!r} is not known; use one of {', '.join(known)}")
        mean, _, spread = value.partition("~")
        out[name] = (float(mean), float(spread)) if spread else float(mean)
    return out


def read_pin(text: str) -> Pin:
    """`palm on other thigh .1 .2 .3 ~.02` as a pin."""
    point, _, *where, x, y, z, spread = text.split()
    if point not in POINTS:
        raise ValueError(f"point {point!r} is not known; use one of {', '.join(POINTS)}")
    return Pin(point, JOINTS[where[-1]], (float(x), float(y), float(z)), float(spread.lstrip("~")), len(where) == 2)


def _limb(clauses: Clauses, angles: str, holds: str) -> Limb:
    found = {first: rest for first, rest in clauses}
    return Limb(
        angles=read_angles(found[angles], LIMB_ANGLES),
        pins=tuple(read_pin(rest) for first, rest in clauses if first == holds),
        ground=tuple(found.get("ground", "").split()) if angles == "angles" else (),
    )


def _posture(clauses: Clauses) -> Posture:
    found = {first: rest for first, rest in clauses}
    sides = ("legs", "legs") if "legs" in found else ("left", "right")
    left, right = (_limb(clauses, side, f"hold-{side}") for side in sides)
    trunk = read_angles(found.get("trunk", ""), BODY_ANGLES)
    return Posture(left, right, trunk, tuple(found.get("ground", "").split()))


def groups() -> list[Group]:
    """Every group of both files."""
    arms = {name: _limb(clauses, "angles", "hold") for _, name, clauses in entries(HERE / "arms.txt")}
    out: list[Group] = []
    for file in FILES:
        kind, usual = "", {"": ""}
        for word, name, clauses in entries(HERE / file):
            if word == "kind":
                kind, usual = name, dict(clauses)
                continue
            found = dict(clauses)
            pairs = [pair.split() for pair in found.get("arms", usual["arms"]).split(",")]
            for pair in sorted({tuple(pair) for pair in pairs}):
                both = (arms[pair[0]], arms[pair[1]])
                support = found.get("bears", usual["bears"])
                share = pairs.count(list(pair)) / len(pairs)
                out.append(Group(kind, f"{name}: {' '.join(pair)}", support, _posture(clauses), both, share))
    return out


def shares() -> dict[str, float]:
    """Each kind's share of all draws."""
    kinds = [(name, dict(clauses)) for file in FILES for word, name, clauses in entries(HERE / file) if word == "kind"]
    return {name: float(clauses["share"]) for name, clauses in kinds}
