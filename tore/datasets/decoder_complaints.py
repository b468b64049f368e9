"""What a picture decoder says about damage that it passes over."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

ERROR_STREAM = 2  # the process's, below Python's sys.stderr


@contextmanager
def decoder_complaints() -> Iterator[list[str]]:
    """Gives a list that holds, after the block, the lines that were written to the process's error stream inside.

    OpenCV's JPEG library repairs damage inside a file as it can and says so there, and nowhere else. For one thread:
    what others write meanwhile is taken for a complaint.
    """
    complaints: list[str] = []
    sys.stderr.flush()
    kept = os.dup(ERROR_STREAM)
    try:
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), ERROR_STREAM)
            try:
                yield complaints
            finally:
                os.dup2(kept, ERROR_STREAM)
            said.seek(0)
            complaints += said.read().decode(errors="replace").splitlines()
    finally:
        os.close(kept)
