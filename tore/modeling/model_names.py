"""Networks by name, as timm has them: `fastmetro_tore_l_efficientnet_b0` and its likes.

A name is NETWORK_REDUCTION_SIZE_BACKBONE, with `_hand` behind it where hands are recovered:

- NETWORK: fastmetro or metro
- REDUCTION of the tokens: tore (the paper's), for FastMETRO also one of the baselines such as tome; left out, the
  network has none, as METRO and FastMETRO were published
- SIZE: FastMETRO's s, m or l, or the narrower xs; METRO has one size, and its names leave it out
- BACKBONE: an official one, with _ for -, movenet_thunder, or any of timm's
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any

from tore.image_format import FORMATS, MEDIAPIPE_HAND
from tore.modeling.token_reduction_baselines import REDUCERS
from tore.paths import BACKBONE_WEIGHTS

SIZES = {"S": 1, "M": 2, "L": 3}  # FastMETRO's layers on each side of each Transformer
NARROW = "XS"  # as S, narrower
NARROW_FIELDS: dict[str, Any] = {"layers": 1, "widths": (256, 64), "hidden": (1024, 256)}
NAMED_SIZES = (NARROW, *SIZES)
TOKEN_REDUCTIONS = ("tore", *(name for name in REDUCERS if name != "itp"))
METRO_REDUCTIONS = ("tore", "none")
HAND = "_hand"
BACKBONES = {arch.replace("-", "_"): arch for arch in (*BACKBONE_WEIGHTS, *FORMATS)}  # as names write them
HAND_BACKBONES = (MEDIAPIPE_HAND.replace("-", "_"),)  # of hands alone: their names say so already
USUAL = {"arch": "resnet50", "size": "L", "token_reduction": "tore", "body": "body"}
NEAREST = 3  # names that an unknown one is answered with


def size_fields(size: str) -> dict[str, Any]:
    """The fields of FastMETRO's configuration that a size sets. ValueError for one that does not exist."""
    if size not in NAMED_SIZES:
        raise ValueError(f"size {size!r} is not known; use one of {', '.join(NAMED_SIZES)}")
    return NARROW_FIELDS if size == NARROW else {"layers": SIZES[size]}


@cache
def _listed() -> tuple[str, ...]:
    """Every name with an official backbone."""
    sizes = [f"{size.lower()}_" for size in NAMED_SIZES]
    fast = product(("fastmetro",), TOKEN_REDUCTIONS, sizes, BACKBONES, ("", HAND))
    metro = product(("metro",), METRO_REDUCTIONS, ("",), BACKBONES, ("", HAND))
    return tuple(
        sorted(
            f"{network}_{'' if reduction == 'none' else f'{reduction}_'}{size}{backbone}{hand}"
            for network, reduction, size, backbone, hand in (*fast, *metro)
            if not (hand and backbone in HAND_BACKBONES)
        )
    )


def list_models(filter: str = "*") -> list[str]:
    """The names that `create_model` takes, with the official backbones, sorted.

    filter: a pattern such as "*tore_l*" or "metro*_hand"; a name without stars is itself alone.
    """
    return fnmatch.filter(_listed(), filter)


def named_options(name: str) -> dict[str, Any]:
    """What a name says, as options of `create_model`: network, token_reduction, arch, body and FastMETRO's size.

    Raises ValueError with the nearest names for one that is none.
    """
    network, _, rest = name.partition("_")
    body = "hand" if rest.endswith(HAND) else "body"
    rest = rest if rest.endswith(HAND_BACKBONES) else rest.removesuffix(HAND)
    reductions = {"fastmetro": TOKEN_REDUCTIONS, "metro": METRO_REDUCTIONS}.get(network, ())
    reduction = next((word for word in reductions if rest.startswith(f"{word}_")), "none")
    rest = rest.removeprefix(f"{reduction}_")
    options: dict[str, Any] = {"network": network, "token_reduction": reduction, "body": body}
    if network == "fastmetro":
        size, _, rest = rest.partition("_")
        options["size"] = size.upper()
    options["arch"] = BACKBONES.get(rest, rest)
    known = rest in BACKBONES or (rest and _timm_has(rest))
    if not reductions or not known or options.get("size", "L") not in NAMED_SIZES:
        near = difflib.get_close_matches(name, _listed(), NEAREST, cutoff=0.3)
        nearest = f"the nearest are {', '.join(near)}; " if near else ""
        raise ValueError(f"model {name!r} is not known; {nearest}tore.list_models() gives the names")
    return options


def _timm_has(name: str) -> bool:
    from tore.modeling.timm_trunks import has  # slow to import

    return has(name)


def chosen_options(network: str, given: Mapping[str, str | None]) -> tuple[str, str, str, str, str]:
    """Network, arch, size, token reduction and body of a name and the arguments beside it.

    given: argument -> value, None where it was left out and the name, or else the usual value, decides.

    Raises ValueError for an unknown name, and for an argument that says another thing than the name.
    """
    named = named_options(network) if "_" in network else {"network": network}
    typed = {name: value for name, value in given.items() if value is not None}
    other = [f"{name}={value!r}" for name, value in typed.items() if named.get(name, value) != value]
    if other:
        raise ValueError(f"{', '.join(other)} beside {network!r}, which says otherwise; leave one of the two out")
    chosen = {**USUAL, **typed, **named}
    return chosen["network"], chosen["arch"], chosen["size"], chosen["token_reduction"], chosen["body"]
