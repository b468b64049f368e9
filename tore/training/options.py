"""The machinery under a configuration: frozen dataclasses of plain values, each checked when it is made.

A field is named as its flag is, without the dashes; `option` says which values it can have.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from tore.paths import BODY_DIR_ALIASES

# Option -> old word -> new word; the old ones are taken until version 0.3.
VALUE_ALIASES: dict[str, dict[str, str]] = {
    "body_dir": BODY_DIR_ALIASES,
    "form": {"fast": "openvino"},
    "schedule": {"published": "official"},
}

# Old name of an option -> its name, in files and training states of earlier versions.
OLD_OPTION_NAMES = {
    "resume_checkpoint": "checkpoint",
    "warm_start": "pretrained",
    "warm_start_rooms": "pretrained_parts",
    "template_start": "template_initialization",
    "camera_start": "camera_initialization",
}
NAMED_LEVELS = 4  # how deep options lie at most in such files; below, nothing is renamed


def current_names(content: Any, levels: int = NAMED_LEVELS) -> Any:
    """A configuration's plain values, sections and `given` included, by today's names of the options.

    Raises ValueError where an option is there by both names.
    """
    if not isinstance(content, dict) or not levels:
        return content
    names = OLD_OPTION_NAMES
    if both := sorted(f"{old} and {new}" for old, new in names.items() if old in content and new in content):
        raise ValueError(f"{', '.join(both)} are names of one option; keep one of them")
    found = {names.get(key, key): current_names(value, levels - 1) for key, value in content.items()}
    if isinstance(found.get("given"), list):
        found["given"] = [names.get(name, name) for name in map(str, found["given"])]
    return found


def current_value(name: str, value: Any) -> Any:
    """An option's value in today's word for it."""
    return VALUE_ALIASES.get(name, {}).get(value, value) if isinstance(value, str) else value


def option(default: Any, *, choices: Sequence[str] | None = None, least: float | None = None) -> Any:
    """A field with its default, the values to choose from, and the least number that can be."""
    return field(default=default, metadata={"choices": choices, "least": least})


@dataclass(frozen=True)
class Options:
    """Plain values by name. Raises ValueError, naming the flag, for a value that cannot be."""

    def __post_init__(self) -> None:
        """Checks every value; whole numbers become floats, and lists tuples, where the field is one."""
        kind: Any = type(self)
        for each in fields(self):
            if each.metadata:
                object.__setattr__(self, each.name, checked(each, getattr(self, each.name), _hints(kind)))

    @classmethod
    def names(cls) -> list[str]:
        """The names of its options."""
        return [each.name for each in fields(cls) if each.metadata]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Option -> default."""
        return {each.name: each.default for each in fields(cls) if each.metadata}

    @classmethod
    def choices(cls, name: str) -> tuple[str, ...]:
        """What the option may be; none where it is free."""
        return tuple(next(each for each in fields(cls) if each.name == name).metadata["choices"] or ())

    def plain(self) -> dict[str, Any]:
        """Option -> value, as JSON and YAML take them: tuples as lists."""
        values = {name: getattr(self, name) for name in self.names()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a class's fields."""
    return get_type_hints(kind)


def checked(each: dataclasses.Field[Any], value: Any, hints: Mapping[str, Any]) -> Any:
    """The value as its field holds it. ValueError where it cannot be."""
    fitted = _fitted(current_value(each.name, value), hints[each.name])
    if fitted is _UNFIT:
        raise ValueError(f"--{each.name} {value_text(value)} cannot be; use {_kind_text(hints[each.name])}")
    least, choices = each.metadata["least"], each.metadata["choices"]
    if least is not None and fitted is not None and (not fitted >= least or math.isinf(fitted)):
        raise ValueError(f"--{each.name} {fitted:g} cannot be; use {least} or more")
    wrong = [item for item in (fitted if isinstance(fitted, tuple) else (fitted,)) if item not in (choices or (item,))]
    if fitted is not None and wrong:
        raise ValueError(f"--{each.name} {value_text(wrong[0])} cannot be; use one of {', '.join(choices)}")
    return fitted


_UNFIT = object()


def _fitted(value: Any, hint: Any) -> Any:
    """The value as a `hint`, `_UNFIT` where it is none. A text such as 1e-4, which YAML takes for one, is a number."""
    if get_origin(hint) is tuple:
        inner = [_fitted(item, get_args(hint)[0]) for item in value] if isinstance(value, list | tuple) else [_UNFIT]
        return _UNFIT if any(item is _UNFIT for item in inner) else tuple(inner)
    if get_args(hint):  # a union with None
        (known,) = (part for part in get_args(hint) if part is not NoneType)
        return None if value is None else _fitted(value, known)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            return _UNFIT
    return value if type(value) is hint else _UNFIT


def _kind_text(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) is tuple:
        return f"a list, each {_kind_text(get_args(hint)[0])}"
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
    return " or ".join(kinds[part] for part in (get_args(hint) or (hint,)) if part in kinds) or "a list of them"


def value_text(value: Any) -> str:
    """A flag's value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return (" " if isinstance(value, list) else ",").join(map(value_text, value))
    return str(value)


def flag_text(name: str, value: Any) -> str:
    """An option with its value, as on a command line."""
    return f"--{name}" if value is True else f"--{name} {value_text(value)}"


def refuse_unknown(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """ValueError naming what is in `names` and not in `known`."""
    if unknown := sorted(map(str, set(names) - set(known))):
        raise ValueError(f"{what} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
