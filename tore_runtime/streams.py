"""Standard output and error of a command: nothing that happens to them stops its work.

They may be closed or missing, lead to a full device or to a reader that has gone, or have an encoding that lacks a
letter.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Guarded:
    """A text stream that drops what it cannot write; `failure` is the first error that made it do so.

    Letters that the encoding lacks are written as JSON's `\\uXXXX`, so that a line of JSON stays one.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: Exception | None = None
        self.abandoned = False

    def write(self, text: str) -> int:
        """The number of characters taken, whether they could be written or not."""
        if self.failure is None:
            try:
                self._stream.write(printable(text, self._stream.encoding))
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self.failure = error
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes them one after another."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hands on what is buffered, as far as that is possible."""
        if self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self.failure = error

    def abandon(self) -> None:
        """After a failure: what is left in the buffer goes nowhere, and the interpreter's end has nothing to say."""
        self.abandoned = True
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":  # of an object that is being copied
            raise AttributeError(name)
        return getattr(self._stream, name)


def printable(text: str, encoding: str | None) -> str:
    """The text with the letters escaped that the encoding, or UTF-8 where that is None, has no bytes for."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if _fits(letter, encoding) else json.dumps(letter)[1:-1] for letter in text)
    return text


def _fits(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _occupy_closed_descriptors() -> None:
    """Gives 0, 1 and 2 to the null device where they are closed, so that no file that is opened later gets them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Standard output and error are guarded inside; the process's own are put back. One inside another does nothing."""
    before = sys.stdout, sys.stderr
    opened: list[TextIO] = []

    def guard(stream: TextIO | None) -> Any:
        if isinstance(stream, Guarded):
            return stream
        if stream is None:
            _occupy_closed_descriptors()
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
            opened.append(stream)
        return Guarded(stream)

    sys.stdout, sys.stderr = (guard(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in opened:
            stream.close()
