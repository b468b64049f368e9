"""What is written to the error stream is gathered, and the stream is put back."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tore.datasets.images import ERROR_STREAM, decoder_complaints

CLOSED = """
import os, sys
from tore.datasets.images import decoder_complaints
for _ in range(2):
    with decoder_complaints() as lines:
        os.write(2, b"damaged")
    assert lines == ["damaged"], lines
    try:
        os.fstat(2)
    except OSError:
        print("still closed")
"""


def test_threads_get_their_own_lines_and_the_stream_back() -> None:
    def complain(number: int) -> list[str]:
        with decoder_complaints() as lines:
            os.write(ERROR_STREAM, f"{number}\n".encode())
        return lines

    before = os.fstat(ERROR_STREAM)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(complain, range(40))) == [[str(number)] for number in range(40)]
    assert os.path.samestat(os.fstat(ERROR_STREAM), before)


def test_a_closed_stream_stays_closed() -> None:
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, CLOSED]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert answer.splitlines() == ["still closed"] * 2
