"""Second derivatives, torch.func, torch.export and tracing of the networks, against torch's own layers and by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from tore.modeling.build import create_model
from tore.modeling.neural_shape_regressor import ShapeRegressor
from tore.modeling.transformer import attend
from tore.ops.depthwise import quicken_depthwise
from tore.ops.linear import Linear, drop
from tore.ops.neighbor_attention import NeighborBlocks

ARCH = "mobilenetv4_conv_small"
SIDE = 96  # 3 x 3 image tokens
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "fastmetro": ("fastmetro", {}),
    "smpl_regressor": ("fastmetro", {"smpl_regressor": True}),
    "hand": ("fastmetro", {"body": "hand"}),
    **{name: ("fastmetro", {"token_reduction": name}) for name in ("none", "average", "topk", "tome", "dpc_knn")},
    "random": ("fastmetro", {"token_reduction": "random"}),
    "metro": ("metro", {"hidden": 64, "layers": 1}),
    "metro_none": ("metro", {"hidden": 64, "layers": 1, "token_reduction": "none"}),
    "metro_hand": ("metro", {"hidden": 64, "layers": 1, "body": "hand"}),
}


def second(module: nn.Module | Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The gradient of a gradient penalty to parameters and inputs."""
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    first = torch.autograd.grad(module(*inputs).tanh().square().sum(), inputs, create_graph=True)
    parameters = list(module.parameters()) if isinstance(module, nn.Module) else []
    return list(torch.autograd.grad(sum(g.square().sum() for g in first), [*parameters, *inputs], allow_unused=True))


def assert_same_second(found: list[Tensor], expected: list[Tensor]) -> None:
    """Float32 against float64, relative to the largest entry."""
    assert any(b is not None and b.abs().max() > 0 for b in expected)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert (a - b).abs().max() <= 1e-4 * b.abs().max() + 1e-6


def double_of(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).double()


def test_second_derivative_of_a_linear() -> None:
    torch.manual_seed(0)
    layer, x = Linear(6, 5), torch.randn(3, 4, 6)
    plain = nn.Linear(6, 5).double()
    plain.load_state_dict(layer.state_dict())
    found = second(layer, x)
    assert_same_second(found, second(plain, x.double()))
    assert found[0].abs().max() > 0.1


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivative_of_a_wide_depthwise_convolution(stride: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 4, 5, stride, padding=2, groups=4, bias=False)
    quick, x = copy.deepcopy(plain), torch.randn(2, 4, 9, 8)
    quicken_depthwise(nn.ModuleList([quick]))
    assert_same_second(second(quick, x), second(plain.double(), x.double()))


def test_second_derivative_through_dropout() -> None:
    """By hand: m x^2, m the mask over 1 - p, has the gradient 2 m x, and the square of that the gradient 8 m^2 x."""
    torch.manual_seed(0)
    x = torch.randn(200, requires_grad=True)
    out = drop(x.square(), 0.4)
    mask = (out / x.square()).detach()
    first = torch.autograd.grad(out.sum(), x, create_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(first.square().sum(), x)[0], 8 * mask**2 * x.detach())


def test_second_derivative_of_a_training_shape_regressor() -> None:
    """Linear layers, feed-forward networks and attention within blocks of neighbors in one."""
    torch.manual_seed(0)
    adjacency = torch.eye(20) + torch.diag(torch.ones(19), 1) + torch.diag(torch.ones(19), -1)
    network = ShapeRegressor(adjacency=adjacency, num_joints=5, width=16, heads=2, hidden=24, layers=1, dropout=0.0)
    network.vertex_head.requires_grad_(False)

    def vertices(model: ShapeRegressor) -> Callable[..., Tensor]:
        return lambda joints, camera: model(joints, camera)[0]

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        inputs = torch.randn(2, 5, 16), torch.randn(2, 1, 16)
        found = second(vertices(network), *inputs)
        assert_same_second(found, second(vertices(double_of(network)), *(x.double() for x in inputs)))


@pytest.mark.parametrize("blocks", [False, True])
def test_attention_that_drops_has_second_derivatives(blocks: bool) -> None:
    torch.manual_seed(0)
    allowed = torch.eye(20, dtype=torch.bool) | torch.eye(20, dtype=torch.bool).roll(1, 1)
    mask = NeighborBlocks(allowed) if blocks else allowed
    inputs = [torch.randn(2, 20, 8) for _ in range(3)]

    def call(dropout: float, fused: bool, dtype: torch.dtype) -> list[Tensor]:
        def work(*x: Tensor) -> Tensor:
            return attend(*x, heads=2, allowed=mask, dropout=dropout, fused=fused)

        return second(work, *(x.to(dtype) for x in inputs))

    assert_same_second(call(1e-12, True, torch.float32), call(0.0, False, torch.float64))


