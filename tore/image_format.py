"""What the configurations of networks hold of the image that they are shown (`tore_runtime.image_format`)."""

from __future__ import annotations

from tore_runtime.image_format import (
    IMAGE_SIZE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    OFFICIAL_FORMAT,
    STRIDE,
    ImageFormat,
)

__all__ = [
    "FORMATS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_SIZE",
    "MEDIAPIPE_HAND",
    "MOVENET_THUNDER",
    "OFFICIAL_FORMAT",
    "STRIDE",
    "ImageFormat",
    "ShownImage",
    "usual_format",
]

MOVENET_THUNDER, MEDIAPIPE_HAND = "movenet-thunder", "mediapipe-hand"
FORMATS = {  # of backbones that take no other
    MOVENET_THUNDER: ImageFormat(256, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    MEDIAPIPE_HAND: ImageFormat(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), upright=True),
}


def usual_format(arch: str) -> ImageFormat:
    """What a backbone is shown where nothing else is said."""
    return FORMATS.get(arch, OFFICIAL_FORMAT)


class ShownImage:
    """What the configurations of networks hold of the image that they are shown."""

    arch: str
    image_size: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]

    def __post_init__(self) -> None:
        wanted, side = FORMATS.get(self.arch), self.image_format.size
        if wanted not in (None, self.image_format):
            raise ValueError(
                f"{self.arch} sees images of image_size {wanted.size}, image_mean {wanted.mean} and image_std "
                f"{wanted.std}, not {side}, {self.image_mean} and {self.image_std}; leave these out, or give its own"
            )
        if side % STRIDE:
            lower, higher = side // STRIDE * STRIDE, (side // STRIDE + 1) * STRIDE
            near = f"{lower} or {higher}" if lower else f"{higher}"
            raise ValueError(f"image_size {side} is not a multiple of the backbone's stride {STRIDE}; use {near}")

    @property
    def image_format(self) -> ImageFormat:
        """Side, mean and deviation of the image, as data sets, crops and inference take them."""
        return ImageFormat(self.image_size, self.image_mean, self.image_std, usual_format(self.arch).upright)

    @property
    def image_positions(self) -> int:
        """How many positions the feature map has."""
        return (self.image_size // STRIDE) ** 2
