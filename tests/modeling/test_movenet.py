"""MoveNet against recorded outputs of Google's graphs, which TF.js (4.22, plain CPU kernels) computed of rule images.

MultiPose ships with Google's weights. Thunder was trained further; Google's are tested where a user has the graph:
`TORE_TEST_MOVENET=package/models/movenet-thunder.json pytest tests/modeling/test_movenet.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.convert_movenet import convert, our_name, read_graph_weights
from tests import rules
from tests.conftest import reference
from tore.files import read_tensors, write_tensors
from tore.modeling.movenet import (
    NETWORKS,
    MoveNet,
    decode_keypoints,
    decode_people,
    load_movenet,
    shipped_weights,
    surer_keypoints,
    thunder,
)

GRAPH = os.environ.get("TORE_TEST_MOVENET", "")
TOLERANCE = 1e-5  # shares of the image's side; scores
SINGLE = ([(128, 236, 210)], [(110, 200, 150), (210, 220, 140)])
MANY = (
    (256, 256, [(80, 236, 200), (190, 230, 150)]),
    (192, 320, [(60, 180, 150), (160, 170, 140), (250, 185, 160)]),
)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


@pytest.fixture(scope="module")
def networks() -> dict[str, MoveNet]:
    return {name: load_movenet(name) for name in NETWORKS}


@pytest.fixture(scope="module")
def googles() -> MoveNet:
    """Thunder with Google's weights."""
    if not GRAPH:
        pytest.skip("TORE_TEST_MOVENET does not name Google's movenet-thunder.json")
    network = thunder()
    network.load_state_dict({k: v.float() for k, v in convert(read_graph_weights(Path(GRAPH)), thunder()).items()})
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return reference("movenet")


def singles() -> torch.Tensor:
    return torch.cat([tensor(rules.capsule_people(256, 256, people, i)) for i, people in enumerate(SINGLE)])


def test_thunder_agrees_with_its_graph(googles: MoveNet, recorded: dict[str, np.ndarray]) -> None:
    found = decode_keypoints(googles(singles())).numpy()
    np.testing.assert_allclose(found, recorded["thunder"][..., [1, 0, 2]], rtol=0, atol=TOLERANCE)


def test_thunder_that_ships_finds_nearly_what_googles_does(
    networks: dict[str, MoveNet], recorded: dict[str, np.ndarray]
) -> None:
    found = decode_keypoints(networks["thunder"](singles())).numpy()
    expected = recorded["thunder"][..., [1, 0, 2]]
    sure = expected[..., 2] > 0.4
    assert sure.sum() >= 8
    away = np.linalg.norm(found[sure][:, :2] - expected[sure][:, :2], axis=-1)
    assert 1e-3 < np.median(away) < 0.02, away  # it was trained further


def test_features_agree_with_the_graph(googles: MoveNet, recorded: dict[str, np.ndarray]) -> None:
    features = googles.features(tensor(rules.capsule_people(256, 256, SINGLE[0], 0)))
    for name, step in {"stride_4": 8, "stride_8": 4, "stride_16": 4, "stride_32": 2}.items():
        found = getattr(features, name)
        assert found.shape[1] == googles.channels[int(name.removeprefix("stride_"))]
        sample = found[0, ::8, 1::step, 1::step].numpy()
        np.testing.assert_allclose(sample, recorded[name], rtol=0, atol=TOLERANCE * np.abs(recorded[name]).max())


@pytest.mark.parametrize("case", range(len(MANY)))
def test_multipose_agrees_with_its_graph(
    networks: dict[str, MoveNet], recorded: dict[str, np.ndarray], case: int
) -> None:
    height, width, people = MANY[case]
    found = decode_people(networks["multipose"](tensor(rules.capsule_people(height, width, people, 2 + case))))
    expected = recorded["multipose"][case]
    keypoints = expected[:, :51].reshape(6, 17, 3)[..., [1, 0, 2]]
    np.testing.assert_allclose(found.keypoints[0], keypoints, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found.boxes[0], expected[:, [52, 51, 54, 53]], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found.scores[0], expected[:, 55], rtol=0, atol=TOLERANCE)
    assert (found.scores[0] > 0.2).sum() in (len(people) - 1, len(people))  # it sees the figures