def test_fused_attention_refuses_a_second_derivative() -> None:
    inputs = [torch.randn(2, 5, 8) for _ in range(3)]
    with pytest.raises(RuntimeError, match="is not implemented"):
        second(lambda *x: attend(*x, heads=2), *inputs)


def test_a_training_layer_under_transformations() -> None:
    """Forward mode, a batch of functions and a batch of gradients, by the layer's own algebra."""
    layer, x, tangent = Linear(6, 5), torch.randn(3, 6), torch.randn(3, 6)
    expected = tangent @ layer.weight.T
    torch.testing.assert_close(torch.func.jvp(layer, (x,), (tangent,))[1], expected)
    with forward_ad.dual_level():
        dual = layer(forward_ad.make_dual(x, tangent))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, expected)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    x.requires_grad_()
    rows = torch.autograd.grad(layer(x)[0], x, torch.eye(5), is_grads_batched=True)[0]
    torch.testing.assert_close(rows[:, 0], layer.weight)


def small(name: str, body_dir: object) -> nn.Module:
    network, options = NETWORKS[name]
    torch.manual_seed(0)
    sizes = {"size": "S"} if network == "fastmetro" else {}
    return create_model(network, arch=ARCH, body_dir=body_dir, image_size=SIDE, **sizes, **options).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_transformations_of_a_network(name: str, rule_body_dir: object) -> None:
    """vjp and jvp meet in <u, J v>; vmap is the loop over samples, for outputs and for gradients."""
    model, images = small(name, rule_body_dir), torch.randn(2, 3, SIDE, SIDE)
    tangent, pulled = torch.randn_like(images), torch.randn(2, 3)

    def camera(x: Tensor) -> Tensor:
        return model(x).camera

    out, pull = torch.func.vjp(camera, images)
    torch.testing.assert_close(out, camera(images), rtol=1e-4, atol=1e-4)
    pushed = torch.func.jvp(camera, (images,), (tangent,))[1]
    torch.testing.assert_close((pulled * pushed).sum(), (pull(pulled)[0] * tangent).sum(), rtol=1e-3, atol=1e-3)

    def score(x: Tensor) -> Tensor:
        return camera(x[None]).square().sum()

    torch.testing.assert_close(torch.func.vmap(score)(images), camera(images).square().sum(1), rtol=1e-3, atol=1e-4)
    leaf = images.clone().requires_grad_()
    expected = torch.autograd.grad(camera(leaf).square().sum(), leaf)[0]
    found = torch.func.vmap(torch.func.grad(score))(images)
    assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()


def test_hessian_and_functional_call_of_a_network(rule_body_dir: object) -> None:
    """Along a direction, forward over reverse against reverse twice; a functional call against the call."""
    model = small("fastmetro", rule_body_dir).double()
    images, direction = torch.randn(2, 1, 3, SIDE, SIDE, dtype=torch.float64)

    def along(step: Tensor) -> Tensor:
        return model(images + step * direction).camera.square().sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        slope = torch.autograd.grad(along(step), step, create_graph=True)[0]
        expected = torch.autograd.grad(slope, step)[0]
    torch.testing.assert_close(torch.func.hessian(along)(step.detach()), expected)
    call = torch.func.functional_call(model, dict(model.named_parameters()), (images,))
    torch.testing.assert_close(call.camera, model(images).camera)


class Vertices(nn.Module):
    """A network without what tracing cannot return."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).vertices


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_export_and_tracing_keep_the_batch_free(name: str, rule_body_dir: object) -> None:
    model, images = small(name, rule_body_dir), torch.randn(2, 3, SIDE, SIDE)
    batch = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(model, (images,), dynamic_shapes=batch).module()
    traced = torch.jit.trace(Vertices(model), images, check_trace=False)
    for count in (1, 5):
        others = torch.randn(count, 3, SIDE, SIDE)
        with torch.no_grad():
            expected = model(others).vertices
            torch.testing.assert_close(exported(others).vertices, expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(traced(others), expected, rtol=1e-4, atol=1e-4)
