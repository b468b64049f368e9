"""Names: the order in which files follow one another, how they are told, and old names of arguments."""

from __future__ import annotations

import functools
import json
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
NUMBER = re.compile(r"([0-9]+)")
NEGATIVE = re.compile(r"-[0-9]+")  # as a whole name; elsewhere a minus joins words
NINES = str.maketrans("0123456789", "9876543210")
SHOWN_LENGTH = 80  # letters
SHOWN_COUNT = 3

TextKey = tuple[tuple[Any, ...], str]


def natural_key(path: str | Path) -> tuple[TextKey, ...]:
    """Sorts paths as people number them: 1, 2, 10. Folders come first, then the stem, then the ending.

    Runs of digits count by their value wherever they stand; a minus or a point between them is text, but names that
    are negative numbers lie below all others (-2, -1, 0). Where only zeros in front differ, the plain order of the
    letters decides.
    """
    *folders, _ = (whole := Path(path)).parts or ("",)
    return tuple(_text_key(part) for part in (*folders, whole.stem, whole.suffix))


def _text_key(text: str) -> TextKey:
    if NEGATIVE.fullmatch(text):
        digits = text[1:].lstrip("0")
        return ("", (-len(digits), digits.translate(NINES)), ""), text
    parts = NUMBER.split(text)  # text and digits in turn
    values: list[Any] = []
    for index, part in enumerate(parts):
        digits = part.lstrip("0")
        values.append((len(digits), digits) if index % 2 else part)
    return tuple(values), text


def readable(text: str) -> str:
    """A name as text of any encoding that has its letters: bytes that are not UTF-8 become `\\udcXX`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def json_text(values: Any, *, allow_nan: bool = True) -> str:
    """JSON in ASCII, so that it can be read back whatever the names in it are.

    A byte of a file name that is not UTF-8 is written as `\\udcXX`; `json.loads` and `os.fsencode` give the name back.
    """
    return json.dumps(values, allow_nan=allow_nan)


def some(items: Iterable[Any], count: int = SHOWN_COUNT) -> str:
    """The first few items, each shortened, and how many more there are."""
    listed = list(items)
    shown = ", ".join(short(item) for item in listed[:count])
    return shown + (f" and {len(listed) - count} more" if len(listed) > count else "")


def short(value: Any, length: int = SHOWN_LENGTH) -> str:
    """A value on one line, cut where it is long; never more than its first parts are put into words."""
    text = ascii_safe(_repr(value))
    return text if len(text) <= length else f"{text[: length - 3]}..."


def ascii_safe(text: str) -> str:
    """On one line and without bytes that no encoding has."""
    return " ".join(readable(text).split())


def _repr(value: Any, depth: int = 2) -> str:
    """Like `repr`, without walking through long or deep values."""
    if isinstance(value, dict):
        inside = [f"{_repr(k, 0)}: {_repr(v, depth - 1)}" for k, v in list(value.items())[:5]] if depth else []
        return "{" + ", ".join(inside + ["..."] * (len(value) > len(inside))) + "}"
    if isinstance(value, list | tuple):
        inside = [_repr(item, depth - 1) for item in value[:6]] if depth else []
        return "[" + ", ".join(inside + ["..."] * (len(value) > len(inside))) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return "a whole number of more than 30 digits"
    return repr(value[: 2 * SHOWN_LENGTH] if isinstance(value, str) else value)


def renamed_argument(old: str, new: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function that still takes its keyword argument `new` under the name `old`, until version 0.3.

    The old name gives a DeprecationWarning.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def renamed(*args: P.args, **kwargs: P.kwargs) -> R:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(f"{function.__qualname__}() got {new} and its old name {old}; leave {old} out")
                warnings.warn(f"{old}= of {function.__name__} is now {new}=", DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renamed

    return decorate
