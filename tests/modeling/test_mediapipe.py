"""MediaPipe's networks of hands against recorded outputs of their graphs of rule images, and their conversion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.convert_mediapipe import convert, layers_of
from tests import rules
from tests.conftest import reference
from tore.files import read_tensors, write_tensors
from tore.image_format import MEDIAPIPE_HAND
from tore.modeling.backbones import Backbone, load_backbone_weights
from tore.modeling.mediapipe_hand import (
    HAND_SIZE,
    HandLandmarks,
    hand_keypoints,
    load_hand_landmarks,
    shipped_hand_weights,
)
from tore.modeling.mediapipe_palm import PALM_SIZE, PalmFinder, anchors, decode_palms, load_palm_finder

TOLERANCE = 1e-5  # of the largest value


def images(size: int) -> torch.Tensor:
    """(2, 3, size, size) in 0..1."""
    return torch.from_numpy(np.stack([rules.photo(seed, size, size) for seed in (3, 4)])).permute(0, 3, 1, 2) / 255


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return reference("mediapipe")


@pytest.fixture(scope="module")
def landmarks() -> HandLandmarks:
    return load_hand_landmarks()


def assert_near(found: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_landmarks_agree_with_their_graph(landmarks: HandLandmarks, recorded: dict[str, np.ndarray]) -> None:
    with torch.inference_mode():
        maps = landmarks(images(HAND_SIZE))
    assert maps.features.shape == (2, 192, 7, 7)
    assert_near(maps.features[:, ::16, 1::2, 1::2], recorded["features"])
    assert_near(maps.joints * HAND_SIZE, recorded["joints"])
    for name in ("presence", "right", "meters"):
        assert_near(getattr(maps, name), recorded[name])


def test_palms_agree_with_their_graph(recorded: dict[str, np.ndarray]) -> None:
    with torch.inference_mode():
        logits, places = load_palm_finder()(images(PALM_SIZE) * 2 - 1)
    assert logits.shape == (2, 2944) and places.shape == (2, 2944, 18)
    assert_near(logits[:, ::61], recorded["palm_logits"])
    assert_near(places[:, ::197], recorded["palm_places"])


def test_palms_lie_about_their_anchors() -> None:
    """The oracle counts: two candidates in each cell of 32 x 32 and 16 x 16, six in each of 8 x 8, row by row."""
    expected = [
        ((column + 0.5) / side, (row + 0.5) / side)
        for side, count in ((32, 2), (16, 2), (8, 6))
        for row in range(side)
        for column in range(side)
        for _ in range(count)
    ]
    np.testing.assert_allclose(anchors(), expected, atol=1e-6)
    places = torch.zeros(1, 2944, 18)
    places[0, 100] = torch.tensor([25.6, 0, 51.2, 128, *[0.0] * 12, 12.8, -12.8])
    palms = decode_palms(torch.zeros(1, 2944), places)
    x, y = expected[100]
    np.testing.assert_allclose(palms.boxes[0, 100], [x + 0.1, y, 0.2, 0.5], atol=1e-6)
    np.testing.assert_allclose(palms.keypoints[0, 100, -1], [x + 0.05, y - 0.05], atol=1e-6)
    assert float(palms.scores[0, 0]) == 0.5


def test_backbone_standardizes_the_map_and_gives_keypoints(landmarks: HandLandmarks) -> None:
    backbone = Backbone(MEDIAPIPE_HAND, keypoints=True, frozen=True)
    load_backbone_weights(backbone, "shipped")
    with torch.inference_mode():
        seen, maps = backbone(images(HAND_SIZE)), landmarks(images(HAND_SIZE))
    mean, deviation = (backbone.state_dict()[f"trunk.{name}"][:, None, None] for name in ("mean", "deviation"))
    torch.testing.assert_close(seen.map, (maps.features - mean) / deviation)
    assert seen.keypoints.shape == (2, 21, 6) and torch.equal(seen.keypoints, hand_keypoints(maps))
    torch.testing.assert_close(seen.keypoints[..., 2], maps.presence[:, None].expand(2, 21))
    torch.testing.assert_close(seen.keypoints[..., 3:], 10 * maps.meters)


def test_shipped_weights_are_in_16_bits_and_of_their_network(tmp_path: Path) -> None:
    for name in ("hand", "palm"):
        assert {value.dtype for value in read_tensors(shipped_hand_weights(name)).values()} == {torch.float16}
    with pytest.raises(ValueError, match="does not hold the weights of MediaPipe's palm finder"):
        load_palm_finder(shipped_hand_weights("hand"))
    write_tensors({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors does not hold"):
        load_hand_landmarks(tmp_path / "other.safetensors")


def small_graph(folder: Path) -> Path:
    """A graph of a convolution, a sum with another layer, its bias behind that, and a fused product; not in order."""
    arrays = {
        "w": np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4),
        "d": np.arange(36, dtype=np.float32).reshape(3, 3, 4, 1),
        "b": np.arange(4, dtype=np.float32),
        "m": np.arange(8, dtype=np.float32).reshape(4, 2),
        "n": np.arange(2, dtype=np.float32),
    }
    nodes = [
        {"name": "Identity", "op": "_FusedMatMul", "input": ["sum", "m", "n"]},
        {"name": "sum", "op": "AddV2", "input": ["b", "both"]},
        {"name": "both", "op": "AddN", "input": ["deep", "flat"]},
        {"name": "deep", "op": "DepthwiseConv2dNative", "input": ["flat", "d"]},
        {"name": "flat", "op": "Conv2D", "input": ["image", "w"]},
        {"name": "image", "op": "Placeholder"},
    ]
    weights = [{"name": name, "shape": array.shape, "dtype": "float32"} for name, array in arrays.items()]
    (folder / "g.bin").write_bytes(b"".join(array.tobytes() for array in arrays.values()))
    manifest = [{"paths": ["g.bin"], "weights": weights}]
    (folder / "g.json").write_text(json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": manifest}))
    return folder / "g.json"


def test_layers_of_a_graph(tmp_path: Path) -> None:
    flat, deep, product = layers_of(small_graph(tmp_path))
    assert flat.keys() == {"weight"} and flat["weight"].shape == (4, 3, 1, 1) and flat["weight"][1, 2, 0, 0] == 9
    assert deep["weight"].shape == (4, 1, 3, 3) and deep["weight"][2, 0, 1, 0] == 14
    np.testing.assert_array_equal(deep["bias"], range(4))  # behind the sum
    np.testing.assert_array_equal(product["weight"], [[0, 2, 4, 6], [1, 3, 5, 7]])
    np.testing.assert_array_equal(product["bias"], [0, 1])
    with pytest.raises(ValueError, match="not of the network that was named: 3 layers, not 91"):
        convert(layers_of(tmp_path / "g.json"), PalmFinder())
