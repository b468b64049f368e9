"""The optimized graph against the plain network, which is the oracle: the same numbers to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import rules
from tests.conftest import assert_agrees, reference
from tests.modeling.test_networks import arrays, rule_model, small
from tore.export import for_inference
from tore.modeling.heads import MeshPrediction

TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5}
SIDE = 96  # pixels
# What the form takes care of apart: (network, options).
NETWORKS = {
    "fastmetro S": ("fastmetro", {"size": "S"}),
    "fastmetro M, keep 0.4": ("fastmetro", {"size": "M", "keep_ratio": 0.4}),
    "fastmetro L, keep 0.2, SMPL": ("fastmetro", {"size": "L", "keep_ratio": 0.2, "smpl_regressor": True}),
    "fastmetro hand": ("fastmetro", {"size": "M", "body": "hand"}),
    "fastmetro baseline": ("fastmetro", {"size": "M", "token_reduction": "none"}),
    "fastmetro hand baseline": ("fastmetro", {"size": "S", "token_reduction": "none", "body": "hand"}),
    "geometry reduction alone": ("fastmetro", {"size": "S", "token_reduction": "none", "geometry_reduction": True}),
    "image reduction alone": ("fastmetro", {"size": "S", "geometry_reduction": False}),
    **{name: ("fastmetro", {"size": "S", "token_reduction": name}) for name in ("average", "topk", "tome", "dpc_knn")},
    "metro": ("metro", {"smpl_regressor": True}),
    "metro hand": ("metro", {"body": "hand"}),
    "metro baseline": ("metro", {"token_reduction": "none"}),
    "metro hand baseline": ("metro", {"token_reduction": "none", "body": "hand"}),
}


def lived_in(model: torch.nn.Module) -> torch.nn.Module:
    """The network in evaluation mode with weights, norms and running statistics off their fresh values."""
    r = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=r))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=r))
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.05 * torch.randn(parameter.shape, generator=r)
    return model.eval()


def random_images(batch: int, height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(batch))


def assert_same(actual: MeshPrediction, plain: MeshPrediction, tolerance: float) -> None:
    for name, expected in plain._asdict().items():
        found = getattr(actual, name)
        assert (found is None) == (expected is None), name
        if expected is not None:
            assert found.dtype == expected.dtype
            assert_agrees(found, expected.numpy(), tolerance)


@torch.no_grad()
def check(model: torch.nn.Module, images: torch.Tensor) -> None:
    """The form is the network, in both precisions."""
    for dtype, tolerance in TOLERANCES.items():
        model, images = model.to(dtype), images.to(dtype)
        assert_same(for_inference(model)(images), model(images), tolerance)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name: str, rule_body_dir: Path) -> None:
    network, options = NETWORKS[name]
    check(lived_in(small(network, rule_body_dir, image_size=SIDE, **options)), random_images(2))


@pytest.mark.parametrize(
    "arch",
    [
        "resnet50",
        "efficientnet-b0",
        "efficientnet-b1",
        pytest.param("hrnet-w64", marks=pytest.mark.slow),
        "mobilenetv3_small_050",  # activations that no kernel takes
        "convnext_atto",  # no batch norm
    ],
)
def test_every_backbone(arch: str, rule_body_dir: Path) -> None:
    """Among them strides in TensorFlow's padding, squeeze and excitation, sums of several resolutions."""
    check(lived_in(small("fastmetro", rule_body_dir, arch=arch, size="S", image_size=SIDE)), random_images(1))


@pytest.mark.parametrize("name", ["tore_fastmetro_L_efficientnet-b0_keep0.8", "tore_metro_resnet50"])
def test_reference_values(name: str, rule_body_dir: Path) -> None:
    """At full size, against the stored values that the plain networks are held to."""
    with torch.no_grad():
        found = arrays(for_inference(rule_model(name, rule_body_dir))(torch.from_numpy(rules.images(0, 2))))
    for part, value in reference(name).items():
        assert_agrees(found[part], value, TOLERANCES[torch.float32])


@torch.no_grad()
def test_one_form_takes_every_batch_and_image_size(rule_body_dir: Path) -> None:
    """Sizes that TensorFlow's padding splits evenly and unevenly, on a network that reduces neither kind of token.

    Moved to another dtype it keeps the rounding of what was computed beforehand.
    """
    model = lived_in(small("fastmetro", rule_body_dir, arch="efficientnet-b0", size="S", token_reduction="none"))
    form = for_inference(model)
    for batch, height, width in ((1, 224, 224), (3, 224, 224), (2, 160, 96), (1, 225, 250), (5, 64, 64)):
        images = random_images(batch, height, width)
        assert_same(form(images), model(images), TOLERANCES[torch.float32])
    moved = form.double()(images.double())
    assert_same(moved, model.double()(images.double()), TOLERANCES[torch.float32])
    assert_same(form.float()(images), model.float()(images), TOLERANCES[torch.float32])


@torch.no_grad()
def test_form_is_on_its_own(rule_body_dir: Path) -> None:
    """Later changes of the network do not reach the form, nor does making a form change the network."""
    model = small("fastmetro", rule_body_dir, size="S", image_size=SIDE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    form, images = for_inference(model), random_images(1)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    expected = model.eval()(images)
    for parameter in model.parameters():
        parameter.zero_()
    assert_same(form(images), expected, TOLERANCES[torch.float32])
    assert form.config is model.config


def test_anything_else_is_refused() -> None:
    with pytest.raises(ValueError, match="no optimized model of a Linear"):
        for_inference(torch.nn.Linear(2, 2))
