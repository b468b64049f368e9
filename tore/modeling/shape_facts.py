"""What the shapes of a checkpoint's entries, under our names, tell about its network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HAND_VERTICES = 195  # of the coarse mesh
Shapes = Mapping[str, tuple[int, ...]]


def shape_facts(network: str, shapes: Shapes) -> dict[str, Any]:
    """Configuration fields that shapes tell; an entry that is missing leaves its field at the default."""
    facts = _metro_facts(shapes) if network == "metro" else _fastmetro_facts(shapes)
    facts["smpl_regressor"] = any(name.startswith("smpl_regressor.") for name in shapes)
    places = {"shape_regressor.vertex_tokens": 0, "query_tokens.vertices": 0, "upsampling.steps.0.weight": 1}
    if HAND_VERTICES in (shapes[name][axis] for name, axis in places.items() if len(shapes.get(name, ())) > axis):
        facts["body"] = "hand"
    return facts


def _fastmetro_facts(shapes: Shapes) -> dict[str, Any]:
    pairs = {
        "widths": [shapes.get(f"transformer_{i}.encoder_norm.weight") for i in (1, 2)],
        "hidden": [shapes.get(f"transformer_{i}.encoder.0.feed_forward.linear1.weight") for i in (1, 2)],
    }
    facts: dict[str, Any] = {name: tuple(s[0] for s in found if s) for name, found in pairs.items() if all(found)}
    facts["layers"] = _count(shapes, r"transformer_1\.encoder\.(\d+)\.")
    if not any(name.startswith("token_reduction.") for name in shapes):
        return facts | {"image_reduction": "none", "kept_tokens": None}
    return facts | _noted(shapes, {"kept_tokens": ("token_reduction.assign.weight", 0)})


def _metro_facts(shapes: Shapes) -> dict[str, Any]:
    facts = _noted(
        shapes,
        {
            "image_tokens": ("select_tokens.weight", 1),
            "hidden": ("blocks.0.layers.0.intermediate.weight", 0),
            "regressor_hidden": ("shape_regressor.transformer.encoder.0.feed_forward.linear1.weight", 0),
            "camera_hidden": ("camera_head.of_points.weight", 0),
        },
    )
    facts["layers"] = _count(shapes, r"blocks\.0\.layers\.(\d+)\.")
    if regressor_layers := _count(shapes, r"shape_regressor\.transformer\.encoder\.(\d+)\."):
        facts["regressor_layers"] = regressor_layers
    widths = [shapes.get(f"blocks.{i}.embedding.weight", (0,))[0] for i in range(3)]
    if all(widths):
        facts["widths"] = tuple(widths)
    if any(name.startswith("select_tokens.") for name in shapes):
        facts["image_mixing"] = "learned"
    coarse = shapes.get("upsampling.steps.0.weight", ())
    camera = shapes.get("camera_head.of_points.weight", ())
    if len(coarse) == len(camera) == 2:
        facts["camera_points"] = "vertices" if camera[1] == coarse[1] else "all"
    return facts


def _noted(shapes: Shapes, fields: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """Field -> the size of an entry's axis, where the entry is there and has it."""
    return {field: shapes[name][axis] for field, (name, axis) in fields.items() if len(shapes.get(name, ())) > axis}


def _count(names: Iterable[str], pattern: str) -> int:
    """1 + the largest number that the pattern's group takes, 0 when nothing fits."""
    found = (re.match(pattern, name) for name in names)
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)
