"""Data sets: the METRO TSV format, crops and augmentation, samplers, synthetic images, converters."""

from tore.datasets.loader import eval_loader, train_loader
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import TSVSet, join_sets
from tore.datasets.tsv import TSVReader, TSVWriter

__all__ = [
    "MeshDataset",
    "TSVReader",
    "TSVSet",
    "TSVWriter",
    "eval_loader",
    "join_sets",
    "train_loader",
]
