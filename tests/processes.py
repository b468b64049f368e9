"""Several training processes without several imports.

One helper process imports torch and the tools once and computes nothing, so that it can be forked safely; every
process that a test starts is a fork of it, with a rank and an output file of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")


def environment(**more: str) -> dict[str, str]:
    """The environment of a test's subprocess: this checkout's code, one thread, no cluster."""
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'manopth'}", "OMP_NUM_THREADS": "1", **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _child(request: dict[str, Any]) -> None:
    """Runs `module:function(*arguments)`; what it returns is the exit code."""
    code = 1
    try:
        os.setsid()
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(request["environment"])
        module, function = request["target"].split(":")
        code = getattr(importlib.import_module(module), function)(*request["arguments"]) or 0
    except SystemExit as leave:
        code = int(leave.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """The helper's life: a JSON request a line (start or wait), a JSON answer a line."""
    import torch

    import tore.cli.evaluate
    import tore.tools.run_tore_fm_bodymesh
    import tore.tools.run_tore_m_bodymesh  # noqa: F401

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer: int | None = None
            end = time.monotonic() + request["seconds"]
            while answer is None and time.monotonic() < end:
                pid, status = os.waitpid(request["wait"], os.WNOHANG)
                if pid:
                    answer = os.waitstatus_to_exitcode(status)
                else:
                    time.sleep(0.01)
            answers.write(json.dumps(answer) + "\n")
        else:
            pid = os.fork()
            if pid == 0:
                _child(request)
            answers.write(json.dumps(pid) + "\n")


@cache
def _helper() -> subprocess.Popen[str]:
    code = "from tests.processes import serve; serve()"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), stdin=-1, stdout=-1, text=True, bufsize=1
    )


def _ask(request: dict[str, Any]) -> Any:
    helper = _helper()
    assert helper.stdin is not None and helper.stdout is not None
    helper.stdin.write(json.dumps(request) + "\n")
    answer = helper.stdout.readline()
    assert answer, "the helper process ended"
    return json.loads(answer)


@dataclass
class Child:
    """A process that leads its own group, and the file that holds what it said."""

    pid: int
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text()

    def wait(self, seconds: float = 120) -> int:
        """Its exit code, negative for the signal that ended it; it is killed when it takes too long."""
        code = _ask({"wait": self.pid, "seconds": seconds})
        if code is None:
            self.kill()
            raise TimeoutError(f"a test process took more than {seconds} s: {self.said}")
        return code

    def kill(self) -> None:
        """kill -9 of the process and its workers."""
        os.killpg(self.pid, signal.SIGKILL)
        _ask({"wait": self.pid, "seconds": 10})


def start(target: str, arguments: Sequence[Any], output: Path, **more: str) -> Child:
    """Starts `module:function(*arguments)`, which are JSON values; `more` goes into its environment."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.touch()
    request = {"target": target, "arguments": list(arguments), "output": str(output), "environment": more}
    return Child(_ask(request), output)


def start_ranks(target: str, arguments: Sequence[Any], size: int, folder: Path) -> list[Child]:
    """`size` processes with the environment that a launcher gives them."""
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        start(target, arguments, folder / f"rank{rank}.txt", RANK=str(rank), LOCAL_RANK=str(rank), **common)
        for rank in range(size)
    ]


def run_ranks(target: str, arguments: Sequence[Any], size: int, folder: Path) -> None:
    """Runs `size` ranks to their end; all of them must succeed."""
    children = start_ranks(target, arguments, size, folder)
    codes = [child.wait() for child in children]
    assert codes == [0] * size, children[0].said
