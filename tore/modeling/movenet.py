"""MoveNet: people and their keypoints as points of a map (CenterNet), on MobileNetV2 and a feature pyramid.

*Thunder* places the 17 keypoints of the one person in the center of a 256 x 256 image; *MultiPose* finds up to six
people of an image of any size. Both are Google's networks (NOTICE), as TensorFlow has them: batch norms are folded into
the convolutions, "same" padding puts the odd pixel at the end, and maps of places are (y, x). `decode_keypoints` and
`decode_people` compute what the end of their graphs does. The Thunder that ships was trained further
(docs/TRAINING.md).

Keypoints are COCO's, in its order (`KEYPOINT_NAMES`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.body.joints import COCO_NAMES
from tore.files import read_tensors
from tore.paths import PACKAGE_ROOT

Network = TypeVar("Network", bound=nn.Module)
KEYPOINT_NAMES = COCO_NAMES
KEYPOINTS = len(KEYPOINT_NAMES)
STRIDE = 32  # the image's sides are multiples of it
THUNDER_SIZE = 256  # pixels
FOLDED = (8, 16, 32)  # strides of the maps that a backbone's one map is made of
MOST_PEOPLE = 6
# MobileNetV2 at width 1, a row per stage: channels, blocks, stride of the first one.
STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
EXPANSION = 6
STEM, LAST = 32, 1280
TAPPED = (2, 5, 9, 12, 15)  # blocks whose outputs are used: strides 4, 8, 16 for the pyramid, 16 and 32 as features
PYRAMID = (64, 32, 24, 24)  # channels at strides 16, 8, 4 as they are merged, and of the last map
HEAD = 96  # channels within a head
NEAR = 1e-6  # a peak of the center map differs from the largest value around it by less
PEAK = 5  # cells; side of the square in which a person's center is the largest value
SPREAD = 0.300048828125  # of the map's shorter side: how fast a keypoint far from the predicted place loses
SURE = 0.126953125  # keypoints that score higher count toward the person's score
SOFTENING = 1.7998046875  # cells; added to the distance from the expected place by which Thunder divides scores
MIDDLE_SOFTENING = 1.8  # the same for the distance from the middle, which was divided by before 16 bits
MIDDLE = 0.8  # of the image's sides: what the second look of `surer_keypoints` sees
LIMBS = slice(5, None)  # the keypoints without those of the face


class FeatureMaps(NamedTuple):
    """What the network saw, by stride: (B, C, H / stride, W / stride)."""

    stride_4: Tensor  # C = 24: the pyramid's finest map, which the heads read
    stride_8: Tensor  # C = 32: the pyramid
    stride_16: Tensor  # Thunder C = 168, MultiPose 144: MobileNetV2's block 12
    stride_32: Tensor  # Thunder C = 280, MultiPose 240: MobileNetV2's block 15


class People(NamedTuple):
    """People found in B images, at most six in each, the highest score first; shares of the image's sides."""

    keypoints: Tensor  # (B, 6, 17, 3): x, y, score
    boxes: Tensor  # (B, 6, 4): left, top, right, bottom
    scores: Tensor  # (B, 6)


class HalvingConvolution(nn.Conv2d):
    """Of stride 2 on maps of even sides, where TensorFlow's "same" padding has a row and column more behind."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / 2, W / 2)."""
        before, behind = self.kernel_size[0] // 2 - 1, self.kernel_size[0] // 2
        return super().forward(F.pad(input, (before, behind, before, behind)))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, depthwise, narrow; with the input added where the sizes agree."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int, kernel: int = 3) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = convolution(inputs, wide) if expansion > 1 else nn.Identity()
        self.depthwise = convolution(wide, wide, kernel, stride=stride, depthwise=True)
        self.activation = nn.ReLU6()
        self.project = convolution(wide, outputs)
        self.widens = expansion > 1
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        wide = self.activation(self.expand(x)) if self.widens else x
        y = self.project(self.activation(self.depthwise(wide)))
        return x + y if self.residual else y