def test_batch_is_its_images(networks: dict[str, MoveNet]) -> None:
    images = [tensor(rules.capsule_people(160, 192, [(60 + 20 * i, 150, 130)], i)) for i in range(2)]
    together = decode_people(networks["multipose"](torch.cat(images)))
    for index, image in enumerate(images):
        alone = decode_people(networks["multipose"](image))
        for part, whole in zip(alone, together, strict=True):
            torch.testing.assert_close(part[0][:1], whole[index][:1], rtol=0, atol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not hold the weights of MoveNet thunder"):
        load_movenet("thunder", shipped_weights("multipose"))
    write_tensors({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors does not hold"):
        load_movenet("multipose", tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="missing"):
        load_movenet("multipose", tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("model_1/model/block_16_depthwise/depthwise_weights", "blocks.16.depthwise.weight"),
        ("model_1/model/expanded_conv_project/Conv2D_bn_offset", "blocks.0.project.bias"),
        ("model_1/conv2d_2/BiasAdd/ReadVariableOp", "lateral.2.bias"),
        ("model_1/separable_conv2d/separable_conv2d_bn_offset", "merge.0.pointwise.bias"),
        ("kpt_heatmap_0/separable_conv2d_4/separable_conv2d/ReadVariableOp_1", "heads.heatmap.0.pointwise.weight"),
        ("kpt_heatmap_0/separable_conv2d_4/BiasAdd/ReadVariableOp", "heads.heatmap.0.pointwise.bias"),
        ("box_scale_0/conv2d_5/Conv2D/ReadVariableOp", "heads.box_size.1.weight"),
        ("Greater_1/y", None),
    ],
)
def test_names_of_the_graph(name: str, ours: str | None) -> None:
    folder = "center_net_mobile_net_v2fpn_feature_extractor/" if name.startswith("model_1") else ""
    assert our_name(f"StatefulPartitionedCall/{folder}{name}") == ours


def test_another_graph_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        convert({"StatefulPartitionedCall/truediv": np.zeros((1, 1, 1, 3), np.float16)}, thunder())


@pytest.mark.parametrize("name", NETWORKS)
def test_shipped_weights_are_in_16_bits(name: str) -> None:
    assert {value.dtype for value in read_tensors(shipped_weights(name)).values()} == {torch.float16}


def test_surer_look_counts() -> None:
    """The look finds the brightest pixel. Of whole images it is half as sure as that is bright, or twice as sure."""
    images = torch.zeros(4, 3, 100, 100)
    places = [(30, 40), (70, 52), (20, 77), (5, 5)]  # rows and columns; the last one is not in the middle
    for image, (row, column) in zip(images, places, strict=True):
        image[:, row, column] = 1.0
    shown: list[torch.Tensor] = []

    def look(seen: torch.Tensor) -> torch.Tensor:
        shown.append(seen)
        light, cells = seen[:, 0].flatten(1).max(1)
        points = torch.stack([cells % 100 + 0.5, cells // 100 + 0.5], -1) / 100
        sure = light * (torch.tensor([0.5, 2.0, 0.5, 0.5]) if len(shown) == 1 else 1.0)
        found = torch.cat([points, sure[:, None]], -1)[:, None].repeat(1, 17, 1)
        found[:, :5, 2] = 9.0 * (len(shown) == 1)  # faces do not count
        return found

    found = surer_keypoints(look, images)
    assert [len(shown), *shown[1].shape] == [2, *images.shape]
    expected = torch.tensor([[(column + 0.5) / 100, (row + 0.5) / 100] for row, column in places])
    torch.testing.assert_close(found[:, 6, :2], expected, rtol=0, atol=0.006)
    torch.testing.assert_close(found[[1, 3], 6, 2], torch.tensor([2.0, 0.5]))  # of the whole images
    assert (found[[0, 2], 6, 2] > 0.6).all() and (found[[1, 3], :2, 2] == 9).all() and (found[[0, 2], :2, 2] == 0).all()
    known = torch.full((4, 17, 3), 7.0)
    assert torch.equal(surer_keypoints(look, images, known), known) and len(shown) == 3  # one look more
