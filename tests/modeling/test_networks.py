"""The networks against the reference values, and what every network must hold whatever its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tore
from tests import rules
from tests.conftest import assert_agrees, reference, rule_state_dict
from tore.modeling import MeshPrediction
from tore.modeling.backbones import Backbone
from tore.modeling.build import build_model, topology_for
from tore.modeling.checkpoints import from_official
from tore.modeling.fastmetro import query_mask

SMALL = "resnet10t"  # a quick stride-32 backbone of timm's
TORE = [
    "tore_fastmetro_L_resnet50_keep0.8",
    "tore_fastmetro_L_efficientnet-b0_keep0.8",
    pytest.param("tore_fastmetro_L_hrnet-w64_keep0.8", marks=pytest.mark.slow),
    "tore_metro_resnet50",
]
BASELINES = [
    "fastmetro_L_resnet50_smpl_regressor",
    "fastmetro_hand_L_resnet50",
    "metro_resnet50",
    "metro_hand_resnet50",
]


def rule_model(name: str, body_dir: Path) -> torch.nn.Module:
    checkpoint = from_official(rule_state_dict(name), Path(name))
    model = build_model(checkpoint.config, topology_for(checkpoint.config, body_dir))
    model.load_state_dict(checkpoint.state)
    return model.eval()


def arrays(prediction: MeshPrediction) -> dict[str, Tensor]:
    """The parts that the reference files store."""
    parts = {"cam": prediction.camera, "joints": prediction.joints, "coarse": prediction.vertices_coarse}
    if prediction.vertices_mid is None:
        parts["fine_every_7"] = prediction.vertices[:, ::7]
    else:
        parts |= {"mid_every_17": prediction.vertices_mid[:, ::17], "fine_every_53": prediction.vertices[:, ::53]}
    others = {"heatmap": prediction.heatmap, "rotmat": prediction.rotations, "betas": prediction.betas}
    return parts | {name: value for name, value in others.items() if value is not None}


@pytest.mark.parametrize("name", TORE)
def test_reference_values(name: str, rule_body_dir: Path) -> None:
    model, expected = rule_model(name, rule_body_dir), reference(name)
    images = torch.from_numpy(rules.images(0, 2))
    with torch.no_grad():
        single = arrays(model(images))
        double = arrays(model.double()(images.double()))
    assert set(double) == set(expected)
    for part, value in expected.items():
        assert_agrees(double[part], value, 1e-6)
        assert_agrees(single[part], value, 2e-3 if part == "heatmap" and "hrnet" in name else 2e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_reference_values_of_the_baselines(name: str, rule_body_dir: Path) -> None:
    """They are stored from float32, so float64 cannot come nearer than float32's rounding."""
    model, expected = rule_model(name, rule_body_dir), reference(name)
    images = torch.from_numpy(rules.images(0, 2))
    with torch.no_grad():
        for actual in (arrays(model(images)), arrays(model.double()(images.double()))):
            assert set(actual) == set(expected)
            for part, value in expected.items():
                assert_agrees(actual[part], value, 1e-5)


def small(network: str, body_dir: Path, **options) -> torch.nn.Module:
    """A quick network with the full mesh."""
    torch.manual_seed(0)
    narrow = {"widths": (64, 32), "hidden": (64, 64), "heads": 4}
    if network == "metro":
        narrow = {"widths": (64, 32, 16), "hidden": 64, "layers": 2, "regressor_heads": 4, "regressor_hidden": 64}
    return tore.create_model(network, body_dir=body_dir, **{"arch": SMALL, **narrow, **options})


REDUCTIONS = pytest.mark.parametrize("reduction", ["tore", "none"])


