"""What reading a damaged or foreign file raises, and the one sentence that is made of it."""

from __future__ import annotations

import pickle
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    ImportError,
    MemoryError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class UnfitFile(ValueError):
    """A file that cannot be used; its text is the whole sentence for the user."""


def damaged(path: Path, kind: str, error: BaseException) -> UnfitFile:
    """The sentence for a file that cannot be read as a `kind` ("a pickle")."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return UnfitFile(f"{path} cannot be read as {kind} ({reason}): it is cut short or another file; get it again")