class SeparableConvolution(nn.Module):
    """Depthwise 3 x 3, then 1 x 1 with ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = convolution(inputs, inputs, 3, depthwise=True, bias=False)
        self.pointwise = convolution(inputs, outputs)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        return self.activation(self.pointwise(self.depthwise(x)))


class MoveNet(nn.Module):
    """MobileNetV2, a feature pyramid and heads of which `decode_keypoints` or `decode_people` makes people."""

    pixel_scale: Tensor

    def __init__(self, *, width: float, heads: dict[str, int]) -> None:
        """width: multiplies MobileNetV2's channels. heads: names and channels of the maps."""
        super().__init__()
        self.register_buffer("pixel_scale", torch.tensor(2 / 255))
        inputs = _channels(STEM, width)
        self.stem = convolution(3, inputs, 3, stride=2)
        self.activation = nn.ReLU6()
        blocks: list[nn.Module] = []
        tapped = {}  # channels of the blocks that are used, by their number
        for stage, (channels, count, stride) in enumerate(STAGES):
            for index in range(count):
                step, expansion = stride if index == 0 else 1, EXPANSION if stage else 1
                outputs = tapped[len(blocks)] = _channels(channels, width)
                blocks.append(InvertedResidual(inputs, outputs, stride=step, expansion=expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = convolution(inputs, LAST)
        fine, middle, coarse, sixteenth, thirtysecond = (tapped[index] for index in TAPPED)
        sides = ((LAST, PYRAMID[0]), (coarse, PYRAMID[0]), (middle, PYRAMID[1]), (fine, PYRAMID[2]))
        self.lateral = nn.ModuleList(convolution(*side) for side in sides)
        self.merge = nn.ModuleList(map(SeparableConvolution, PYRAMID, PYRAMID[1:]))
        self.heads = nn.ModuleDict({name: _head(channels) for name, channels in heads.items()})
        self.channels = {4: PYRAMID[-1], 8: PYRAMID[1], 16: sixteenth, 32: thirtysecond}  # of `features`, by stride

    def features(self, images: Tensor) -> FeatureMaps:
        """images (B, 3, H, W) RGB in 0..255, H and W multiples of 32."""
        return self.features_of_normalized(images * self.pixel_scale - 1)

    def features_of_normalized(self, images: Tensor) -> FeatureMaps:
        """The same of images (B, 3, H, W) RGB in -1..1."""
        x = self.activation(self.stem(images))
        tapped = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPPED:
                tapped.append(x)
        fine, middle, coarse, sixteenth, thirtysecond = tapped
        y, sums = self.lateral[0](self.activation(self.last(x))), []
        for lateral, tap, merge in zip(self.lateral[1:], (coarse, middle, fine), self.merge, strict=True):
            y = lateral(tap) + F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
            sums.append(y)
            y = merge(y)
        return FeatureMaps(y, sums[1], sixteenth, thirtysecond)

    def maps(self, features: FeatureMaps) -> dict[str, Tensor]:
        """The heads' maps (B, C, H / 4, W / 4) of `features`."""
        return {name: head(features.stride_4) for name, head in self.heads.items()}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) RGB in 0..255, H and W multiples of 32 -> the heads' maps (B, C, H / 4, W / 4)."""
        return self.maps(self.features(images))


def thunder() -> MoveNet:
    """Untrained Thunder: keypoints of the one person in the center of an image of 256 x 256."""
    return MoveNet(width=1.75, heads={"center": 1, "heatmap": KEYPOINTS, "place": 34, "offset": 34})


def multipose() -> MoveNet:
    """Untrained MultiPose: up to six people of an image of any size."""
    sizes = {"center": 1, "box_size": 2, "box_offset": 2, "heatmap": KEYPOINTS, "place": 34, "offset": 34}
    return MoveNet(width=1.5, heads=sizes)


def decode_keypoints(maps: dict[str, Tensor]) -> Tensor:
    """The keypoints (B, 17, 3) of Thunder's maps (B, C, n, n): x, y in shares of the image's sides, score."""
    side = maps["center"].shape[-1]
    rows, columns = _cells(maps["center"])
    centers = place_of_person(maps["center"])  # (B,)
    places = _at(maps["place"], centers[:, None]).unflatten(2, (KEYPOINTS, 2))[:, 0]  # (B,17,2) y, x
    places = places + torch.stack([centers // side, centers % side], -1)[:, None]
    scores = maps["heatmap"].sigmoid()  # (B,17,n,n)
    distances = ((rows - places[..., :1, None]) ** 2 + (columns - places[..., 1:, None]) ** 2).sqrt()
    chosen = (scores / (distances + SOFTENING)).flatten(2).argmax(2)  # (B,17)
    points = _refined(maps["offset"], chosen[:, None])[:, 0] / side
    return torch.cat([points, scores.flatten(2).gather(2, chosen[..., None])], -1)


def place_of_person(centers: Tensor) -> Tensor:
    """The cell (B,), numbered row by row, of Thunder's map (B, 1, n, n) where the one person is, near its middle."""
    side = centers.shape[-1]
    rows, columns = _cells(centers)
    beside = ((rows - side // 2) ** 2 + (columns - side // 2) ** 2).sqrt()
    middling = (1 / (beside + MIDDLE_SOFTENING)).half().to(beside.dtype)
    return (centers[:, 0].sigmoid() * middling).flatten(1).argmax(1)


def surer_keypoints(look: Callable[[Tensor], Tensor], images: Tensor, first: Tensor | None = None) -> Tensor:
    """The keypoints (B, 17, 3) that Thunder finds in images (B, 3, n, n), or in their middle enlarged.

    In each image those of the look count whose limbs score higher on average. People fill the images that Thunder was
    made for; crops of data sets and boxes show more around them.

    look: gives the keypoints of images. first: those of the whole images, where they are known.
    """
    first = look(images) if first is None else first
    size = images.shape[-1]
    margin = round(size * (1 - MIDDLE) / 2)
    inner = images[..., margin : size - margin, margin : size - margin]
    closer = look(F.interpolate(inner, (size, size), mode="bilinear", align_corners=False))
    places = (margin + closer[..., :2] * (size - 2 * margin)) / size
    closer = torch.cat([places, closer[..., 2:]], -1)
    surer = closer[:, LIMBS, 2].mean(1) > first[:, LIMBS, 2].mean(1)  # (B,)
    return torch.where(surer[:, None, None], closer, first)


def decode_people(maps: dict[str, Tensor]) -> People:
    """Six candidates in each image of MultiPose's maps (B, C, h, w), many of a score near 0."""
    heat = maps["center"][:, 0].sigmoid()  # (B,h,w)
    width, height = _count(heat, -1), _count(heat, -2)
    extent = torch.stack([width, height])
    peaks = (heat - F.max_pool2d(heat, PEAK, 1, PEAK // 2)).abs() < NEAR
    scores, centers = (heat * peaks).flatten(1).topk(MOST_PEOPLE)  # (B,6)
    cells = torch.stack([centers // width, centers % width], -1)  # (B,6,2) y, x
    middles = cells + _at(maps["box_offset"], centers)
    halves = _at(maps["box_size"], centers).clamp(min=0) / 2
    corners = torch.cat([middles - halves, middles + halves], -1)[..., [1, 0, 3, 2]]  # left, top, right, bottom
    corners = torch.minimum(corners.clamp(min=0), extent.repeat(2))
    places = cells[:, :, None] + _at(maps["place"], centers).unflatten(2, (KEYPOINTS, 2))  # (B,6,17,2)
    weighted = _weighted(maps["heatmap"].sigmoid(), places, corners).flatten(3)  # (B,6,17,h*w)
    chosen = weighted.argmax(3)  # (B,6,17)
    best = weighted.amax(1)[:, None].expand(-1, MOST_PEOPLE, -1, -1)  # of all people, as the official graph has it
    certainties = best.gather(3, chosen[..., None])
    keypoints = torch.cat([_refined(maps["offset"], chosen) / extent, certainties], -1)
    sure = certainties[..., 0] * (certainties[..., 0] > SURE)
    mean = sure.sum(2) / (sure > 0).sum(2).clamp(min=1)
    return People(keypoints, corners / extent.repeat(2), scores * mean)


def _weighted(scores: Tensor, places: Tensor, corners: Tensor) -> Tensor:
    """scores (B, 17, h, w) within each person's box, the less the farther from where the keypoint is expected.

    places (B, 6, 17, 2) y, x and corners (B, 6, 4) in cells -> (B, 6, 17, h, w).
    """
    rows, columns = _cells(scores)
    spread = torch.minimum(_count(scores, -1), _count(scores, -2)) * SPREAD
    left, top, right, bottom = corners[:, :, None, :, None].unbind(3)  # each (B,6,1,1)
    down = torch.exp(-((rows[:, 0] - places[..., :1]) ** 2) / spread)  # (B,6,17,h)
    across = torch.exp(-((columns - places[..., 1:]) ** 2) / spread)  # (B,6,17,w)
    down = down * ((rows[:, 0] >= top) & (rows[:, 0] < bottom))
    across = across * ((columns >= left) & (columns < right))
    return scores[:, None] * down[..., None] * across[..., None, :]


def _cells(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Row (h, 1) and column (w,) numbers of maps (..., h, w)."""
    height, width = maps.shape[-2:]
    options: dict[str, Any] = {"device": maps.device, "dtype": maps.dtype}
    return torch.arange(height, **options)[:, None], torch.arange(width, **options)


def _count(maps: Tensor, axis: int) -> Tensor:
    """A side of maps as a tensor (): exports with free sides compute with no other."""
    return torch.arange(maps.shape[axis], device=maps.device)[-1] + 1


def _at(maps: Tensor, cells: Tensor) -> Tensor:
    """The channels of maps (B, C, h, w) at cells (B, N), numbered row by row: (B, N, C)."""
    flat = maps.flatten(2)
    return flat.gather(2, cells[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)


def _refined(offsets: Tensor, cells: Tensor) -> Tensor:
    """The keypoints (B, N, 17, 2) as x, y in cells: offsets (B, 34, h, w) y, x at cells (B, N, 17), added."""
    width = _count(offsets, -1)
    flat = offsets.unflatten(1, (KEYPOINTS, 2)).flatten(3)  # (B,17,2,h*w)
    index = cells.transpose(1, 2)[:, :, None].expand(-1, -1, 2, -1)  # (B,17,2,N)
    exact = flat.gather(3, index).permute(0, 3, 1, 2)  # (B,N,17,2) y, x
    return torch.stack([cells % width + exact[..., 1], cells // width + exact[..., 0]], -1)


def convolution(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, depthwise: bool = False, bias: bool = True
) -> nn.Conv2d:
    """With TensorFlow's "same" padding, which is lopsided where the stride is 2."""
    kind = nn.Conv2d if stride == 1 else HalvingConvolution
    groups = inputs if depthwise else 1
    return kind(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=bias)


def _head(channels: int) -> nn.Module:
    return nn.Sequential(SeparableConvolution(PYRAMID[-1], HEAD), nn.Conv2d(HEAD, channels, 1))


def _channels(base: int, width: float) -> int:
    """A multiple of 8 close to base * width, not more than a tenth below it."""
    rounded = int(base * width + 4) // 8 * 8
    return rounded + 8 if rounded < 0.9 * base * width else rounded


class ThunderTrunk(nn.Module):
    """Thunder's maps of strides 8, 16 and 32, standardized and folded into one of stride 32 (space to depth).

    Mean and deviation of a channel are those of 200 images of rendered people (scripts/feature_statistics.py).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, keypoints: bool) -> None:
        """`keypoints`: the heads' maps too, of which `decode_keypoints` makes keypoints; see `train_from`."""
        super().__init__()
        self.network, self.keypoints = thunder(), keypoints
        sizes = [self.network.channels[stride] for stride in FOLDED]
        self.channels = sum(size * (STRIDE // stride) ** 2 for size, stride in zip(sizes, FOLDED, strict=True))
        self.register_buffer("mean", torch.zeros(sum(sizes)))
        self.register_buffer("deviation", torch.ones(sum(sizes)))
        for module in (self.network.heads, self.network.lateral[-1], *self.network.merge[1:]):
            module.requires_grad_(False)  # these are behind the maps above

    def train_from(self, block: int) -> None:
        """Trains the network from a block of MobileNetV2 on, heads included; what is before stays as it is.

        The head of the map that says where the person is stays too.
        """
        self.requires_grad_(True)
        for module in (self.network.stem, *self.network.blocks[:block], self.network.heads["center"]):
            module.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """images (B, 3, H, W) RGB in -1..1 -> (B, 1464, H / 32, W / 32), and the heads' maps, {} where unwanted."""
        features = self.network.features_of_normalized(images)
        maps, first = [], 0
        for stride, values in zip(FOLDED, features[1:], strict=True):
            channels = slice(first, first := first + self.network.channels[stride])
            standard = (values - self.mean[channels, None, None]) / self.deviation[channels, None, None]
            maps.append(F.pixel_unshuffle(standard, STRIDE // stride))
        return torch.cat(maps, 1), self.network.maps(features) if self.keypoints else {}


NETWORKS = {"thunder": thunder, "multipose": multipose}


def shipped_weights(name: str) -> Path:
    """The weights of "thunder" or "multipose" that come with the package."""
    return PACKAGE_ROOT / "modeling" / "shipped" / f"movenet_{name}.safetensors"


def load_thunder_trunk(trunk: ThunderTrunk, path: str | Path | None = None) -> None:
    """Gives a trunk the shipped weights, or a file's of scripts/convert_movenet.py, and the shipped statistics."""
    network = load_movenet("thunder", path)
    statistics = read_tensors(shipped_weights("thunder_features"))
    trunk.load_state_dict({f"network.{key}": value for key, value in network.state_dict().items()} | statistics)


def load_movenet(name: str, path: str | Path | None = None) -> MoveNet:
    """The network "thunder" or "multipose" with its shipped weights, or a file's of scripts/convert_movenet.py.

    Float32, in evaluation mode, without gradients. Raises FileNotFoundError, or ValueError for another network's file.
    """
    fix = f"the weights of MoveNet {name}: give a file that scripts/convert_movenet.py wrote"
    return with_weights(NETWORKS[name], path or shipped_weights(name), fix)


def with_weights(make: Callable[[], Network], path: str | Path, wanted: str) -> Network:
    """The network that `make` makes with a file's weights, float32, in evaluation mode, without gradients.

    The weights that it is made with are thrown away, and draw nothing from the process's random numbers. Raises
    FileNotFoundError, or ValueError for a file of other entries; `wanted` says what it should hold.
    """
    with torch.random.fork_rng(devices=[]):
        network = make()
    entries, expected = read_tensors(path), network.state_dict()
    fits = isinstance(entries, dict) and entries.keys() == expected.keys()
    if not fits or any(entries[key].shape != value.shape for key, value in expected.items()):
        raise ValueError(f"{path} does not hold {wanted}")
    network.load_state_dict({key: value.float() for key, value in entries.items()})
    return network.eval().requires_grad_(False)
