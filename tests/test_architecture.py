"""The arrows between rooms point downward only (docs/ARCHITECTURE.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT: dict[str, set[str]] = {
    "paths": set(),
    "device": set(),
    "files": set(),
    "streams": set(),
    "entry": {"files", "streams"},
    "memory": set(),
    "geometry": {"manopth.precision", "manopth.rotations"},
    "body": {"files", "geometry", "paths", "manopth"},
    "modeling": {"files", "geometry", "body", "paths", "device", "manopth.torch_files", "manopth.damage"},
    "visualize": {"files", "geometry", "body.joints"},
    "datasets": {"files", "geometry", "body", "visualize", "paths", "manopth.files"},
    "losses": {"geometry", "body.joints"},
    "evaluation": {"files", "geometry", "body.joints"},
    "engine": {"files", "losses", "evaluation", "geometry", "device", "manopth.torch_files"},
    "deploy": {"modeling", "body"},
    "inference": {"files", "deploy", "modeling", "body", "geometry", "visualize", "datasets", "paths", "device"},
    "cli": {"entry"},
    "__main__": {"cli"},
}


def imported_modules(path: Path) -> set[str]:
    """Absolute names of the tore and manopth modules that a file imports, relative imports resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {module} if node.module else {f"{module}.{alias.name}" for alias in node.names}
            if module in ("tore", "tore.body"):
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("tore", "manopth")}


def allowed(module: str, room: str) -> bool:
    inside = module.removeprefix("tore.")
    if inside.split(".")[0] == room or module == "tore":
        return True
    return any(inside == name or inside.startswith(name + ".") for name in MAY_IMPORT[room])


SOURCES = sorted((ROOT / "tore").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    parts = path.relative_to(ROOT / "tore").with_suffix("").parts
    room = parts[0]
    if room in ("tools", "__init__"):
        pytest.skip("tools and the package door may import every room")
    wrong = {module for module in imported_modules(path) if not allowed(module, room)}
    assert not wrong, f"{path} imports {sorted(wrong)}"


def test_every_room_has_a_rule() -> None:
    rooms = {path.relative_to(ROOT / "tore").parts[0].removesuffix(".py") for path in SOURCES}
    assert rooms - {"tools", "__init__"} == set(MAY_IMPORT)


def test_nobody_imports_tools_but_the_command() -> None:
    for path in SOURCES:
        if path.parent.name != "tools" and path.name != "cli.py":
            assert not any(name.startswith("tore.tools") for name in imported_modules(path)), path


def test_manopth_stands_alone() -> None:
    for path in (ROOT / "manopth").glob("*.py"):
        assert not any(name.startswith("tore") for name in imported_modules(path)), path
