"""Files of values and tensors, beside the readers and writers of all files (`tore_runtime.files`).

A file is written under a temporary name in its own folder and then renamed, so that it appears whole or not at all.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from manopth.damage import DAMAGE, UnfitFile
from manopth.torch_files import read_torch_file
from tore_runtime.files import (
    SHARED_MEMORY,
    OutputError,
    check_output_file,
    check_output_folder,
    check_outputs,
    is_full_disk,
    is_stream,
    parse_json,
    read_json,
    replacing,
    sync_to_disk,
    write_json,
    write_whole,
    writing,
)

__all__ = [
    "OutputError",
    "SHARED_MEMORY",
    "check_output_file",
    "check_output_folder",
    "check_outputs",
    "checksum",
    "is_full_disk",
    "is_stream",
    "parse_json",
    "read_json",
    "read_tensors",
    "read_yaml",
    "replacing",
    "sync_to_disk",
    "write_json",
    "write_tensors",
    "write_whole",
    "writing",
]


def read_yaml(path: str | Path) -> Any:
    """The plain values of a YAML file. ValueError names a file that holds none; OSError where it cannot be opened."""
    data = Path(path).read_bytes()
    try:
        return yaml.safe_load(data.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is not a yaml file that can be read: it is nested too deep") from None
    # Beside YAMLError, tags such as !!int, !!bool and !!timestamp let Python's own errors through.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a yaml file: {reason}") from None


SAFETENSORS = ".safetensors"
SUM, PLAIN, NAMED = "crc32", "plain", "state_dict"  # metadata: the checksum, the plain values as JSON; the tensors' key


def read_tensors(path: str | Path) -> Any:
    """What `torch.save` or `write_tensors` wrote, or a safetensors file's dictionary of tensors, on the CPU.

    The content decides about the kind of file, not its name.

    Raises FileNotFoundError, or ValueError with one sentence: a pickled module or other code (which is not
    loaded), a damaged record, a truncated file, or something that is no file of tensors.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the file in it, such as {path / 'state_dict.bin'}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the path of a checkpoint file")
    with path.open("rb") as stream:
        head = stream.read(9)
    if path.suffix == SAFETENSORS or head[8:] == b"{":  # eight bytes of length, then JSON
        return _read_safetensors(path)
    return read_torch_file(path)


def _read_safetensors(path: Path) -> Any:
    try:
        with safe_open(str(path), "pt", device="cpu") as archive:
            metadata = dict(archive.metadata() or {})
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
        if SUM in metadata and metadata[SUM] != checksum(tensors, metadata.get(PLAIN, "")):
            raise UnfitFile(f"{path} is damaged: its tensors do not match its checksum; get the file again")
        return {**json.loads(metadata[PLAIN]), NAMED: tensors} if PLAIN in metadata else tensors
    except UnfitFile:
        raise
    except (SafetensorError, *DAMAGE) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnfitFile(f"{path} is not a safetensors file or is damaged ({text}); get it again") from None


def checksum(tensors: Mapping[str, torch.Tensor], text: str = "") -> str:
    """CRC-32 over `text` and over the names, dtypes, shapes and bytes of the tensors, in the order of the names."""
    total = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        if tensor.numel():
            total = zlib.crc32(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes(), total)
    return f"{total:08x}"


def write_tensors(value: Any, path: str | Path) -> None:
    """`torch.save`, or safetensors for a name that ends so, under a temporary name, then renamed.

    A safetensors file takes a flat dictionary of tensors, or plain values beside one named "state_dict". The folder is
    made when missing.
    """
    path = Path(path)
    with replacing(path) as temporary:
        if path.suffix == SAFETENSORS:
            _write_safetensors(value, temporary)
        else:
            torch.save(value, temporary)


def _write_safetensors(value: Mapping[str, Any], path: Path) -> None:
    flat = NAMED not in value
    held: Mapping[str, torch.Tensor] = value if flat else value[NAMED]
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in held.items()}
    text = "" if flat else json.dumps({name: item for name, item in value.items() if name != NAMED})
    noted = {SUM: checksum(tensors, text)} | ({} if flat else {PLAIN: text})
    path.write_bytes(save(tensors, noted))  # safetensors' `save_file` lets the owner alone read the file
