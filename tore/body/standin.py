"""The stand-in body and hand: figures made by code that have the shape of the licensed models' files.

They let everything run, and be tested, without any licensed file. They are nobody's scan and no licensed model: a
person and a right hand drawn with tubes and ellipsoids, meshed, rigged and given shape and pose directions by plain
geometry.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tore.body.standin_files import file_names, write_files
from tore.body.standin_models import build
from tore.files import check_outputs, writing
from tore.paths import standin_folder

KINDS = ("body", "hand")
ABANDONED = 3600.0  # seconds after which nobody writes into an unfinished folder any more

__all__ = ["KINDS", "file_names", "standin_dir", "write_standin"]


def write_standin(kind: str, folder: str | Path) -> None:
    """Makes the stand-in "body" or "hand" and writes its files into `folder`, in place of files of those names.

    Raises ValueError for another kind, ImportError with the command to run where scikit-image is missing, OutputError
    where the folder cannot be written.
    """
    write_files(kind, build(kind), Path(folder))


def standin_dir() -> Path:
    """The folder that holds both stand-ins, made on first use in the cache folder and then reused.

    Safe to call from many processes at once: each makes its own folder, and the first to be ready gives it its name.
    Raises OutputError where the cache folder cannot be written.
    """
    folder = standin_folder()
    if folder.is_dir():
        return folder
    with writing(folder, fix="set TORE_CACHE_DIR to a folder that can be"):
        check_outputs(folder=folder.parent)
        figures = {kind: build(kind) for kind in KINDS}  # takes most of the time; nothing is on disk yet
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for kind, figure in figures.items():
                write_files(kind, figure, fresh)
            fresh.chmod(0o755)
            try:
                fresh.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _remove_leftovers(folder: Path) -> None:
    """Deletes what builds left that were killed while they wrote: unfinished folders that are hours old."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
