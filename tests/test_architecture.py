"""The arrows between packages point downward only (docs/ARCHITECTURE.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (  # from the lowest; a package imports from layers below its own and from itself
    {"paths", "device", "image_format"},
    {"files", "ops", "geometry"},
    {"body"},
    {"modeling", "visualize"},
    {"losses", "evaluation", "export", "datasets"},
    {"synthetic", "detection"},
    {"engine", "inference"},
    {"training", "motion"},
    {"analysis"},
    {"demo"},
    {"cli"},
    {"tools", "__main__"},
)
RUNTIME = (  # the modules of tore_runtime, likewise; every package of tore may import them
    {"streams", "names", "files", "joints", "crop", "camera", "image_format", "image_files", "rasterizer"},
    {"entry", "cutting", "focal_length", "frames", "parameters", "detector", "sessions", "record", "renderer"},
    {"images", "drawing", "mesh_files", "movenet", "boxes"},
    {"hands", "inputs"},
    {"crops"},
    {"result"},
    {"outputs"},
    {"pipeline", "finding"},
    {"reports", "predictor"},
    {"wanted_people"},
    {"cli"},
)
ALSO = {  # made on first use: the files of the synthetic body where no licensed one is named
    ("body", "synthetic.free_body"),
}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
ANYWHERE = {"__init__", "_moved"}  # the public names, and the old ones


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
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "tore" else {module}
    return {name for name in found if name.split(".")[0] in ("tore", "manopth")}


def allowed(module: str, package: str) -> bool:
    if module.startswith("manopth"):
        return RANK[package] > RANK["paths"]
    inside = module.removeprefix("tore.")
    target = inside.split(".")[0]
    if target == package or target not in RANK or (package, inside) in ALSO:
        return target == package or (package, inside) in ALSO or target == "__version__"
    return RANK[target] < RANK[package]


SOURCES = sorted((ROOT / "tore").rglob("*.py"))
RUNTIME_SOURCES = sorted((ROOT / "tore_runtime").glob("*.py"))
WITHOUT = ("tore", "manopth", "torch", "torchvision", "timm", "safetensors", "scipy", "yaml", "tqdm")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    package = path.relative_to(ROOT / "tore").with_suffix("").parts[0]
    if package in ANYWHERE:
        pytest.skip("holds names of every package")
    wrong = {module for module in imported_modules(path) if not allowed(module, package)}
    assert not wrong, f"{path} imports {sorted(wrong)}"


def test_every_package_has_a_layer() -> None:
    packages = {path.relative_to(ROOT / "tore").parts[0].removesuffix(".py") for path in SOURCES}
    assert packages - ANYWHERE == set(RANK)


def test_few_files_are_short() -> None:
    """One idea is one file; a package's list of public names and the official script names are short."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (*SOURCES, *RUNTIME_SOURCES)}
    short = [str(path.relative_to(ROOT)) for path, length in lengths.items() if length < 60]
    assert len(short) <= 0.15 * len(lengths), f"{len(short)} of {len(lengths)} files under 60 lines: {short}"


def test_the_runtime_stands_alone() -> None:
    """It needs numpy, OpenCV, Pillow and a runtime, and its modules point downward too."""
    rank = {name: layer for layer, names in enumerate(RUNTIME) for name in names} | {"__init__": -1}
    assert {path.stem for path in RUNTIME_SOURCES} == set(rank)
    for path in RUNTIME_SOURCES:
        tree = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        found = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
        found |= {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
        assert not [name for name in found if name.split(".")[0] in WITHOUT], path
        own = {name.removeprefix("tore_runtime.") for name in found if name.startswith("tore_runtime.")}
        assert all(rank[name] < rank[path.stem] for name in own), path


def test_manopth_stands_alone() -> None:
    for path in (ROOT / "manopth").glob("*.py"):
        assert not any(name.startswith("tore") for name in imported_modules(path)), path
