"""What a picture decoder says about damage that it passes over."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ERROR_STREAM = 2  # the process's, below Python's sys.stderr
_lock = threading.Lock()


@contextmanager
def decoder_complaints() -> Iterator[list[str]]:
    """Gives a list that holds, after the block, the lines that were written to the process's error stream inside.

    OpenCV's JPEG library repairs damage inside a file as it can and says so there, and nowhere else. Blocks of several
    threads wait for one another, so that the stream is afterwards what it was, closed ones too; what others write
    meanwhile is taken for a complaint. For commands: a library has no business with its process's streams.
    """
    complaints: list[str] = []
    with _lock, tempfile.TemporaryFile() as said:
        with suppress(AttributeError, OSError, ValueError):  # there is none, or nobody reads it
            sys.stderr.flush()
        kept = _copy_of_stream(said.fileno())
        try:
            os.dup2(said.fileno(), ERROR_STREAM)
            yield complaints
        finally:
            if kept is None:
                if said.fileno() != ERROR_STREAM:
                    os.close(ERROR_STREAM)
            else:
                os.dup2(kept, ERROR_STREAM)
                os.close(kept)
        said.seek(0)
        complaints += said.read().decode(errors="replace").splitlines()


def _copy_of_stream(taken: int) -> int | None:
    """None where the stream is closed: its number is free, or was given to the file that shall stand in for it."""
    if taken == ERROR_STREAM:
        return None
    try:
        return os.dup(ERROR_STREAM)
    except OSError:
        return None