@REDUCTIONS
@pytest.mark.parametrize("network", ["fastmetro", "metro"])
@pytest.mark.parametrize(("body", "joints", "coarse", "full"), [("body", 14, 431, 6890), ("hand", 21, 195, 778)])
def test_result_shapes(
    network: str, reduction: str, body: str, joints: int, coarse: int, full: int, rule_body_dir: Path
) -> None:
    smpl = body == "body"
    model = small(network, rule_body_dir, body=body, token_reduction=reduction, smpl_regressor=smpl)
    out = model(torch.zeros(2, 3, 224, 224))
    assert out.camera.shape == (2, 3) and out.joints.shape == (2, joints, 3)
    assert out.vertices_coarse.shape == (2, coarse, 3) and out.vertices.shape == (2, full, 3)
    assert (out.vertices_mid is None) == (body == "hand")
    assert [level.shape[1] for level in out.levels] == [coarse, full] if body == "hand" else [coarse, 1723, full]
    pruned = network == "fastmetro" and reduction == "tore"
    assert out.heatmap.shape == (2, 39, 49) if pruned else out.heatmap is None
    assert out.rotations.shape == (2, 24, 3, 3) and out.betas.shape == (2, 10) if smpl else out.rotations is None


@REDUCTIONS
@pytest.mark.parametrize("network", ["fastmetro", "metro"])
def test_batch_of_five_is_five_single_images(network: str, reduction: str, rule_body_dir: Path) -> None:
    model = small(network, rule_body_dir, token_reduction=reduction, smpl_regressor=True).eval()
    images = torch.from_numpy(rules.images(1, 5))
    with torch.no_grad():
        whole = model(images)
        singles = [model(image[None]) for image in images]
    for i, part in enumerate(whole):
        if part is not None:
            assert_agrees(torch.cat([single[i] for single in singles]), part.numpy(), 1e-5)


@REDUCTIONS
@pytest.mark.parametrize("network", ["fastmetro", "metro"])
@pytest.mark.parametrize("body", ["body", "hand"])
def test_every_parameter_gets_a_finite_gradient(network: str, body: str, reduction: str, rule_body_dir: Path) -> None:
    options = {"body": body, "token_reduction": reduction, "smpl_regressor": body == "body"}
    model = small(network, rule_body_dir, **options).train()
    out = model(torch.from_numpy(rules.images(2, 3)))
    torch.manual_seed(1)
    sum((part * torch.randn_like(part)).sum() for part in out if part is not None).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # timm starts the last norm of this backbone's blocks at zero, which hides the convolutions behind it; a
        # constant along the softmaxed axis moves no attention weight, so those biases have no slope.
        # So do biases before a batch norm.
        flat = name.startswith("backbone.") or name.endswith(("in_proj_bias", "key.bias", "assign.bias"))
        assert flat or parameter.grad.abs().sum() > 0, name


@REDUCTIONS
@pytest.mark.parametrize("network", ["fastmetro", "metro"])
@pytest.mark.parametrize("body", ["body", "hand"])
def test_compiles_without_a_break(network: str, body: str, reduction: str, rule_body_dir: Path) -> None:
    shallow = {"size": "S"} if network == "fastmetro" else {"layers": 1, "regressor_layers": 1}
    options = {"token_reduction": reduction, "smpl_regressor": body == "body", **shallow}
    model = small(network, rule_body_dir, body=body, **options).eval()
    images = torch.from_numpy(rules.images(3, 2))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        plain, traced = model(images), compiled(images)
    torch._dynamo.reset()
    for a, b in zip(plain, traced, strict=True):
        if a is not None:
            assert_agrees(b, a.numpy(), 1e-5)


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"network": network, "token_reduction": reduction}
            for network in ("fastmetro", "metro")
            for reduction in ("tore", "none")
        ),
        *(
            {"network": "fastmetro", "token_reduction": name}
            for name in ("average", "topk", "tome", "dpc_knn", "random")
        ),
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_half_precision(options: dict, rule_body_dir: Path) -> None:
    """Under autocast and in bfloat16 throughout the mesh stays near float32's, and rotations stay rotations."""
    model = small(body_dir=rule_body_dir, smpl_regressor=True, **options).eval()
    images = torch.from_numpy(rules.images(8, 2))
    with torch.no_grad():
        plain = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(images)
        low = model.bfloat16()(images.bfloat16())
    for out in (mixed, low):
        chosen = options["token_reduction"] in ("topk", "tome", "dpc_knn")  # a near tie can fall to the other side
        assert_agrees(out.vertices_coarse.float(), plain.vertices_coarse.numpy(), 0.5 if chosen else 0.1)
        eye = torch.eye(3).expand(2, 24, 3, 3)
        torch.testing.assert_close(out.rotations @ out.rotations.mT, eye, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("ratio", "tokens"), [(1.0, 49), (0.8, 39), (0.5, 24), (0.2, 9), (0.021, 1)])
