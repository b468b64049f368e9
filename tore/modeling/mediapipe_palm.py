"""MediaPipe's palm finder: palms of an image, each with a box and seven keypoints, from maps of strides 8, 16 and 32.

It is Google's network (NOTICE) as TF.js has it: residual blocks of separable convolutions whose batch norms are folded
into them, and a feature pyramid. `decode_palms` computes what follows its graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.mediapipe_hand import shipped_hand_weights
from tore.modeling.movenet import convolution, with_weights

PALM_SIZE = 256  # pixels; the image's side
STAGES = (32, 64, 128, 256, 256)  # channels at strides 2, 4, 8, 16, 32
BLOCKS = 7  # residual ones of each
ANCHORS = {8: 2, 16: 2, 32: 6}  # stride -> candidates of each position of its map
NUMBERS = 18  # of a candidate: the box's center and size, seven keypoints
WRIST, MIDDLE_KNUCKLE = 0, 2  # of the keypoints


class Palms(NamedTuple):
    """Candidates of B images, in shares of the image's side."""

    scores: Tensor  # (B, N)
    boxes: Tensor  # (B, N, 4): center x, y, width, height
    keypoints: Tensor  # (B, N, 7, 2): x, y


class Separable(nn.Module):
    """ReLU of the input plus a depthwise and a 1 x 1 convolution of it; with stride 2 the input is pooled."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = convolution(inputs, inputs, 3, stride=stride, depthwise=True, bias=False)
        self.pointwise = convolution(inputs, outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride); the channels that the input lacks count as zero."""
        beside = x if self.stride == 1 else F.max_pool2d(x, 2)
        beside = F.pad(beside, (0, 0, 0, 0, 0, self.added)) if self.added else beside
        return torch.relu(self.pointwise(self.depthwise(x)) + beside)


class Merge(nn.Module):
    """A coarse map at twice its size (transposed convolution, factor and shift of each channel), on a finer one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False)
        self.factor = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        self.block = Separable(outputs, outputs)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, C, H, W), (B, C', 2 H, 2 W) -> (B, C', 2 H, 2 W)."""
        enlarged = self.enlarge(coarse) * self.factor[:, None, None] + self.shift[:, None, None]
        return self.block(fine + torch.relu(enlarged))


class PalmFinder(nn.Module):
    """Scores and boxes of the candidates of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, STAGES[0], 3, stride=2)
        stages, inputs = [], STAGES[0]
        for number, channels in enumerate(STAGES):
            first = [Separable(inputs, channels, stride=2)] if number else []
            stages.append(nn.Sequential(*first, *(Separable(channels, channels) for _ in range(BLOCKS))))
            inputs = channels
        self.stages = nn.ModuleList(stages)
        self.merge = nn.ModuleList((Merge(STAGES[4], STAGES[3]), Merge(STAGES[3], STAGES[2])))
        sizes = dict(zip(ANCHORS, STAGES[2:], strict=True))
        self.score = nn.ModuleDict({str(s): convolution(sizes[s], count) for s, count in ANCHORS.items()})
        self.place = nn.ModuleDict({str(s): convolution(sizes[s], count * NUMBERS) for s, count in ANCHORS.items()})

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, 3, 256, 256) RGB in -1..1 -> logits (B, N), boxes and keypoints (B, N, 18) about the anchors."""
        x, maps = torch.relu(self.stem(images)), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        middle = self.merge[0](x, maps[3])
        by_stride = {"8": self.merge[1](middle, maps[2]), "16": middle, "32": x}
        scores = [self.score[s](seen).permute(0, 2, 3, 1).flatten(1) for s, seen in by_stride.items()]
        places = [self.place[s](seen).permute(0, 2, 3, 1).flatten(1) for s, seen in by_stride.items()]
        return torch.cat(scores, 1), torch.cat(places, 1).unflatten(1, (-1, NUMBERS))


def decode_palms(logits: Tensor, places: Tensor) -> Palms:
    """The candidates of a finder's output (B, N), (B, N, 18)."""
    beside = anchors().to(places)  # (N, 2)
    places = places / PALM_SIZE
    boxes = torch.cat((places[..., :2] + beside, places[..., 2:4]), -1)
    keypoints = places[..., 4:].unflatten(2, (-1, 2)) + beside[:, None]
    return Palms(logits.sigmoid(), boxes, keypoints)


def anchors() -> Tensor:
    """(N, 2): x, y of the candidates' positions in shares of the image's side."""
    found = []
    for stride, count in ANCHORS.items():
        side = PALM_SIZE // stride
        middles = (torch.arange(side) + 0.5) / side
        grid = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), -1)  # (side, side, 2) x, y
        found.append(grid.flatten(0, 1).repeat_interleave(count, 0))
    return torch.cat(found)


def load_palm_finder(path: str | Path | None = None) -> PalmFinder:
    """The network with its shipped weights, or a file's of scripts/convert_mediapipe.py.

    Float32, in evaluation mode, without gradients. Raises FileNotFoundError, or ValueError for another network's file.
    """
    fix = "the weights of MediaPipe's palm finder: give a file that scripts/convert_mediapipe.py wrote"
    return with_weights(PalmFinder, path or shipped_hand_weights("palm"), fix)
