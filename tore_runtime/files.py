"""Files of values in, whole files out: readers and writers name the file that they cannot read or write.

A file is written under a temporary name in its own folder and then renamed, so that it appears whole or not at all.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LONGEST_NAME = 255  # bytes of a file's name on the usual file systems
REASONS = {
    errno.ENOTDIR: "a part of that path is a file, not a folder",
    errno.EEXIST: "a file is in the place of a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the quota of disk space is used up",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "its folder cannot be made",
    errno.ELOOP: "its links lead in a circle",
    errno.EFBIG: "the file would be larger than is allowed",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What torch says, as a RuntimeError, where a file could not be written to its end.
TORCH_FULL = ("PytorchStreamWriter failed", "unexpected pos", "No space left on device", "inline_container.cc")
# What torch, and Python's locks, say where /dev/shm is too small for what processes share.
SHARED_MEMORY = ("shared memory", "unable to write to file </torch_", "unable to mmap", "Bus error")


class OutputError(OSError):
    """A file or a folder that cannot be written, in one sentence: `path`, the reason, and what to do."""

    def __init__(self, path: Path, reason: str, *, full: bool = False, fix: str | None = None) -> None:
        self.path, self.reason, self.full, self.fix = path, reason, full, fix
        super().__init__(self.sentence("another place"))

    def sentence(self, place: str) -> str:
        """The sentence; `place` says what may be named instead, such as "another --output_dir"."""
        room = "make room or name" if self.full else "name"
        return f"{self.path} cannot be written: {self.reason}; {self.fix or f'{room} {place}'}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _output_error, (self.path, self.reason, self.full, self.fix)


def _output_error(path: Path, reason: str, full: bool, fix: str | None) -> OutputError:
    return OutputError(path, reason, full=full, fix=fix)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error means that no space was left: an OSError of that number, or what torch makes of it."""
    if isinstance(error, OSError):
        return error.errno in FULL
    shared = any(mark in str(error) for mark in SHARED_MEMORY)
    return isinstance(error, RuntimeError) and not shared and any(mark in str(error) for mark in TORCH_FULL)


@contextmanager
def writing(path: str | Path, *, fix: str | None = None) -> Iterator[None]:
    """What the system or torch raises inside, for want of a place to write `path`, becomes an OutputError.

    fix: what to do, where that is not to name another place.
    """
    path = Path(path)
    try:
        yield
    except OutputError as error:
        if fix is None:
            raise
        raise OutputError(error.path, error.reason, full=error.full, fix=fix) from error
    except OSError as error:
        if error.errno not in REASONS or not _is_about(error, path):
            raise
        raise OutputError(path, REASONS[error.errno], full=error.errno in FULL, fix=fix) from error
    except RuntimeError as error:
        if not is_full_disk(error):
            raise
        raise OutputError(path, REASONS[errno.ENOSPC], full=True, fix=fix) from error


def _is_about(error: OSError, path: Path) -> bool:
    """Whether the error names no file, or one of those that lead to `path` or lie in its folder."""
    if error.filename is None or isinstance(error.filename, int):
        return True
    name = Path(os.path.abspath(os.fsdecode(error.filename)))  # noqa: PTH100
    place = Path(os.path.abspath(path))  # noqa: PTH100
    return name.is_relative_to(place) or name in place.parents or name.parent == place.parent


@contextmanager
def replacing(path: str | Path, *, sync: bool = False) -> Iterator[Path]:
    """Hands out a temporary file that takes the place of `path` when the block ends well; else it is deleted.

    The folder of `path` is made when missing. A device, a pipe or a link to one (/dev/stdout) stays what it is and is
    given the content. sync: the file is on disk before it gets its name. Raises OutputError.
    """
    path = Path(path)
    with writing(path):
        if is_stream(path):
            yield from _handed_over(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        temporary = _temporary(path)
        try:
            yield temporary
            if sync:
                sync_to_disk(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # the reason for leaving is what is told
                temporary.unlink(missing_ok=True)
            raise


def is_stream(path: Path) -> bool:
    """Whether a path leads to a device, a pipe or an open file of the process, which no other file may replace."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    opened = os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/"))  # noqa: PTH100
    return not stat.S_ISDIR(mode) and (opened or not stat.S_ISREG(mode))


def _handed_over(path: Path) -> Iterator[Path]:
    """A temporary file elsewhere, whose content goes into the stream when the block ends well."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, path.name)
        temporary.touch()
        yield temporary
        with temporary.open("rb") as content, path.open("ab", buffering=0) as stream:
            shutil.copyfileobj(content, stream)


def _temporary(path: Path) -> Path:
    """A new empty file beside `path`, with the rights that a plain `open` gives."""
    ending = f".{secrets.token_hex(4)}"
    name = f".{path.name}{ending}"
    short = len(os.fsencode(name)) <= LONGEST_NAME
    temporary = path.with_name(name if short else f".tore{ending}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def write_whole(path: str | Path, content: bytes | str, *, sync: bool = False) -> None:
    """Writes bytes, or text as UTF-8, that appear whole or not at all; the folder is made when missing.

    Half a surrogate pair, which stands for a byte of a file name that is not UTF-8, is written as `\\udcXX`.
    Raises OutputError.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with replacing(path, sync=sync) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, value: Any) -> None:
    """Writes a value as indented JSON that is on disk before it gets its name. Raises OutputError."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", sync=True)


def sync_to_disk(path: Path) -> None:
    """Makes the kernel put a file or a folder on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_output_folder(folder: str | Path | None) -> None:
    """OutputError where files cannot be written into a folder that is there or is to be made; None is no folder."""
    if folder is None:
        return
    with writing(folder):
        place = Path(os.path.abspath(folder))  # noqa: PTH100
        if len(os.fsencode(place.name)) > LONGEST_NAME:
            raise OutputError(Path(folder), REASONS[errno.ENAMETOOLONG])
        nearest = next(part for part in (place, *place.parents) if os.path.lexists(part))
        if not nearest.is_dir():
            raise OutputError(Path(folder), f"{nearest} is a file, not a folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise OutputError(Path(folder), f"{nearest} is read-only, or this user may not write there")


def check_output_file(path: str | Path | None) -> None:
    """OutputError where a file cannot be written to `path`, whose folder may be missing; None is no file."""
    if path is None:
        return
    path = Path(path)
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OutputError(path, REASONS[errno.ENAMETOOLONG])
    if path.is_dir():
        raise OutputError(path, REASONS[errno.EISDIR])
    if is_stream(path):
        if not os.access(path, os.W_OK):
            raise OutputError(path, REASONS[errno.EACCES])
        return
    try:
        check_output_folder(path.parent)
    except OutputError as error:
        raise OutputError(path, error.reason) from None


def check_outputs(*files: str | Path | None, folder: str | Path | None = None) -> None:
    """OutputError where one of the files, or files in the folder, cannot be written; None is left out.

    Commands ask before their work begins, so that hours of it are not lost for want of a place.
    """
    check_output_folder(folder)
    for path in files:
        check_output_file(path)


def parse_json(text: str | bytes, where: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text. ValueError, which begins with `where`, for anything that is none.

    pairs: makes an object of its names and values, instead of a dictionary that keeps the last value of each name.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError(f"{where} is not JSON that can be read: it is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error})") from None


def read_json(path: str | Path) -> Any:
    """The value of a JSON file. ValueError names a file that holds none; OSError where it cannot be opened."""
    return parse_json(Path(path).read_bytes(), str(path))
