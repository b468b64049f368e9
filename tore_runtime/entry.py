"""The entry of every command: `tore VERB`, `python -m` and a script's path all lead through it.

It guards the standard streams, lets a signal end a command as an exception does (so that nothing half-written stays),
and turns what a user can mend into one sentence and an exit code. What is left, a fault of this project, keeps its
traceback. `TORE_DEBUG=1` shows the traceback behind every sentence. docs/ARCHITECTURE.md lists the exit codes.
"""

from __future__ import annotations

import functools
import math
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Protocol

from tore_runtime.files import SHARED_MEMORY, OutputError, is_full_disk
from tore_runtime.streams import Guarded, guarded_streams

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_READER_GONE = 128 + signal.SIGPIPE
EXPECTED = (ValueError, OSError, ImportError, MemoryError)  # what the code raises on purpose, and the machine
ENDING_SIGNALS, STOP_SIGNALS = (  # that end a command cleanly, and that ask a training run to save and leave
    tuple(getattr(signal, name) for name in names if hasattr(signal, name))
    for names in (("SIGTERM", "SIGHUP"), ("SIGTERM", "SIGINT", "SIGUSR1"))
)
LONGEST = 1200  # characters of a message
SMALLER = "use a smaller batch or image"
NO_SHARED_MEMORY = "/dev/shm is too small for the loading processes; use --num_workers 0, or make /dev/shm larger"
# Marks in the text of a RuntimeError -> what to tell.
RUNTIME_FAULTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (SHARED_MEMORY, NO_SHARED_MEMORY),
    (("CUDA out of memory", "out of memory on device", "MPS backend out of memory"), f"out of memory; {SMALLER}"),
    (("can't allocate memory", "not enough memory"), f"this machine's memory is used up; {SMALLER}"),
    (("killed by signal: Killed",), "a loading process was killed, as for want of memory; use fewer --num_workers"),
    (("Could not determine home directory",), "there is no home folder for made files; set TORE_CACHE_DIR to a folder"),
    (("Could not infer the home", "No usable temporary directory"), "set TMPDIR to a folder that can be written"),
)
FLAG = re.compile(r"--[a-z][\w-]*")
# Other name of a flag -> the one that the running command was given.
_spellings: ContextVar[dict[str, str] | None] = ContextVar("_spellings", default=None)
IN_WORKER = "DataLoader worker process"  # in front of an error that comes from a loading process, with its traceback


class Main(Protocol):
    """A command: takes its arguments (None: the process's own) and returns its exit code."""

    __name__: str

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs."""


def entry_point(name: str, *, interrupted: str = "interrupted") -> Callable[[Main], Main]:
    """Decorates the `main` of a command, which `name` calls by in its messages.

    interrupted: what is said where Ctrl-C ends it. The decorated function returns the exit code and raises only what
    is a fault of this project, or the SystemExit of --help and of wrong flags.
    """

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def guarded(argv: Sequence[str] | None = None) -> int:
            with guarded_streams(), _quiet_workers(), _quiet_pillow():
                given = list(sys.argv[1:] if argv is None else argv)
                spellings: dict[str, str] = {}
                before = _spellings.set(spellings)
                try:
                    with _ending_signals():
                        code = main(argv)
                except SystemExit as stop:
                    if _flushed(name, 0) == EXIT_READER_GONE and not stop.code:
                        return EXIT_READER_GONE
                    raise
                except KeyboardInterrupt:
                    return _tell(name, interrupted, EXIT_INTERRUPTED)
                except Exception as error:
                    code = _tell(name, as_typed(sentence_of(error, given), spellings), EXIT_BAD_INPUT)
                finally:
                    _spellings.reset(before)
                return _flushed(name, code)

        guarded.__guarded__ = True  # type: ignore[attr-defined]
        return guarded

    return decorate


def note_spellings(spellings: Mapping[str, str]) -> None:
    """Tells the running command which of the names of its flags it was given, for its messages."""
    noted = _spellings.get()
    if noted is not None:
        noted.update(spellings)


def check_numbers(args: object, least: Mapping[str, int], above_0: Sequence[str] = ()) -> None:
    """ValueError where a flag's number cannot be: below its `least`, or not finite and above 0. None is no number.

    Both name attributes of the parsed flags, so that this is told before anything is read.
    """
    for dest, low in least.items():
        value = getattr(args, dest)
        if value is not None and value < low:
            raise ValueError(f"--{dest} {value}: give {low} or more")
    for dest in above_0:
        value = getattr(args, dest)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{dest} {value:g}: give a number above 0")


def as_typed(text: str, spellings: Mapping[str, str]) -> str:
    """A message with its flags spelled as on the command line. `spellings`: another name -> the typed one."""
    return FLAG.sub(lambda found: spellings.get(found.group(), found.group()), text)


def sentence_of(error: Exception, argv: Sequence[str] = ()) -> str:
    """What a user is told of an error, on one line. Raises `error` itself where it is none that a user can mend."""
    if isinstance(error, OutputError):
        flag = flag_of(error.path, argv)
        return _one_line(error.sentence(f"another {flag}" if flag else "another place"))
    if isinstance(error, RecursionError):
        return "an input is nested too deep to be read (TORE_DEBUG=1 shows which)"
    if is_full_disk(error):
        if _in_locks(error):
            return NO_SHARED_MEMORY
        return "no space is left on the device for what is written; make room or name another place (--output_dir)"
    text = str(error)
    if isinstance(error, RuntimeError | OSError):
        told = next((told for marks, told in RUNTIME_FAULTS if any(mark in text for mark in marks)), None)
        if told is not None:
            return told
    if isinstance(error, MemoryError) and not text:
        return f"this machine's memory is used up; {SMALLER}"
    if not isinstance(error, EXPECTED):
        raise error
    if isinstance(error, OSError) and error.errno is not None:
        return _one_line(_system_sentence(error, argv))
    return _one_line(_from_worker(text)) or type(error).__name__


def flag_of(path: Path, argv: Sequence[str]) -> str | None:
    """The flag of the command line whose value leads to `path`, the longest such value first; None where none does."""
    place, found = os.path.abspath(path), {}  # noqa: PTH100
    flags = [part.partition("=") for part in argv]
    for (flag, equals, value), following in zip(flags, [*argv[1:], ""], strict=True):
        given = value if equals else following
        if flag.startswith("--") and given and not given.startswith("--"):
            root = os.path.abspath(given)  # noqa: PTH100
            if place == root or place.startswith(root.rstrip(os.sep) + os.sep):
                found[len(root)] = flag
    return found[max(found)] if found else None


def _system_sentence(error: OSError, argv: Sequence[str]) -> str:
    """An error of the system as a sentence: the file, the reason, and which flag named it."""
    reason = (error.strerror or type(error).__name__).lower()
    if error.filename is None or isinstance(error.filename, int):
        return reason
    path = Path(os.fsdecode(error.filename))
    flag = flag_of(path, argv)
    return f"{path}: {reason}" + (f"; look at what {flag} names" if flag else "")


def _in_locks(error: BaseException) -> bool:
    """Whether the error arose while multiprocessing made a lock, which lies in /dev/shm."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).parts[-2:] == ("multiprocessing", "synchronize.py") for frame in frames)