def test_keep_ratio(ratio: float, tokens: int, rule_body_dir: Path) -> None:
    out = small("fastmetro", rule_body_dir, keep_ratio=ratio)(torch.zeros(1, 3, 224, 224))
    assert out.heatmap.shape == (1, tokens, 49)
    torch.testing.assert_close(out.heatmap.sum(2), torch.ones(1, tokens))


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, 0.02])
def test_keep_ratio_outside_its_range(ratio: float, rule_body_dir: Path) -> None:
    with pytest.raises(ValueError, match=f"keep_ratio {ratio}"):
        small("fastmetro", rule_body_dir, keep_ratio=ratio)


@pytest.mark.parametrize(("size", "layers"), [("S", 1), ("M", 2), ("L", 3)])
def test_sizes(size: str, layers: int, rule_body_dir: Path) -> None:
    model = small("fastmetro", rule_body_dir, size=size)
    for part in (model.transformer_1, model.transformer_2, model.shape_regressor.transformer):
        assert len(part.encoder) == len(part.decoder) == layers


def test_other_image_sizes(rule_body_dir: Path) -> None:
    model = small("fastmetro", rule_body_dir).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 256, 192)).heatmap.shape == (1, 39, 48)
        baseline = small("fastmetro", rule_body_dir, token_reduction="none").eval()
        assert baseline(torch.zeros(1, 3, 256, 192)).joints.shape == (1, 14, 3)
        hand = small("metro", rule_body_dir, token_reduction="none", body="hand", widths=(64, 32, 16))
        assert hand(torch.zeros(1, 3, 256, 192)).joints.shape == (1, 21, 3)
    with pytest.raises(ValueError, match="48"):
        small("metro", rule_body_dir)(torch.zeros(1, 3, 256, 192))
    assert small("metro", rule_body_dir, image_size=256)(torch.zeros(1, 3, 256, 256)).joints.shape == (1, 14, 3)


def test_metro_masks_joint_tokens(rule_body_dir: Path) -> None:
    model = small("metro", rule_body_dir, dropout=0.0).eval()
    images, mask = torch.from_numpy(rules.images(4, 2)), torch.ones(2, 14, 1)
    with torch.no_grad():
        plain, kept = model(images), model(images, joint_mask=mask)
        mask[:, [0, 5]] = 0
        masked = model(images, joint_mask=mask)
    torch.testing.assert_close(plain.joints, kept.joints)
    assert (plain.joints - masked.joints).abs().max() > 1e-4


def test_metro_without_reduction_masks_joints_and_vertices(rule_body_dir: Path) -> None:
    model = small("metro", rule_body_dir, token_reduction="none", dropout=0.0).eval()
    images, mask = torch.from_numpy(rules.images(4, 2)), torch.ones(2, 14 + 431, 1)
    with torch.no_grad():
        plain = model(images, joint_mask=mask)
        mask[:, 14 + 7] = 0
        masked = model(images, joint_mask=mask)
    moved = (plain.vertices_coarse - masked.vertices_coarse).abs().amax((0, 2))
    assert moved.argmax() == 7
    with pytest.raises(ValueError, match="a mask of 14 rows does not fit METRO's 445 tokens"):
        model(images, joint_mask=mask[:, :14])


def test_vertices_see_joints_and_their_neighbors(rule_body_dir: Path) -> None:
    adjacency = rules.adjacency()
    allowed = query_mask(14, torch.from_numpy(adjacency))
    for row in range(0, 445, 37):
        for column in range(445):
            expected = row < 14 or column < 14 or adjacency[row - 14, column - 14] != 0
            assert allowed[row, column] == expected
    baseline = small("fastmetro", rule_body_dir, token_reduction="none")
    assert torch.equal(baseline.query_tokens.allowed, allowed)
    assert small("fastmetro", rule_body_dir).query_tokens.allowed is None


