"""Images with body or hand labels, cropped and augmented: what training and evaluation read.

A sample depends on (seed, epoch, index) alone, never on the number of workers or on the order of reading.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import MT19937, RandomState, SeedSequence
from torch.utils.data import Dataset

from tore.body.joints import HAND_WRIST, J24_NAMES, J24_PELVIS, NUM_JOINTS
from tore.datasets.augmentation import (
    Draw,
    Ranges,
    augment_joints_2d,
    augment_joints_3d,
    augment_pose,
    draw_augmentation,
    draw_mask,
    draw_more,
    finish_image,
)
from tore.datasets.images import decode_bgr, decode_image, row_key
from tore.datasets.label import Label, parse_label
from tore.datasets.sets import BadSample, BadSampleLog, TSVSet
from tore.image_format import OFFICIAL_FORMAT, ImageFormat
from tore_runtime.crop import PIXELS_PER_SCALE, Crop, upright_hand
from tore_runtime.cutting import crop_image, decoding_reduction, fast_crop, rows_read


@dataclass(frozen=True)
class BodyLayout:
    """All that a body and a hand data set differ in."""

    kind: str  # "body" | "hand"
    joint_tokens: int  # entries of the joint mask
    coarse_vertices: int  # entries of the vertex mask
    joint_rows: tuple[int, ...]  # numbers of labeled joints allowed, the usual one first
    pose_sizes: tuple[int, ...]  # lengths of the pose allowed, the usual one first
    root: int  # row of the joint that 3D joints are relative to
    ranges: Ranges


BODY = BodyLayout("body", NUM_JOINTS["body"], 431, (len(J24_NAMES),), (72,), J24_PELVIS, Ranges(True, 30.0, 0.25, 0.3))
# Official: hand labels may carry the body's 24 joint rows and 72 pose numbers, which are passed on
HAND = BodyLayout("hand", NUM_JOINTS["hand"], 195, (21, 24), (48, 72), HAND_WRIST, Ranges(False, 90.0, 0.25, 0.0))
UPRIGHT_HAND_RANGES = Ranges(False, 14.0, 1 / 7, 0.0)  # crops of 1.5 to 2 times the joints
LAYOUTS = {layout.kind: layout for layout in (BODY, HAND)}


def sample_rng(seed: int, epoch: int, index: int) -> RandomState:
    """The generator of one sample in one epoch."""
    return RandomState(MT19937(SeedSequence([seed, epoch, index])))


def drawn_crop(label: Label, draw: Draw, upright: bool = False) -> Crop:
    """A label's crop, scaled, rotated and shifted as a draw says. ValueError where it has no area.

    upright: a hand's, in place of the label's center and scale, in which its labeled 2D joints stand upright.
    """
    center, scale, rotation = label.center, label.scale, draw.rotation
    if upright:
        joints = label.joints_2d[: NUM_JOINTS["hand"]]
        base = upright_hand(np.where(joints[:, 2:] > 0, joints[:, :2], np.nan))
        center, scale, rotation = np.array(base.center), base.size / PIXELS_PER_SCALE, base.rotation + draw.rotation
    if draw.shift != (0, 0):
        center = center + PIXELS_PER_SCALE * draw.scale * scale * np.array(draw.shift)
    return Crop.of_label(center, draw.scale * scale, rotation)


def cropped(
    image: np.ndarray, crop: Crop, draw: Draw, image_format: ImageFormat, reduction: int | None = None
) -> np.ndarray:
    """What the network sees of an image (H, W, 3) uint8 BGR in a draw's crop: (3, n, n) float32 RGB normalized.

    `reduction`: the image is that many times smaller than the label's, and the crop the fast one.
    """
    size = image_format.size
    pixels = crop_image(image, crop, size) if reduction is None else fast_crop(image, crop, size, reduction)
    return finish_image(pixels[:, :, ::-1], draw, image_format)


class MeshDataset(Dataset):
    """The samples of a yaml set.

    `seed` and `set_epoch` choose the augmentation of `dataset[index]`; `sample` takes a generator instead. With
    `on_bad_sample="skip"`, which is for training only, a row that cannot be used is replaced by the next one that
    can, so that batches keep their size and repeat; `bad_samples` then lists such rows. Else BadSample is raised.
    `views` are further crops of each evaluation image, for test-time augmentation.
    """

    def __init__(
        self,
        yaml: str | Path,
        train: bool,
        body: str = "body",
        seed: int = 0,
        on_bad_sample: str = "raise",
        views: Sequence[Draw] = (),
        fast_crop: bool = False,
        image_format: ImageFormat = OFFICIAL_FORMAT,
        shift: float = 0.0,
        occlusion: float = 0.0,
    ) -> None:
        """`fast_crop`: crops by one affine warp of an image decoded no larger than needed, close to the official.

        image_format: what the network is shown, its `config.image_format`. shift, occlusion: as of `Ranges`.
        """
        if body not in LAYOUTS:
            raise ValueError(f"body kind {body!r} is not known; use 'body' or 'hand'")
        if on_bad_sample not in ("raise", "skip"):
            raise ValueError(f"on_bad_sample {on_bad_sample!r} is not known; use 'raise' or 'skip'")
        if on_bad_sample == "skip" and not train:
            raise ValueError(f"{yaml} is read for evaluation, which never skips a row; use on_bad_sample 'raise'")
        if views and train:
            raise ValueError(f"{yaml} is read for training, which draws its own augmentation; leave views out")
        self.rows, self.views = TSVSet(yaml), tuple(views)
        self.train, self.layout, self.seed, self.on_bad_sample = train, LAYOUTS[body], seed, on_bad_sample
        self.fast_crop, self.image_format = fast_crop, image_format
        if image_format.upright and body != "hand":
            raise ValueError(f"{yaml}: upright crops are of hands; this network recovers no {body}")
        ranges = UPRIGHT_HAND_RANGES if image_format.upright else self.layout.ranges
        self.ranges = replace(ranges, shift=shift, occlusion=occlusion)
        self.bad_samples = BadSampleLog(len(self.rows))
        epoch = torch.zeros((), dtype=torch.int64, device="cpu")
        self._epoch = epoch.share_memory_()  # reaches workers that are already running

    def __len__(self) -> int:
        return len(self.rows)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the draws of `dataset[index]`; call it before an epoch's first batch is drawn."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.rows.path} has {len(self)} samples, {index} is not among them")
        epoch = int(self._epoch)
        for step in range(len(self)):
            candidate = (index + step) % len(self)
            try:
                return self.sample(candidate, sample_rng(self.seed, epoch, candidate) if self.train else None)
            except BadSample:
                if self.on_bad_sample == "raise":
                    raise
                self.bad_samples.mark(candidate)
        raise ValueError(f"{self.rows.path}: none of its {len(self)} samples can be used")

    def bad_sample_summary(self) -> str:
        """How many rows training passed over, and why, for the end of a run."""
        return self.bad_samples.summary(self.sample)

    def label(self, index: int) -> Label:
        """The label of sample `index`, as it lies in the file. BadSample where it cannot be used."""
        place = self.rows.place("label", index)
        return parse_label(self.rows.columns("label", index), place, self.layout.joint_rows, self.layout.pose_sizes)

    def image(self, index: int) -> tuple[str, np.ndarray]:
        """The key and the image (H, W, 3) uint8 RGB of sample `index`. BadSample where it cannot be used."""
        columns = self.rows.columns("img", index)
        return row_key(columns), decode_image(columns, self.rows.place("img", index))

    def picture(self, index: int) -> tuple[str, np.ndarray]:
        """The old name of `image`, until version 0.3."""
        warnings.warn("MeshDataset.picture is now MeshDataset.image", DeprecationWarning, stacklevel=2)
        return self.image(index)

    def _crops(self, index: int, label: Label, draws: Sequence[Draw]) -> tuple[str, list[np.ndarray]]:
        """The image's key and what the network sees of it under each draw; no more of it is decoded than they read.

        ValueError where a box has no pixel or too many.
        """
        upright, size = self.image_format.upright, self.image_format.size
        crops = [drawn_crop(label, each, upright) for each in draws]
        reduction = min(decoding_reduction(crop, size) for crop in crops) if self.fast_crop else None
        rows = max(rows_read(crop, size, reduction or 1) for crop in crops)
        columns = self.rows.columns("img", index)
        image = decode_bgr(columns, self.rows.place("img", index), reduction or 1, rows)
        pairs = zip(crops, draws, strict=True)
        return row_key(columns), [cropped(image, *pair, self.image_format, reduction) for pair in pairs]

    def _compare_keys(self, index: int, label: Label, image_key: str) -> None:
        """Raises BadSample where the rows of one sample have different keys: another image's label is no label."""
        keys = {"img": image_key}
        if "hw" in self.rows.tables:
            keys["hw"] = row_key(self.rows.columns("hw", index))
        for table, key in keys.items():
            if key != label.key:
                text = (
                    f"{self.rows.place(table, index)} has the key {key!r}: the rows belong to different images; put "
                    "the files in the same order, or name the ones that belong together"
                )
                raise BadSample.at(self.rows.place("label", index), label.key, text)

    def sample(self, index: int, rng: RandomState | None = None) -> dict[str, Any]:
        """One sample, its draws taken from `rng` in training; evaluation draws nothing.

        `image` (3, n, n) float32 normalized; `joints_2d` (J, 3) in [-1, 1] of the crop and confidence;
        `joints_3d` (J, 4) meters relative to the pelvis (hand: wrist) and confidence; `pose`, `betas`; `has_*` 0 or 1;
        `joint_mask`, `vertex_mask` 1 kept, 0 masked; `center` in source pixels, `scale` (times 200) and
        `rotation` in degrees of the crop; with views `views` (W, 3, n, n), the image cropped as each of them says.
        """
        label, draw, targets = self._targets(index, rng)
        try:
            key, (image, *views) = self._crops(index, label, (draw, *self.views))
            self._compare_keys(index, label, key)
        except BadSample:
            raise
        except ValueError as error:
            raise BadSample.at(self.rows.place("label", index), label.key, str(error)) from None
        targets |= {"key": key, "image": torch.from_numpy(image)}
        return targets | ({"views": torch.from_numpy(np.stack(views))} if views else {})

    def targets(self, index: int, rng: RandomState | None = None) -> dict[str, Any]:
        """The same without `image` and `views`: no image is read. The draws are the same for the same `rng`."""
        return self._targets(index, rng)[2]

    def _targets(self, index: int, rng: RandomState | None) -> tuple[Label, Draw, dict[str, Any]]:
        label = self.label(index)
        draw, ranges = Draw(), self.ranges
        tokens, vertices, upright = self.layout.joint_tokens, self.layout.coarse_vertices, self.image_format.upright
        joint_mask, vertex_mask = np.ones((tokens, 1), np.float32), np.ones((vertices, 1), np.float32)
        if self.train:
            rng = rng or sample_rng(self.seed, 0, index)
            draw = draw_augmentation(rng, ranges)
            joint_mask = draw_mask(rng, tokens, ranges.mask_share)
            vertex_mask = draw_mask(rng, vertices, ranges.mask_share)
            draw = draw_more(rng, draw, ranges)
        try:
            crop = drawn_crop(label, draw, upright)
            joints_2d = augment_joints_2d(label.joints_2d, crop, draw, self.image_format.size)
        except ValueError as error:
            raise BadSample.at(self.rows.place("label", index), label.key, str(error)) from None
        center, scale = label.center, draw.scale * label.scale
        if upright:
            center, scale = np.array(crop.center), crop.size / PIXELS_PER_SCALE
        rotated, joints_3d = replace(draw, rotation=crop.rotation), label.joints_3d.copy()
        joints_3d[:, :3] -= joints_3d[self.layout.root, :3]
        return (
            label,
            draw,
            {
                "key": label.key,
                "pose": torch.from_numpy(augment_pose(label.pose, rotated)),
                "betas": torch.from_numpy(label.betas.astype(np.float32)),
                "joints_3d": torch.from_numpy(augment_joints_3d(joints_3d, rotated)),
                "joints_2d": torch.from_numpy(joints_2d),
                "has_smpl": label.has_smpl,
                "has_3d_joints": label.has_3d_joints,
                "has_2d_joints": label.has_2d_joints,
                "joint_mask": torch.from_numpy(joint_mask),
                "vertex_mask": torch.from_numpy(vertex_mask),
                "gender": label.gender,
                "center": torch.from_numpy(center.astype(np.float32)),
                "scale": scale,
                "rotation": crop.rotation,
                "index": index,
            },
        )
