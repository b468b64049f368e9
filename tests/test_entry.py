"""The door of every command: streams, errors as sentences, exit codes."""

from __future__ import annotations

import errno
import importlib
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.processes import ROOT, environment
from tore import cli
from tore.engine.faults import StopRequest
from tore.files import OutputError
from tore.inference.images import read_image
from tore.paths import default_checkpoint
from tore_runtime.entry import entry_point, flag_of, sentence_of
from tore_runtime.streams import Guarded, guarded_streams, printable

TOOLS = sorted(path.stem for path in (ROOT / "tore" / "tools").glob("run_*.py"))
COMMANDS = sorted(
    path.stem for path in (ROOT / "tore" / "cli").glob("[a-z]*.py") if "\ndef main(" in path.read_text(encoding="utf-8")
)
CHECKPOINT = str(default_checkpoint("body"))


def failing(error: BaseException) -> Callable[[list[str]], int]:
    @entry_point("tore try")
    def main(argv=None) -> int:
        raise error

    return main


def run_entry(arguments: list[str], **streams: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment(), timeout=120, **streams)


# ---- every command goes through the door


def test_every_tool_is_a_verb_and_every_verb_a_tool() -> None:
    commands = {f"tore.tools.{name}" for name in TOOLS} | {f"tore.cli.{name}" for name in COMMANDS}
    assert commands == {module for module, _ in cli.VERBS.values()}


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_command_is_guarded(verb: str, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    module = importlib.import_module(cli.VERBS[verb][0])
    assert module.main.__guarded__
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as stop:
        module.main(["--help"])
    assert stop.value.code == 0 and sys.stdout is None
    with pytest.raises(SystemExit) as stop:
        module.main(["--no_such_flag"])
    assert stop.value.code == 2


# ---- errors


def oserror(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("x.yaml: no img"), "x.yaml: no img"),
        (FileNotFoundError("x.bin is missing: get it"), "x.bin is missing: get it"),
        (ImportError("pip install trimesh"), "pip install trimesh"),
        (oserror(errno.ENOTDIR, "a/b.json"), "a/b.json: not a directory; look at what --json names"),
        (oserror(errno.ENOSPC), "no space is left"),
        (RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0"), "no space is left"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), "--output_dir"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible"), "--num_workers 0"),
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_7>: No space left on device (28)"),
            "/dev/shm is too small",
        ),
        (RuntimeError("unable to write to file </torch_12_3>: No space left on device (28)"), "/dev/shm is too small"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "smaller batch"),
        (MemoryError(), "memory is used up"),
        (RuntimeError("Could not determine home directory."), "TORE_CACHE_DIR"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deep"),
        (
            ValueError("Caught ValueError in DataLoader worker process 0.\nOriginal:\n  x\nValueError: row 3\n"),
            "tore try: row 3",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(error, told, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(error)(["--json", "a/b.json"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("tore try: ") and told in text
    assert text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize("error", [KeyError("pose"), TypeError("no"), AttributeError("x"), RuntimeError("shape")])
def test_a_fault_of_the_project_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        failing(error)([])
    assert raised.value is error


def test_tracebacks_can_be_asked_for(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TORE_DEBUG", "1")
    assert failing(ValueError("bad"))([]) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text and text.endswith("tore try: bad\n")


def test_a_process_of_many_says_which_it_is(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "3")
    assert failing(ValueError("bad"))([]) == 2
    assert capsys.readouterr().err == "tore try: bad [process 3]\n"


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(KeyboardInterrupt())([]) == 130
    assert capsys.readouterr().err == "tore try: interrupted\n"


def test_the_flag_that_named_a_place_is_found() -> None:
    argv = ["--out", "runs", "--json=runs/deep/x.json", "--quiet", "--name", "other"]
    assert flag_of(Path("runs/a/b"), argv) == "--out"
    assert flag_of(Path("runs/deep/x.json"), argv) == "--json"
    assert flag_of(Path("runs2"), argv) is None
    error = OutputError(Path("runs/a"), "no space is left on the device", full=True)
    told = "runs/a cannot be written: no space is left on the device; make room or name another"
    assert sentence_of(error, argv) == f"{told} --out"
    assert str(error) == f"{told} place"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path) == (str(error), error.path)


def test_a_signal_ends_a_command_like_an_exception(tmp_path: Path) -> None:
    @entry_point("tore try")
    def main(argv=None) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)
        finally:
            (tmp_path / "cleaned").touch()
        return 0

    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 143 and (tmp_path / "cleaned").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_thread_installs_no_handlers() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    seen = []

    @entry_point("tore try")
    def main(argv=None) -> int:
        with StopRequest() as stop:
            seen.append((stop.name, {number: signal.getsignal(number) for number in before}))
        return 7

    thread = threading.Thread(target=lambda: seen.append(main([])))
    thread.start()
    thread.join()
    assert seen == [(None, before), 7]


# ---- streams


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"), [(BrokenPipeError(), 141), (oserror(errno.ENOSPC), 0), (ValueError("closed file"), 0)]
)
def test_work_goes_on_where_printing_fails(error, code, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = []

    @entry_point("tore try")
    def main(argv=None) -> int:
        sys.stdout.write("a\n")
        sys.stdout.write("b\n")
        sys.stdout.flush()
        done.append(1)
        return 0

    monkeypatch.setattr(sys, "stdout", Broken(error))
    assert main([]) == code and done == [1]
    assert ("could not be written" in capsys.readouterr().err) == (code == 0)


def test_the_code_of_work_that_failed_stays(monkeypatch) -> None:
    @entry_point("tore try")
    def main(argv=None) -> int:
        sys.stdout.write("a")
        return 1

    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    assert main([]) == 1


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("größe", "utf-8", "größe"),
        ("gr\udcf6\udcdfe", "utf-8", "gr\\udcf6\\udcdfe"),
        ("größe", "ascii", "gr\\u00f6\\u00dfe"),
        ("a😀", "latin-1", "a\\ud83d\\ude00"),
        ("größe", "latin-1", "größe"),
        ("x\udcff", None, "x\\udcff"),
    ],
)
def test_letters_without_bytes_are_escaped_as_json_does(text: str, encoding: str | None, shown: str) -> None:
    assert printable(text, encoding) == shown
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding or "utf-8")
    guarded = Guarded(stream)
    guarded.write(text)
    guarded.flush()
    assert guarded.failure is None and stream.buffer.getvalue().decode(encoding or "utf-8") == shown


def test_a_command_keeps_pillows_warnings_to_itself(tmp_path: Path) -> None:
    """And no other's; in another thread than the main one it leaves the process's filters alone."""
    Image.new("L", (8, 6)).save(tmp_path / "odd.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    inside: list[list] = []

    @entry_point("tore test")
    def read(argv: Sequence[str] | None = None) -> int:
        inside.append(list(warnings.filters))
        read_image(tmp_path / "odd.png")
        warnings.warn("of the command's own", stacklevel=1)
        return 0

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        assert read([]) == 0 and warnings.filters == before and inside[0] != before
        assert [str(one.message) for one in caught] == ["of the command's own"]
        other = threading.Thread(target=read, args=([],))
        other.start()
        other.join()
        assert inside[1] == before and any("EXIF" in str(one.message) for one in caught)


def test_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    with guarded_streams():
        inside = sys.stdout
        with guarded_streams():
            assert sys.stdout is inside
        assert sys.stdout is inside
    assert (sys.stdout, sys.stderr) == before


INFO = {
    "verb": ["-m", "tore", "info", CHECKPOINT],
    "module": ["-m", "tore.cli.info", CHECKPOINT],
    "script": ["tore/cli/info.py", CHECKPOINT],
}


@pytest.mark.parametrize("way", INFO)
def test_streams_of_a_process(way: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = run_entry(INFO[way], stdout=gone, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        done = run_entry(INFO[way], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 0
    assert done.stderr == b"tore info: what it had to print could not be written (No space left on device)\n"


def test_closed_streams_of_a_process() -> None:
    command = f"{sys.executable} -m tore info {CHECKPOINT}"
    for closing in (">&-", ">&- 2>&-", "2>&- >/dev/full", "<&- >&- 2>&-"):
        assert subprocess.run(["bash", "-c", f"{command} {closing}"], cwd=ROOT, env=environment()).returncode == 0
