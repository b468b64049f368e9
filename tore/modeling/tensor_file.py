"""Reading and writing files of tensors, safely: nothing in a file is ever executed, nothing is half-written."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch


def read_tensors(path: str | Path) -> Any:
    """What `torch.save` wrote, tensors and plain values only, on the CPU.

    Raises FileNotFoundError, or ValueError with one sentence: a pickled module or other code (which is not
    loaded), a truncated file, or something that torch did not write.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the file in it, such as {path / 'state_dict.bin'}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the path of a checkpoint file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "GLOBAL" in str(error):
            raise ValueError(
                f"{path} holds pickled code, not only tensors, and is not loaded: "
                f"use the file of tensors that was saved beside it, {path.with_name('state_dict.bin')}"
            ) from error
        raise ValueError(f"{path} is not a checkpoint or is damaged ({_first_line(error)}); get it again") from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a checkpoint or is damaged ({_first_line(error)}); get it again") from error


def write_tensors(value: Any, path: str | Path) -> None:
    """`torch.save` under a temporary name, then renamed; the folder is made when missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(value, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    if not text or text.isdigit():  # a byte of another kind of file, where torch looked for its own
        return "torch did not write it"
    return text.splitlines()[0].split(". ")[0]