def _from_worker(text: str) -> str:
    """The message alone of an error that a loading process handed over with its traceback."""
    if not text.startswith("Caught ") or IN_WORKER not in text.splitlines()[0]:
        return text
    last = next(line for line in reversed(text.splitlines()) if line.strip())
    return last.partition(": ")[2] or last


def _one_line(text: str) -> str:
    """On one line, and without most of what a message quotes where that is a whole file."""
    line = " ".join(text.split())
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}"


def _tell(name: str, sentence: str, code: int) -> int:
    """Prints the sentence of an error and returns the exit code."""
    if os.environ.get("TORE_DEBUG", "") not in ("", "0"):
        traceback.print_exc(file=sys.stderr)
    rank = os.environ.get("RANK", "0")
    print(f"{name}: {sentence}" + ("" if rank == "0" else f" [process {rank}]"), file=sys.stderr)
    return code


def _flushed(name: str, code: int) -> int:
    """The exit code after all is printed: that of the work, or 141 where that went well and the reader has gone."""
    sys.stdout.flush()
    out = sys.stdout
    failure = out.failure if isinstance(out, Guarded) else None
    if isinstance(out, Guarded) and failure is not None and not out.abandoned:
        out.abandon()
        if not isinstance(failure, BrokenPipeError):
            reason = getattr(failure, "strerror", None) or failure
            print(f"{name}: what it had to print could not be written ({reason})", file=sys.stderr)
    sys.stderr.flush()
    if isinstance(sys.stderr, Guarded) and sys.stderr.failure is not None:
        sys.stderr.abandon()
    return EXIT_READER_GONE if isinstance(failure, BrokenPipeError) and code == 0 else code


@contextmanager
def _quiet_workers() -> Iterator[None]:
    """Inside, a loading process that dies while the loader is taken down, after its error was told, says no more."""
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not str(unraisable.exc_value).startswith("DataLoader worker (pid"):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Inside, Pillow does not warn of large images and odd metadata, which commands read as they are.

    Filters belong to the whole process and are no matter of one thread: a command in another one leaves them alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


@contextmanager
def _ending_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end the process by SystemExit, so that what is half-written is removed.

    Only in the main thread, where Python takes handlers, and only where nobody else handles the signal.
    """
    owner = os.getpid()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a child process keeps the usual end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise SystemExit(128 + number)

    taken: list[int] = []
    if threading.current_thread() is threading.main_thread():
        taken = [number for number in ENDING_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
