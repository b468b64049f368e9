"""Means and deviations of a pose network's feature maps over a set's images, by which the backbone standardizes them.

    python scripts/feature_statistics.py SET/val.yaml movenet-thunder --weights google.safetensors --out FILE
    python scripts/feature_statistics.py HANDS/val.yaml mediapipe-hand --out FILE

The shipped files are of Google's networks and the first 200 images of `tore synth images --body_dir synthetic
--val 2000 --train 0`, and of hands of `--body hand --val 500`, each image under one draw of the usual augmentation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tore.datasets.mesh_dataset import MeshDataset, sample_rng
from tore.files import write_tensors
from tore.image_format import FORMATS, MEDIAPIPE_HAND, MOVENET_THUNDER
from tore.modeling.backbones import KEYPOINTS_OF
from tore.modeling.mediapipe_hand import load_hand_landmarks
from tore.modeling.movenet import FOLDED, load_movenet

Maps = Callable[[Tensor], Sequence[Tensor]]  # from images to the maps whose channels are standardized, coarsest last


def maps_of(arch: str, weights: Path | None) -> Maps:
    """The maps of a pose network."""
    if arch == MOVENET_THUNDER:
        thunder = load_movenet("thunder", weights)
        return lambda images: thunder.features_of_normalized(images)[1 : 1 + len(FOLDED)]
    hand = load_hand_landmarks(weights)
    return lambda images: (hand(images).features,)


@torch.no_grad()
def statistics(dataset: MeshDataset, maps: Maps, count: int) -> dict[str, Tensor]:
    """`mean` and `deviation` (C,) of the channels of the maps."""
    sums, squares = 0.0, 0.0
    for index in range(min(count, len(dataset))):
        image = dataset.sample(index, sample_rng(0, 0, index))["image"]
        found = maps(image[None])
        sums = sums + torch.cat([values[0].double().mean((1, 2)) for values in found])
        squares = squares + torch.cat([values[0].double().square().mean((1, 2)) for values in found])
    mean = sums / min(count, len(dataset))
    deviation = (squares / min(count, len(dataset)) - mean.square()).sqrt()
    return {"mean": mean.float(), "deviation": deviation.float()}


def main() -> None:
    """Reads the set and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("arch", choices=(MOVENET_THUNDER, MEDIAPIPE_HAND))
    parser.add_argument("--out", required=True, type=Path, help="the safetensors file to write")
    parser.add_argument("--weights", type=Path, help="of the network, by scripts/convert_*.py [what ships]")
    parser.add_argument("--images", type=int, default=200)
    args = parser.parse_args()
    dataset = MeshDataset(args.set, True, KEYPOINTS_OF[args.arch][0], image_format=FORMATS[args.arch])
    write_tensors(statistics(dataset, maps_of(args.arch, args.weights), args.images), args.out)


if __name__ == "__main__":
    main()
