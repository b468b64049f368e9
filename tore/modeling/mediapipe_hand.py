"""MediaPipe's hand landmark network: 21 joints of the one hand of an image of 224 x 224, on an EfficientNet-B0.

It is Google's network (NOTICE), as TensorFlow has it: batch norms are folded into the convolutions, there is no
squeeze-and-excitation, and "same" padding puts the odd pixel at the end. It was made for images in which the hand
stands upright, from the wrist to the middle finger's knuckle (`tore_runtime.crop.upright_hand`).

Joints are those of `tore.body.joints.HAND_NAMES`, in this order.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tore.body.joints import HAND_NAMES
from tore.files import read_tensors
from tore.modeling.movenet import InvertedResidual, convolution, with_weights
from tore.paths import PACKAGE_ROOT

HAND_JOINTS = len(HAND_NAMES)
HAND_SIZE = 224  # pixels; the image's side
HAND_NUMBERS = 6  # of a joint of the backbone's: x, y, score, and x, y, z in tenths of a meter
STEM = 24
# A row per block: channels, expansion, kernel, stride.
BLOCKS = (
    (16, 1, 3, 1), (24, 4, 3, 2), (24, 6, 3, 1), (40, 6, 5, 2), (40, 6, 5, 1), (80, 6, 3, 2), (80, 6, 3, 1),
    (80, 6, 3, 1), (112, 6, 5, 1), (112, 6, 5, 1), (112, 6, 5, 1), (192, 6, 5, 2), (192, 6, 5, 1), (192, 6, 5, 1),
    (192, 6, 5, 1),
)  # fmt: skip
LAST = 1152


class HandMaps(NamedTuple):
    """What the network saw, and what it says of it."""

    features: Tensor  # (B, 192, 7, 7), the last block's
    joints: Tensor  # (B, 21, 3): x, y in shares of the image's side, z in the same unit, away from the camera
    presence: Tensor  # (B,): probability that a hand is there
    right: Tensor  # (B,): probability that it is a right one
    meters: Tensor  # (B, 21, 3): x, y, z in meters, about the hand's center


class HandLandmarks(nn.Module):
    """EfficientNet-B0 without squeeze-and-excitation, and four linear heads on its mean feature."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, STEM, 3, stride=2)
        self.activation = nn.ReLU6()
        blocks, inputs = [], STEM
        for channels, expansion, kernel, stride in BLOCKS:
            blocks.append(InvertedResidual(inputs, channels, stride=stride, expansion=expansion, kernel=kernel))
            inputs = channels
        self.blocks = nn.ModuleList(blocks)
        self.channels = inputs
        self.expand = convolution(inputs, LAST)
        self.depthwise = convolution(LAST, LAST, 3, depthwise=True)
        sizes = {"joints": 3 * HAND_JOINTS, "presence": 1, "right": 1, "meters": 3 * HAND_JOINTS}
        self.heads = nn.ModuleDict({name: nn.Linear(LAST, size) for name, size in sizes.items()})

    def forward(self, images: Tensor) -> HandMaps:
        """images (B, 3, 224, 224) RGB in 0..1."""
        x = self.activation(self.stem(images))
        for block in self.blocks:
            x = block(x)
        wide = self.activation(self.depthwise(self.activation(self.expand(x))))
        mean = wide.mean((2, 3))  # (B, 1152)
        said = {name: head(mean) for name, head in self.heads.items()}
        joints, meters = (said[name].unflatten(1, (HAND_JOINTS, 3)) for name in ("joints", "meters"))
        return HandMaps(x, joints / HAND_SIZE, said["presence"][:, 0].sigmoid(), said["right"][:, 0].sigmoid(), meters)


class HandTrunk(nn.Module):
    """The last block's map, standardized, and the joints as keypoints.

    Mean and deviation of a channel are those of 200 images of rendered hands (scripts/feature_statistics.py).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, keypoints: bool) -> None:
        """`keypoints`: the joints too; the heads that they come from are never trained."""
        super().__init__()
        self.network, self.keypoints = HandLandmarks(), keypoints
        self.channels = self.network.channels
        self.register_buffer("mean", torch.zeros(self.channels))
        self.register_buffer("deviation", torch.ones(self.channels))
        for module in (self.network.expand, self.network.depthwise, self.network.heads):
            module.requires_grad_(False)  # these are behind the map

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, 3, 224, 224) RGB in 0..1 -> map (B, 192, 7, 7), keypoints (B, 21, 6) as `hand_keypoints`."""
        maps = self.network(images)
        standard = (maps.features - self.mean[:, None, None]) / self.deviation[:, None, None]
        return standard, hand_keypoints(maps).detach()


def hand_keypoints(maps: HandMaps) -> Tensor:
    """(B, 21, 6): x, y in shares of the image's sides, the hand's presence as score, x, y, z in tenths of a meter."""
    scores = maps.presence[:, None, None].expand(-1, HAND_JOINTS, 1)
    return torch.cat((maps.joints[..., :2], scores, 10 * maps.meters), -1)


def shipped_hand_weights(name: str) -> Path:
    """The weights of "hand" (landmarks), "palm" (the finder) or "hand_features" that come with the package."""
    return PACKAGE_ROOT / "modeling" / "shipped" / f"mediapipe_{name}.safetensors"


def load_hand_trunk(trunk: HandTrunk, path: str | Path | None = None) -> None:
    """Gives a trunk the shipped weights, or a file's of scripts/convert_mediapipe.py, and the shipped statistics."""
    network = load_hand_landmarks(path)
    statistics = read_tensors(shipped_hand_weights("hand_features"))
    trunk.load_state_dict({f"network.{key}": value for key, value in network.state_dict().items()} | statistics)


def load_hand_landmarks(path: str | Path | None = None) -> HandLandmarks:
    """The network with its shipped weights, or a file's of scripts/convert_mediapipe.py.

    Float32, in evaluation mode, without gradients. Raises FileNotFoundError, or ValueError for another network's file.
    """
    fix = "the weights of MediaPipe's hand landmarks: give a file that scripts/convert_mediapipe.py wrote"
    return with_weights(HandLandmarks, path or shipped_hand_weights("hand"), fix)
