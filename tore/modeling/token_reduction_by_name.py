"""The ways to fewer image tokens, by name. All share one interface, `token_reduction_base.TokenReducer`."""

from __future__ import annotations

from typing import Any

from tore.modeling.token_reduction import TokenReduction
from tore.modeling.token_reduction_average import AveragePooling
from tore.modeling.token_reduction_base import TokenReducer
from tore.modeling.token_reduction_dpc_knn import DensityPeaks
from tore.modeling.token_reduction_none import NoReduction
from tore.modeling.token_reduction_random import RandomChoice
from tore.modeling.token_reduction_tome import TokenMerging
from tore.modeling.token_reduction_topk import TopK

REDUCERS: dict[str, Any] = {
    "itp": TokenReduction,
    "none": NoReduction,
    "average": AveragePooling,
    "topk": TopK,
    "tome": TokenMerging,
    "dpc_knn": DensityPeaks,
    "random": RandomChoice,
}


def create_reducer(name: str, *, width: int, tokens: int | None) -> TokenReducer:
    """The reducer `name` from features of `width` channels to `tokens` tokens, with fresh weights.

    Raises ValueError for a name that does not exist, or a number of tokens without which it cannot be.
    """
    if name not in REDUCERS:
        raise ValueError(f"token reduction {name!r} is not known; use one of {', '.join(REDUCERS)}")
    if (tokens is None) != (name == "none"):
        raise ValueError(f"token reduction {name!r} cannot keep {tokens} tokens: 'none' takes None, others a number")
    return REDUCERS[name](width=width, tokens=tokens)
