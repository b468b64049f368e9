"""The stand-in body and hand: figures made by code that have the shape of the licensed models' files.

They let everything run, and be tested, without any licensed file. They are nobody's scan and no licensed model: a
person and a right hand drawn with tubes and ellipsoids, meshed, rigged and given shape and pose directions by plain
geometry.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tore.body.standin_files import file_names, write_files
from tore.body.standin_models import build
from tore.paths import standin_folder

KINDS = ("body", "hand")

__all__ = ["KINDS", "file_names", "standin_dir", "write_standin"]


def write_standin(kind: str, folder: str | Path) -> None:
    """Makes the stand-in "body" or "hand" and writes its files into `folder`, in place of files of those names.

    Raises ValueError for another kind, ImportError with the command to run where scikit-image is missing.
    """
    write_files(kind, build(kind), Path(folder))


def standin_dir() -> Path:
    """The folder that holds both stand-ins, made on first use in the cache folder and then reused.

    Safe to call from many processes at once: each makes its own folder, and the first to be ready gives it its name.
    """
    folder = standin_folder()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for kind in KINDS:
            write_standin(kind, fresh)
        fresh.chmod(0o755)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder
