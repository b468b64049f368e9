"""MoveNet as a backbone, and networks whose queries carry its keypoints."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import tore
from tests import rules
from tore.analysis.cost import measure_cost
from tore.body.joints import COCO_NAMES, J14_NAMES
from tore.body.topology import template_of, template_points
from tore.export import for_inference
from tore.geometry.camera import project_weak_perspective
from tore.image_format import FORMATS, MEDIAPIPE_HAND, MOVENET_THUNDER
from tore.modeling import body_queries as bodies
from tore.modeling import keypoint_queries as queries
from tore.modeling import shipped_backbone
from tore.modeling.backbones import Backbone, ImageFeatures, load_backbone_weights
from tore.modeling.body_queries import BodyQueries
from tore.modeling.build import image_format_of
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.initialization import start_camera, start_from_template
from tore.modeling.keypoint_queries import disturbed, fitted_camera
from tore.modeling.movenet import decode_keypoints, load_movenet, surer_keypoints
from tore.paths import SYNTHETIC
from tore.training.build import imagenet_file

NAME = "fastmetro_tore_xs_movenet_thunder"
SMALL = {"widths": (32, 32), "hidden": (32, 32), "heads": 4}


def pixels() -> torch.Tensor:
    images = [rules.capsule_people(256, 256, people, i) for i, people in enumerate(([(128, 236, 210)],) * 2)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return pixels() * (2 / 255) - 1


@pytest.fixture
def model(rule_body_dir: Path) -> FastMETRO:
    torch.manual_seed(0)
    return tore.create_model(NAME, body_dir=rule_body_dir, **SMALL)


def test_backbone_folds_movenets_maps_and_decodes_its_keypoints(images: torch.Tensor) -> None:
    """The oracle folds in plain loops: channel (c, row, column) of a cell is channel c at that place within it."""
    backbone, network = Backbone(MOVENET_THUNDER, keypoints=True), load_movenet("thunder")
    load_backbone_weights(backbone, "shipped")
    backbone.eval()
    with torch.no_grad():
        seen, maps = backbone(images), network.features(pixels())
        found = surer_keypoints(lambda shown: decode_keypoints(network((shown + 1) * 127.5)), images)
    torch.testing.assert_close(seen.keypoints, found, rtol=0, atol=1e-4)
    expected, first = [], 0
    for values in (maps.stride_8, maps.stride_16, maps.stride_32):
        times = values.shape[-1] // 8
        for channel in range(values.shape[1]):
            mean, deviation = backbone.trunk.mean[first], backbone.trunk.deviation[first]
            first += 1
            for row in range(times):
                for column in range(times):
                    expected.append((values[:, channel, row::times, column::times] - mean) / deviation)
    assert seen.map.shape == (2, backbone.channels, 8, 8) == (2, 1464, 8, 8)
    torch.testing.assert_close(seen.map, torch.stack(expected, 1), rtol=0, atol=1e-3)


def test_names_and_files_hold_the_configuration(model: FastMETRO, rule_body_dir: Path, tmp_path: Path) -> None:
    assert NAME in tore.list_models() and image_format_of(model) == FORMATS[MOVENET_THUNDER]
    config = model.config
    assert config.keypoint_queries and config.frozen_backbone and config.kept_tokens == 51 and config.layers == 1
    wide = tore.create_model(NAME, body_dir=rule_body_dir, device="meta").config
    assert (wide.widths, wide.hidden) == ((256, 64), (1024, 256))
    tore.save_model(model, tmp_path / "net.safetensors")
    loaded = tore.load_model(tmp_path / "net.safetensors", rule_body_dir, "cpu")
    assert loaded.config == config and loaded.backbone.frozen
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert imagenet_file(MOVENET_THUNDER, None) == "shipped"


def test_files_without_the_backbone_that_comes_with_the_package(
    model: FastMETRO, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in ("net.safetensors", "net.bin")]
    for path in paths:
        tore.save_model(model, path, half=True, leave_out_backbone=True)
        assert path.stat().st_size < 2e6  # the backbone alone has 12 MB in 16 bits
        loaded = tore.load_model(path, rule_body_dir, "cpu")
        assert loaded.config == model.config and loaded.backbone.frozen
        for name, value in model.state_dict().items():
            exact = name.startswith("backbone.") or not value.is_floating_point()
            torch.testing.assert_close(
                loaded.state_dict()[name], value, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-3
            )
    with torch.no_grad():
        loaded.backbone.trunk.network.stem.bias[0] += 1
    with pytest.raises(
        ValueError, match=r"is not the movenet-thunder that comes with this package .* leave_out_backbone"
    ):
        tore.save_model(loaded, paths[0], leave_out_backbone=True)
    tore.load_model(paths[0], rule_body_dir, "cpu")  # the file is as it was, and so is the package's backbone
    monkeypatch.setattr(shipped_backbone, "shipped_entries", lambda arch: ({}, "01234567"))
    with pytest.raises(ValueError, match=r"net\.bin leaves its backbone out, movenet-thunder .* has 01234567: use"):
        tore.load_model(paths[1], rule_body_dir, "cpu")


def test_frozen_backbone_stays_in_evaluation_mode(rule_body_dir: Path) -> None:
    options = {"body_dir": rule_body_dir, "arch": "test_resnet", "frozen_backbone": True, **SMALL}
    model = tore.create_model(**options).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    sum(part.sum() for part in model(torch.randn(2, 3, 224, 224)) if part is not None).backward()
    assert not any(module.training for module in model.backbone.modules()) and model.transformer_1.training
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


def test_every_trained_parameter_gets_a_gradient(rule_body_dir: Path, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = tore.create_model(NAME, body_dir=rule_body_dir, frozen_backbone=False, **SMALL).train()
    sum((part * torch.randn_like(part)).sum() for part in model(images) if part is not None).backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "backbone.trunk.network.stem.weight" in trained
    assert not any("heads" in name for name in trained)
    for name, parameter in trained.items():
        flat = name.endswith(("in_proj_bias", "assign.bias"))
        assert parameter.grad is not None and (flat or parameter.grad.abs().sum() > 0), name


def test_camera_is_fitted_to_points_in_closed_form() -> None:
    joints, camera = torch.randn(4, 14, 2, dtype=torch.float64), torch.tensor([[0.7, 0.2, -0.3]]).double()
    points = project_weak_perspective(joints, camera.expand(4, -1))
    weights = torch.rand(4, 14, 1, dtype=torch.float64) * 1e6
    weights[:, :3] = 0
    points[:, :3] = 99  # of no weight
    scale, shift = fitted_camera(joints, points, weights, usual=0.9, prior=0.05)
    torch.testing.assert_close(torch.cat((scale, shift), 1), camera.expand(4, -1), rtol=0, atol=1e-6)
    scale, shift = fitted_camera(joints, points, weights * 0, usual=0.9, prior=0.05)
    torch.testing.assert_close(scale, torch.full((4, 1), 0.9).double())
    assert shift.eq(0).all()


def test_matching_keypoints_have_their_joints_names() -> None:
    for joint, keypoint in zip(J14_NAMES, bodies.MATCHING, strict=True):
        side, _, part = joint.lower().partition("_")
        if part:
            assert COCO_NAMES[keypoint] == f"{ {'r': 'right', 'l': 'left'}[side] }_{part}"
        else:
            assert keypoint == len(COCO_NAMES) + ["Neck", "Head"].index(joint)


FEATURES = torch.zeros(1, 16, 8, 8)


def keypoint_module() -> BodyQueries:
    """One that shifts nothing."""
    torch.manual_seed(0)
    joints, vertices, weights = template_of("body", SYNTHETIC)
    common = {"keypoints": 17, "width": 16, "narrow": 8}
    return BodyQueries(joints=joints, vertices=vertices, weights=weights, **common).eval()


def test_centers_stand_for_neck_and_head() -> None:
    """The oracle averages by hand; a center of keypoints that are all absent is absent."""
    known = torch.rand(3, 17, 3)
    known[1, :2, 2] = 0  # nose and left eye are not there
    known[2, :5, 2] = 0
    found = keypoint_module().with_centers(known)
    assert torch.equal(found[:, :17], known)
    for b in range(3):
        for place, parts in ((17, (5, 6)), (18, range(5))):
            total = sum(float(known[b, k, 2]) for k in parts)
            center = [sum(float(known[b, k, i] * known[b, k, 2]) for k in parts) / (total or 1) for i in range(2)]
            expected = torch.tensor([*center, total / len(parts)])
            torch.testing.assert_close(found[b, place], expected, rtol=0, atol=1e-4)


def test_projected_joints_lie_between_their_own_place_and_the_keypoint() -> None:
    keypoints = torch.rand(2, 17, 3)
    keypoints[1, COCO_NAMES.index("left_knee"), 2] = 0  # not there
    module, features = keypoint_module(), FEATURES.expand(2, -1, -1, -1)
    joints, coarse, narrow = torch.randn(2, 14, 3), torch.randn(2, 431, 3), torch.randn(2, 14, 8)
    raw = torch.tensor([[0.1, 0.2, -0.1], [-0.2, 0.0, 0.3]])
    camera, moved, mesh = module.correct(module(keypoints, features), narrow, raw, joints, coarse)
    placed, own = (project_weak_perspective(points, camera) for points in (moved, joints))
    assert torch.equal(moved[..., 2], joints[..., 2])
    torch.testing.assert_close(mesh - coarse, module.posed(moved, torch.zeros(2, bodies.PREDICTED, 3)))
    all_points = module.with_centers(keypoints)
    for b in range(2):
        for joint, name in enumerate(J14_NAMES):
            x, y, score = all_points[b, bodies.MATCHING[joint]].tolist()
            share = 1 / (1 + math.exp(2 - 12 * score)) if score > 0 else 0.0
            expected = share * torch.tensor([2 * x - 1, 2 * y - 1]) + (1 - share) * own[b, joint]
            torch.testing.assert_close(placed[b, joint], expected, rtol=0, atol=1e-4, msg=name)


def test_joints_reach_further_from_a_center_than_from_a_keypoint() -> None:
    keypoints, module = torch.ones(1, 17, 3) * 0.5, keypoint_module()
    keypoints[..., 2] = 1e3  # full trust
    with torch.no_grad():
        module.shift.bias.copy_(torch.tensor([1e3, 0.0]))  # as far to the right as can be
        blank = [torch.zeros(1, *shape) for shape in ((14, 8), (3,), (14, 3), (431, 3))]
        camera, joints, _ = module.correct(module(keypoints, FEATURES), *blank)
    reached = project_weak_perspective(joints, camera)[0, :, 0] / camera[0, 0]
    expected = [bodies.FAR_REACH if name in bodies.CENTERS else bodies.REACH for name in J14_NAMES]
    torch.testing.assert_close(reached, torch.tensor(expected), rtol=0, atol=1e-5)


def test_keypoints_that_are_not_there_say_nothing(model: FastMETRO, images: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad():
        seen = model.backbone(images)
        none = torch.cat((seen.keypoints[..., :2], torch.zeros(2, 17, 1)), -1)
        found = [model(ImageFeatures(seen.map, points)) for points in (none, none * 5)]
        first, second = (each._replace(keypoints=None) for each in found)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True) if a is not None)
        whole, given = model(images), model(seen)
        assert all(torch.equal(a, b) for a, b in zip(whole, given, strict=True) if a is not None)
        assert not torch.equal(whole.camera, first.camera)


def test_half_precision_leaves_the_keypoints_where_they_are(model: FastMETRO, images: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(images)
    with torch.no_grad():
        whole = model(images)
    assert torch.equal(half.keypoints, whole.keypoints)
    assert not torch.equal(half.vertices, whole.vertices)
    assert float((half.vertices - whole.vertices).norm(dim=-1).max()) < 0.03  # meters


def test_training_drops_and_jitters_keypoints(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    keypoints = torch.rand(4000, 17, 3) + 0.1
    changed = disturbed(keypoints)
    dropped = (changed[..., 2] == 0).float()
    assert abs(float((dropped.mean(1) == 1).float().mean()) - queries.ALL_DROPPED) < 0.01
    kept = dropped.mean(1) < 1
    assert abs(float(dropped[kept].mean()) - queries.DROPPED) < 0.01
    moved = (changed - keypoints)[..., :2].abs().median() / 0.6745  # a normal distribution's deviation, robustly
    assert abs(float(moved) / queries.JITTER - 1) < 0.1
    hips = [COCO_NAMES.index(f"{side}_hip") for side in ("left", "right")]
    nearer_other = (changed[:, hips, :2] - keypoints[:, hips[::-1], :2]).norm(dim=-1).amax(1) < 0.03
    assert abs(float(nearer_other.float().mean()) - queries.SWAPPED) < 0.01
    monkeypatch.setattr(queries, "disturbed", lambda points: points * 0)
    module = keypoint_module()
    given = (keypoints, FEATURES.expand(4000, -1, -1, -1))
    assert module.train()(*given).there.sum() == 0 < module.eval()(*given).there.sum()


def test_optimized_network_agrees(model: FastMETRO, images: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad():
        plain, fast = model(images), for_inference(model)(images)
    for a, b in zip(plain, fast, strict=True):
        assert (a is None and b is None) or float((a - b).abs().max()) < 1e-4


def test_start_from_the_template(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = tore.create_model(NAME, body_dir=SYNTHETIC, **SMALL).eval()
    joints, vertices = template_points("body", SYNTHETIC)
    start_from_template(model, vertices, joints)
    with torch.no_grad():
        seen = model.backbone(images)
        absent = ImageFeatures(seen.map, torch.zeros(2, 17, 3))  # nothing moves a joint
        prediction = model(absent)
    assert (prediction.joints - joints).norm(dim=-1).mean() < 0.2
    assert (prediction.vertices_coarse - vertices).norm(dim=-1).mean() < 0.2
    posed = model.keypoint_queries.posed(prediction.joints, torch.zeros(2, bodies.PREDICTED, 3))
    torch.testing.assert_close(prediction.vertices_coarse, posed, rtol=0, atol=1e-6)  # nothing is added yet
    with pytest.raises(ValueError, match="starts as the keypoints say"):
        start_camera(model, (0.9, 0, 0))


def test_cost_counts_the_frozen_backbone(model: FastMETRO) -> None:
    cost = measure_cost(model)
    assert cost.macs["backbone"] > 1e9 and cost.parameters["backbone"] > 6e6
    assert cost.total_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_what_cannot_be_is_refused(rule_body_dir: Path) -> None:
    common = {"body_dir": rule_body_dir, "arch": MOVENET_THUNDER}
    with pytest.raises(ValueError, match="movenet-thunder sees images of image_size 256"):
        tore.create_model(image_size=224, **common)
    with pytest.raises(ValueError, match="'test_resnet' finds no keypoints"):
        tore.create_model(body_dir=rule_body_dir, arch="test_resnet", keypoint_queries=True)
    with pytest.raises(ValueError, match="keypoint queries are FastMETRO's"):
        tore.create_model("metro", keypoint_queries=True, **common)
    with pytest.raises(ValueError, match="a body's, not a hand's"):
        tore.create_model(body="hand", keypoint_queries=True, **common)
    with pytest.raises(ValueError, match="no weights of test_resnet come with"):
        load_backbone_weights(Backbone("test_resnet"), "shipped")
    metro = tore.create_model("metro", widths=(64, 32, 16), layers=1, hidden=32, **common)
    assert metro.eval()(torch.zeros(1, 3, 256, 256)).joints.shape == (1, 14, 3)


HAND_NAME = "fastmetro_tore_xs_mediapipe_hand"


def test_hands_follow_their_landmarks(rule_body_dir: Path, tmp_path: Path) -> None:
    """Started from the template and not trained: where the landmarks are, the joints of the mesh are projected."""
    torch.manual_seed(0)
    model = tore.create_model(HAND_NAME, body_dir=rule_body_dir, **SMALL)
    config = model.config
    assert HAND_NAME in tore.list_models() and image_format_of(model) == FORMATS[MEDIAPIPE_HAND]
    assert config.body == "hand" and config.keypoint_queries and config.frozen_backbone
    joints, vertices = template_points("hand", rule_body_dir)
    start_from_template(model, vertices, joints)
    landmarks = torch.cat([torch.rand(2, 21, 2), torch.ones(2, 21, 1), torch.randn(2, 21, 3)], -1)
    with torch.no_grad():
        model.keypoint_queries.correction.bias[2] = 30.0  # full trust
        prediction = model.eval()(ImageFeatures(torch.randn(2, 192, 7, 7), landmarks))
    posed = model.keypoint_queries.posed(prediction.joints)
    torch.testing.assert_close(prediction.vertices_coarse, posed, rtol=0, atol=1e-6)  # nothing is added yet
    projected = project_weak_perspective(prediction.joints, prediction.camera)
    torch.testing.assert_close(projected, 2 * landmarks[..., :2] - 1, rtol=0, atol=1e-4)
    tore.save_model(model, tmp_path / "net.safetensors", half=True, leave_out_backbone=True)
    assert (tmp_path / "net.safetensors").stat().st_size < 1e6
    loaded = tore.load_model(tmp_path / "net.safetensors", rule_body_dir, "cpu")
    assert loaded.config == config
    assert torch.equal(loaded.backbone.state_dict()["trunk.mean"], model.backbone.state_dict()["trunk.mean"])


def test_pose_networks_are_for_their_figure(rule_body_dir: Path) -> None:
    with pytest.raises(ValueError, match="mediapipe-hand sees upright hands, not a body"):
        tore.create_model(arch=MEDIAPIPE_HAND, body_dir=rule_body_dir)
    with pytest.raises(ValueError, match="the keypoints of movenet-thunder are a body's, not a hand's"):
        tore.create_model(arch=MOVENET_THUNDER, body="hand", keypoint_queries=True, body_dir=rule_body_dir)
    assert not tore.create_model(
        arch=MOVENET_THUNDER, body="hand", body_dir=rule_body_dir, **SMALL
    ).config.keypoint_queries
    names = [name for name in tore.list_models() if "mediapipe" in name]
    assert names and all(name.endswith("mediapipe_hand") for name in names)
    assert all(tore.modeling.model_names.named_options(name)["body"] == "hand" for name in names)
