"""What a frozen backbone gives for the images of a training set, stored for several augmentations of each.

A folder holds `stored.json`, which says of what it was made, and a file for every 256 samples of every augmentation,
`augmentation-00-part-00000.npy`: a numpy array whose records are the sample that was read (`row`), the feature map in
16 bits (`map`) and the keypoints (`keypoints`), where the backbone gives some. Each file appears at once, under its
final name, and is read as a memory map.

Augmentation k of a sample has the draws of epoch k of a training that reads the images, by the folder's seed. Labels
are not stored: the same draws give them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tore.datasets.mesh_dataset import MeshDataset, sample_rng
from tore.datasets.sets import set_identity
from tore.files import checksum, read_json, replacing, write_json
from tore.image_format import MOVENET_THUNDER
from tore.modeling.backbones import KEYPOINTS_OF, Backbone, ImageFeatures
from tore.modeling.movenet import MIDDLE

FORMAT = 1
PART = 256  # samples of a file
LIMIT = 25e9  # bytes of a folder
OPEN = 256  # most files that a process keeps open; systems allow 1024 or fewer
RECORD = "stored.json"
WHAT = {"backbone": "backbone", "set": "set", "image": "image format", "augmentation": "augmentation", "shape": "size"}


def origin_of(backbone: Backbone, dataset: MeshDataset, shape: Sequence[int]) -> dict[str, Any]:
    """What stored features depend on but the seed. shape: (C, h, w) of a map."""
    shown = dataset.image_format
    return {
        "backbone": {
            "arch": backbone.arch,
            "keypoints": backbone.keypoints,
            **({"looks": [1.0, MIDDLE]} if backbone.keypoints and backbone.arch == MOVENET_THUNDER else {}),
            "checksum": checksum(backbone.state_dict()),
        },
        "set": set_identity(dataset.rows) | {"body": dataset.layout.kind},
        "image": {"size": shown.size, "mean": list(shown.mean), "std": list(shown.std)},
        "augmentation": {
            "drawn": dataset.train,
            "shift": dataset.ranges.shift,
            "occlusion": dataset.ranges.occlusion,
            "fast_crop": dataset.fast_crop,
            **({"upright": True} if shown.upright else {}),
        },
        "shape": list(shape),
    }


class FeatureStore:
    """A folder of stored features; see the module's text."""

    def __init__(self, folder: str | Path, origin: dict[str, Any], *, seed: int, augmentations: int) -> None:
        """Opens the folder, or makes its record; `seed` counts for a new one, an old one has its own.

        origin: `origin_of` of the run. augmentations: how many of each image there shall be.
        Raises ValueError where the folder is of another origin, or where it would grow beyond `LIMIT`.
        """
        self.folder, self.samples = Path(folder), int(origin["set"]["samples"])
        self.augmentations = augmentations
        fields: list[Any] = [("row", "<i8"), ("map", "<f2", tuple(origin["shape"]))]
        if origin["backbone"]["keypoints"]:
            _, count, numbers = KEYPOINTS_OF[origin["backbone"]["arch"]]
            fields.append(("keypoints", "<f4", (count, numbers)))
        self.record = np.dtype(fields)
        size = self.record.itemsize * self.samples
        if size * augmentations > LIMIT:
            fit = int(LIMIT // size)
            fix = f"give --cache_augmentations {fit}" if fit else "train on images, or on fewer of them"
            raise ValueError(
                f"--cache_features {folder}: {augmentations} augmentations of {self.samples} images would take "
                f"{size * augmentations / 1e9:.1f} GB, more than {LIMIT / 1e9:.0f}; {fix}"
            )
        path, wanted = self.folder / RECORD, {"format": FORMAT, **origin}
        if not path.is_file():
            write_json(path, {**wanted, "seed": seed})
        there = read_json(path)
        self._refuse_other(there if isinstance(there, dict) else {}, wanted)
        self.seed = int(there["seed"])
        self.parts = -(-self.samples // PART)
        self.opened: dict[tuple[int, int], np.ndarray] = {}

    def _refuse_other(self, there: dict[str, Any], wanted: dict[str, Any]) -> None:
        if there.get("format") != FORMAT or "seed" not in there:
            raise ValueError(
                f"{self.folder / RECORD} is no record of stored features; name another folder with --cache_features"
            )
        for name, what in WHAT.items():
            if there.get(name) != wanted[name]:
                raise ValueError(
                    f"{self.folder} holds the features of another {what} ({there.get(name)}) than this run's "
                    f"({wanted[name]}); name another folder with --cache_features, or delete this one"
                )

    def path(self, augmentation: int, part: int) -> Path:
        """The file of one part."""
        return self.folder / f"augmentation-{augmentation:02d}-part-{part:05d}.npy"

    def rows_of(self, part: int) -> range:
        """The samples of a part."""
        return range(part * PART, min((part + 1) * PART, self.samples))

    def missing(self) -> list[tuple[int, int]]:
        """The parts that are not there yet, as (augmentation, part)."""
        every = ((augmentation, part) for augmentation in range(self.augmentations) for part in range(self.parts))
        return [each for each in every if not self.path(*each).is_file()]

    def write(self, augmentation: int, part: int, rows: Sequence[int], features: ImageFeatures) -> None:
        """Stores a part, whole or not at all. rows: the samples that were read, (n,); features: of them."""
        records = np.zeros(len(rows), self.record)
        records["row"], records["map"] = rows, features.map.half().cpu().numpy()
        if not np.isfinite(records["map"]).all():
            raise ValueError(f"{self.path(augmentation, part)}: the features lie beyond 16 bits; train on the images")
        if features.keypoints is not None:
            records["keypoints"] = features.keypoints.float().cpu().numpy()
        with replacing(self.path(augmentation, part), sync=True) as temporary, temporary.open("wb") as stream:
            np.save(stream, records)

    def read(self, augmentation: int, index: int) -> tuple[int, dict[str, Tensor]]:
        """The sample that was read for an index, its `features` (C, h, w) float16 and `keypoints` (K, 3 or more)."""
        part, place = divmod(index, PART)
        if (augmentation, part) not in self.opened:
            if len(self.opened) >= OPEN:
                self.opened.pop(next(iter(self.opened)))  # the one that was opened first
            self.opened[augmentation, part] = self._open(augmentation, part)
        record = self.opened[augmentation, part][place]
        stored = {"features": torch.from_numpy(np.array(record["map"]))}
        if "keypoints" in (self.record.names or ()):
            stored["keypoints"] = torch.from_numpy(np.array(record["keypoints"]))
        return int(record["row"]), stored

    def _open(self, augmentation: int, part: int) -> np.ndarray:
        path = self.path(augmentation, part)
        try:
            records = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it, and the run makes it anew") from None
        if records.dtype != self.record or len(records) != len(self.rows_of(part)):
            raise ValueError(f"{path} does not hold this set's features; delete it, and the run makes it anew")
        return records


class StoredFeatures(MeshDataset):
    """A training set whose samples have `features`, and `keypoints` where there are some, in place of `image`.

    Epoch e reads augmentation e modulo their number. `seed` chooses the order of the samples alone.
    """

    store: FeatureStore

    def __getitem__(self, index: int) -> dict[str, Any]:
        augmentation = int(self._epoch) % self.store.augmentations
        row, stored = self.store.read(augmentation, index)
        return self.targets(row, sample_rng(self.store.seed, augmentation, row) if self.train else None) | stored
