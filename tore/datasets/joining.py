"""Several sets as one: a composite set that names the files of the others, which stay where they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tore.datasets.sets import TABLES, TSVSet, write_linelist, write_yaml


def join_sets(yamls: Sequence[str | Path], out: str | Path, overwrite: bool = False) -> int:
    """Writes the yaml `out` and its line list: the samples of all sets, one after the other; returns how many.

    The table of sizes is left out where one of the sets has none. Raises ValueError where a file is there already.
    """
    out = Path(out)
    linelist = out.with_name(f"{out.stem}.linelist.tsv")
    for path in (out, linelist):
        if path.exists() and not overwrite:
            raise ValueError(f"{path} is there already: name another --out, or add --overwrite")
    sets = [TSVSet(yaml) for yaml in yamls]
    shared = [table for table in TABLES if all(table in one.tables for one in sets)]
    names = {
        table: [os.path.relpath(reader.path, out.parent) for one in sets for reader in one.tables[table]]
        for table in shared
    }
    first = np.cumsum([0, *(len(one.tables["img"]) for one in sets)])  # number of each set's first file
    picks = np.concatenate([one.picks + [start, 0] for one, start in zip(sets, first, strict=False)])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_linelist(linelist, [(int(source), int(row)) for source, row in picks])
    write_yaml(out, **names, linelist=linelist.name)
    return len(picks)