def test_the_smpl_regressor_sends_nothing_back(rule_body_dir: Path) -> None:
    model = small("fastmetro", rule_body_dir, token_reduction="none", size="S", smpl_regressor=True).train()
    out = model(torch.from_numpy(rules.images(6, 2)))
    (out.rotations.square().sum() + (out.rotations[..., 0] + out.betas.mean()).sum()).backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"smpl_regressor"}


def test_initialisation(rule_body_dir: Path) -> None:
    torch.manual_seed(0)
    fast = tore.create_model("fastmetro", arch=SMALL, body_dir=rule_body_dir)
    packed = fast.transformer_1.encoder[0].self_attn.in_proj_weight  # xavier on the packed (3d, d) matrix
    assert packed.abs().max() <= (6 / (3 * 512 + 512)) ** 0.5
    np.testing.assert_allclose(packed.std().item(), (2 / (3 * 512 + 512)) ** 0.5, rtol=0.01)
    np.testing.assert_allclose(fast.shape_regressor.vertex_tokens.std().item(), 1, rtol=0.02)
    metro = tore.create_model("metro", arch=SMALL, body_dir=rule_body_dir)
    for module in (metro.blocks[0].positions, metro.blocks[1].embedding, metro.blocks[0].layers[0].query):
        np.testing.assert_allclose(module.weight.std().item(), 0.02, rtol=0.02)
    assert metro.blocks[0].head.bias.abs().max() == 0


def test_training_behaviour_of_the_backbones() -> None:
    efficient, plain = Backbone("efficientnet-b0"), Backbone("resnet50")
    drop = [getattr(block.drop_path, "drop_prob", 0.0) for stage in efficient.trunk.blocks for block in stage]
    skips = [i for i, rate in enumerate(drop) if rate]
    np.testing.assert_allclose([drop[i] for i in skips], [0.2 * i / 16 for i in skips], atol=1e-3)
    norms = [m for m in efficient.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.01} and {norm.eps for norm in norms} == {1e-3}
    assert {m.momentum for m in plain.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize(("arch", "finding"), [("vit_tiny_patch16_224", "stride 16"), ("resnet5000", "not known")])
def test_unfit_backbones(arch: str, finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        Backbone(arch)


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        ({"network": "yolo"}, "'yolo' is not known"),
        ({"size": "XL"}, "'XL' is not known"),
        ({"body": "foot"}, "'foot' is not known"),
        ({"color": 3}, "no option color"),
        ({"heads": 7}, "7 heads"),
        ({"token_reduction": "magic"}, "'magic' is not known for fastmetro"),
        ({"network": "metro", "token_reduction": "itp"}, "'itp' is not known for metro"),
        ({"network": "metro", "image_mixing": "soup"}, "'soup' is not known"),
        ({"network": "metro", "token_reduction": "none", "camera_points": "some"}, "'some' is not known"),
        ({"body": "hand", "smpl_regressor": True}, "not a hand's"),
        ({"learned_upsampling": 3}, "3 learned up-sampling steps"),
        ({"kept_tokens": None}, "cannot keep None tokens"),
    ],
)
def test_unknown_options(options: dict, finding: str, rule_body_dir: Path) -> None:
    with pytest.raises(ValueError, match=finding):
        tore.create_model(**{"arch": SMALL, "body_dir": rule_body_dir, **options})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@REDUCTIONS
@pytest.mark.parametrize("network", ["fastmetro", "metro"])
def test_cuda_agrees_with_cpu(network: str, reduction: str, rule_body_dir: Path) -> None:
    model = small(network, rule_body_dir, token_reduction=reduction, smpl_regressor=True).double().eval()
    images = torch.from_numpy(rules.images(5, 2)).double()
    with torch.no_grad():
        here, there = model(images), model.to("cuda")(images.to("cuda"))
    for a, b in zip(here, there, strict=True):
        if a is not None:
            assert_agrees(b, a.numpy(), 1e-9)
