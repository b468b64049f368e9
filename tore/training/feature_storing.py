"""Makes the stored features of a run's training set, once, where parts of them are missing."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from tore.datasets.loader import start_worker, use_one_opencv_thread
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.stored_features import FeatureStore, StoredFeatures, origin_of
from tore.engine.distributed import Processes
from tore.modeling.backbones import Backbone, ImageFeatures
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO

BATCH = 16
LINE_SECONDS = 30.0  # between two lines on the progress


def stored_dataset(
    model: FastMETRO | METRO,
    options: dict[str, Any],
    *,
    folder: str | Path,
    augmentations: int,
    workers: int,
    processes: Processes,
    say: Callable[[str], None],
) -> StoredFeatures:
    """The training set of stored features; those that are missing are made first, a share by each process.

    model: the run's network, whose frozen backbone is stored. options: of `MeshDataset`. A stopped run resumes at the
    first part of 256 samples that is missing. Raises ValueError for a backbone that is trained and for another folder.
    """
    if not model.config.frozen_backbone:
        raise ValueError(
            "--cache_features stores what a frozen backbone gives, and this run trains its backbone; add "
            "--freeze_backbone true, or leave --cache_features out"
        )
    dataset, backbone = StoredFeatures(**options), model.backbone
    augmentations = augmentations if dataset.train else 1
    side, device = model.config.image_size, processes.device
    with torch.no_grad():
        shape = _features(backbone(torch.zeros(1, 3, side, side, device=device))).map.shape[1:]
    origin = origin_of(backbone, dataset, shape)
    if processes.is_main:
        FeatureStore(folder, origin, seed=dataset.seed, augmentations=augmentations)
    processes.barrier()
    store = dataset.store = FeatureStore(folder, origin, seed=dataset.seed, augmentations=augmentations)
    missing = store.missing()
    processes.barrier()  # all have seen the same parts missing before one of them writes
    if missing:
        images = MeshDataset(**{**options, "seed": store.seed})
        _store(backbone, images, store, missing[processes.rank :: processes.size], workers, device, say)
        processes.barrier()
    say(f"training on stored features in {store.folder}: {augmentations} augmentations, drawn by seed {store.seed}")
    return dataset


def _store(
    backbone: Backbone,
    images: MeshDataset,
    store: FeatureStore,
    missing: list[tuple[int, int]],
    workers: int,
    device: torch.device,
    say: Callable[[str], None],
) -> None:
    """Reads, crops and stores part by part; `workers` processes read ahead. The backbone runs channels last."""
    optimized = copy.deepcopy(backbone).to(memory_format=torch.channels_last)
    if workers:
        use_one_opencv_thread()
    said = begun = time.monotonic()
    say(f"storing features in {store.folder}: {len(missing)} parts are missing")
    for done, (augmentation, part) in enumerate(missing, 1):
        images.set_epoch(augmentation)
        loader = DataLoader(
            images,
            batch_size=BATCH,
            sampler=store.rows_of(part),
            num_workers=workers,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # training's own draws stay as they are
        )
        rows: list[int] = []
        found: list[ImageFeatures] = []
        for batch_rows, features in _computed(optimized, loader, device):
            rows += batch_rows
            found.append(features)
        points = [each.keypoints for each in found if each.keypoints is not None]
        joined = ImageFeatures(torch.cat([each.map for each in found]), torch.cat(points) if points else None)
        store.write(augmentation, part, rows, joined)
        if time.monotonic() - said > LINE_SECONDS or done == len(missing):
            said = time.monotonic()
            left = (said - begun) / done * (len(missing) - done)
            say(f"stored {done} of {len(missing)} parts, about {left / 60:.0f} minutes left")


@torch.no_grad()
def _computed(
    backbone: nn.Module, loader: DataLoader, device: torch.device
) -> Iterator[tuple[list[int], ImageFeatures]]:
    """The samples of each batch and what the backbone gives for them, the map in 16 bits, on the CPU."""
    for batch in loader:
        features = _features(backbone(batch["image"].to(device)))
        keypoints = None if features.keypoints is None else features.keypoints.cpu()
        yield batch["index"].tolist(), ImageFeatures(features.map.half().cpu(), keypoints)


def _features(given: torch.Tensor | ImageFeatures) -> ImageFeatures:
    return ImageFeatures(given, None) if isinstance(given, torch.Tensor) else given
