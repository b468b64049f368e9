"""Is a data set the one that a run began with? Its length, and a digest of its line list and of rows all over it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from tore.datasets.sets import TSVSet

ROWS = {"label": 4096, "img": 32}  # at most so many of a table's rows are read, evenly spread


def set_identity(rows: TSVSet) -> dict[str, Any]:
    """{"samples": their number, "digest": of what they are}; the same wherever the files lie.

    Every row of a set of up to 4096 samples has its label in the digest, of a larger one 4096 rows; of the images
    the bytes of 32 rows and the size of the files.
    """
    digest = hashlib.sha256(rows.picks.tobytes())
    for table, most in ROWS.items():
        for reader in rows.tables[table]:
            digest.update(f"{table} {len(reader)} {reader.path.stat().st_size}\n".encode())
        for index in np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)):
            digest.update(b"\t".join(rows.columns(table, int(index))))
    return {"samples": len(rows), "digest": digest.hexdigest()[:16]}
