"""Times one sample of the data set against a plain transcription of the official loader, in one run; and the checker.

`fast` is `--fast_crop`, with its difference from the official crop in colors of 0..255; `decoding` is reading the
row, base64 and JPEG alone, of the whole image and of no more than the crop reads.

    python -m benchmarks.item [--side 1000] [--scale 3] [--items 60] [--plain_memory]

One JPEG image of `side` x `side` pixels, a box of 200 * scale pixels; one OpenCV thread as in a loader's worker, and
freed memory kept as in our training and evaluation. Both sides read the same rows and take the same random draws.
"""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import RandomState

from tests import rules
from tests.datasets import published_crop
from tests.datasets.data_sets import consistent_person, encode, image_row, write_set
from tore.datasets.augmentation import Draw, augment_pose, draw_augmentation, draw_mask
from tore.datasets.images import decode_bgr
from tore.datasets.inspection.checking import check_set
from tore.datasets.mesh_dataset import BODY, MeshDataset, drawn_crop
from tore.datasets.tsv import SUFFIX, TSVWriter
from tore.device import keep_freed_memory
from tore.image_format import IMAGE_SIZE, IMAGENET_MEAN, IMAGENET_STD
from tore_runtime.cutting import rows_read

CHECKED_ROWS = 60
TURN = 10


def official_item(dataset: MeshDataset, index: int, rng: RandomState | None) -> np.ndarray:
    """The official loader's work on one sample, step by step; returns the normalized image."""
    person = json.loads(dataset.rows.columns("label", index)[-1])[0]
    data = np.frombuffer(base64.b64decode(dataset.rows.columns("img", index)[-1]), np.uint8)
    image = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    draw = Draw() if rng is None else draw_augmentation(rng, BODY.ranges)
    scale = draw.scale * person["scale"]
    crop = published_crop.crop(image, person["center"], scale, IMAGE_SIZE, draw.rotation)
    if draw.flip:
        crop = np.fliplr(crop)
    for channel in range(3):
        crop[:, :, channel] = np.minimum(255.0, np.maximum(0.0, crop[:, :, channel] * draw.color[channel]))
    planes = torch.from_numpy(np.transpose(crop.astype("float32"), (2, 0, 1)) / 255.0)
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    normalized = (planes - mean) / std
    for joint in person["2d_joints"]:
        at = [joint[0] + 1, joint[1] + 1]
        published_crop.transform(at, person["center"], scale, IMAGE_SIZE, draw.rotation)
    augment_pose(np.array(person["pose"]), draw)
    if rng is not None:
        draw_mask(rng, 14, 0.3), draw_mask(rng, 431, 0.3)
    return normalized.numpy()


def milliseconds(functions: list[Callable[[int], object]], items: int) -> list[np.ndarray]:
    """Time of each of `items` calls of every function.

    They take turns, so that a busy machine slows all alike, of `TURN` calls after one that is not kept, so that each
    finds the processor's caches as it leaves them itself.
    """
    taken = np.empty((len(functions), items))
    for first in range(0, items, TURN):
        turn = range(first, min(first + TURN, items))
        for number, function in enumerate(functions):
            function(first)
            for item in turn:
                start = time.perf_counter()
                function(item)
                taken[number, item] = 1000 * (time.perf_counter() - start)
    return list(taken)


def difference(data: MeshDataset, fast: MeshDataset, rng: Callable[[int], RandomState | None]) -> float:
    """Mean absolute difference of two sets' images, in colors of 0..255."""
    width = 255 * np.array(IMAGENET_STD)[:, None, None]
    pairs = [[each.sample(0, rng(item))["image"].numpy() for each in (data, fast)] for item in range(20)]
    return float(np.mean([np.abs(one - other) * width for one, other in pairs]))


def rows_of(data: MeshDataset, rng: RandomState | None) -> int:
    """How many rows of the image a sample's crop reads."""
    label, draw = data.label(0), Draw() if rng is None else draw_augmentation(rng, BODY.ranges)
    return rows_read(drawn_crop(label, draw))


