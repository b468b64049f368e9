"""A pickle that asks for a call, and what every refusal of a file must look like."""

from __future__ import annotations

from pathlib import Path

import pytest


def one_sentence(path: Path, error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return message


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call
