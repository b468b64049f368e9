"""Means and deviations of MoveNet Thunder's feature maps over a set's images, by which the backbone standardizes them.

    python scripts/feature_statistics.py SET/val.yaml tore/modeling/shipped/movenet_thunder_features.safetensors

The shipped file is of the first 200 images of `tore synth images --body_dir synthetic --val 2000 --train 0`, each under
one draw of the usual augmentation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tore.datasets.mesh_dataset import MeshDataset, sample_rng
from tore.files import write_tensors
from tore.image_format import FORMATS, MOVENET_THUNDER
from tore.modeling.movenet import FOLDED, load_movenet


@torch.no_grad()
def statistics(dataset: MeshDataset, count: int) -> dict[str, torch.Tensor]:
    """`mean` and `deviation` (480,) of the channels of the folded maps, coarsest last."""
    network, sums, squares = load_movenet("thunder"), 0.0, 0.0
    for index in range(min(count, len(dataset))):
        image = dataset.sample(index, sample_rng(0, 0, index))["image"]
        maps = network.features_of_normalized(image[None])[1 : 1 + len(FOLDED)]
        sums = sums + torch.cat([values[0].double().mean((1, 2)) for values in maps])
        squares = squares + torch.cat([values[0].double().square().mean((1, 2)) for values in maps])
    mean = sums / min(count, len(dataset))
    deviation = (squares / min(count, len(dataset)) - mean.square()).sqrt()
    return {"mean": mean.float(), "deviation": deviation.float()}


def main() -> None:
    """Reads the set and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=200)
    args = parser.parse_args()
    dataset = MeshDataset(args.set, True, image_format=FORMATS[MOVENET_THUNDER])
    write_tensors(statistics(dataset, args.images), args.out)


if __name__ == "__main__":
    main()