def decoded(data: MeshDataset, rows: int | None = None) -> np.ndarray:
    """The image as OpenCV gives it, whole or no more than so many rows of it."""
    return decode_bgr(data.rows.columns("img", 0), data.rows.place("img", 0), rows=rows)


def make_set(folder: Path, side: int, scale: float, rows: int, person: dict[str, Any] | None = None) -> Path:
    """A set of one image, repeated: smooth colors and fine noise, about 3 bits per pixel as JPEG.

    person: its label; else one whose joints are those of no body model.
    """
    person = (person or consistent_person(1, side, side)) | {"scale": scale}
    yaml = write_set(folder, [(1, 8, 8)] * rows, [[person]] * rows)
    noise = RandomState(0).standard_normal((side // 4, side // 4, 3)) * 20
    image = rules.photo(1, side, side) + cv2.resize(noise, (side, side))
    data = encode(np.clip(image, 0, 255).astype(np.uint8), ".jpg")
    with TSVWriter(folder / "set.img.tsv") as img, TSVWriter(folder / "set.hw.tsv") as hw:
        for row in range(rows):
            img.write(image_row(f"pictures/{row}.png", data))
            hw.write([f"pictures/{row}.png", json.dumps([{"height": side, "width": side}])])
    return yaml


def checker_speeds(yaml: Path, turns: int = 3) -> list[float]:
    """Median rows per second of the checker, with and without the set's checksum files, alternating."""
    files = {path: path.read_bytes() for path in yaml.parent.glob(f"*{SUFFIX}")}
    speeds = np.empty((turns, 2))
    for turn in range(turns):
        for path, content in files.items():
            path.write_bytes(content)
        speeds[turn, 0] = check_set(MeshDataset(yaml, train=False)).rows_per_second
        for path in files:
            path.unlink()
        speeds[turn, 1] = check_set(MeshDataset(yaml, train=False)).rows_per_second
    return np.median(speeds, 0).tolist()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--plain_memory", action="store_true", help="freed memory goes back to the system")
    options = parser.parse_args()
    if not options.plain_memory:
        keep_freed_memory()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        yaml = make_set(Path(name), options.side, options.scale, CHECKED_ROWS)
        columns = "".join(f"{name:>21}" for name in ("official", "ours", "fast", "decoding whole", "decoding"))
        print(f"{'ms per item':<12}{columns}   (mean, median, least)")
        for split, train in (("evaluation", False), ("training", True)):
            data, fast = (MeshDataset(yaml, train=train, fast_crop=choice) for choice in (False, True))
            rng = (lambda item: RandomState(item)) if train else (lambda item: None)
            for item in range(5):
                ours = data.sample(0, rng(item))["image"].numpy()
                assert np.abs(ours - official_item(data, 0, rng(item))).max() < 1e-5
            rows = [rows_of(data, rng(item)) for item in range(options.items)]
            taken = milliseconds(
                [
                    lambda item, data=data, rng=rng: official_item(data, 0, rng(item)),
                    lambda item, data=data, rng=rng: data.sample(0, rng(item)),
                    lambda item, fast=fast, rng=rng: fast.sample(0, rng(item)),
                    lambda item, data=data: decoded(data),
                    lambda item, data=data, rows=rows: decoded(data, rows[item]),
                ],
                options.items,
            )
            shown = [f"{f(times):7.2f}" for times in taken for f in (np.mean, np.median, np.min)]
            print(f"{split:<12}{''.join(shown)}")
            speeds = " / ".join(f"{1000 / times.mean():.0f}" for times in taken[:3])
            apart = difference(data, fast, rng)
            print(f"{'':<12} images/s of one core: {speeds}; fast differs by {apart:.2f} colors of 255")
        print("checker: {:.0f} rows/s, {:.0f} without checksums".format(*checker_speeds(yaml)))


if __name__ == "__main__":
    main()
