"""The kernels that training takes on a CPU against torch's own, in float64 where they do not apply."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from tore.modeling.backbones import Backbone
from tore.modeling.timm_trunks import WideDepthwiseSame, quickened
from tore.modeling.transformer import FEW_KEYS, EncoderDecoder, attend
from tore.ops.depthwise import WideDepthwise, quicken_depthwise
from tore.ops.linear import Linear


def gradients(module: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """Of a fixed sum of the output to inputs and parameters, the output first."""
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    out = module(*inputs)
    out = out if isinstance(out, Tensor) else torch.cat([part.flatten() for part in out])
    wanted = [*inputs, *module.parameters()]
    return [out, *torch.autograd.grad((out * out.detach().sin()).sum(), wanted)]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32 and b.dtype == torch.float64
        assert (a - b).abs().max() <= 2e-5 * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("shape", [(7, 12), (3, 5, 12)])
def test_linear_is_torchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = Linear(12, 9), torch.randn(shape)
    plain = nn.Linear(12, 9).double()
    plain.load_state_dict(layer.state_dict())
    assert_same(gradients(layer, x), gradients(plain, x.double()))
    with torch.no_grad():
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
@pytest.mark.parametrize(("kernel", "stride", "size"), [(5, 1, (9, 7)), (5, 2, (9, 12)), ((3, 7), 1, (8, 11))])
def test_wide_depthwise_is_torchs(
    kind: type[nn.Conv2d], bias: bool, kernel: int, stride: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    plain = kind(6, 6, kernel, stride, padding=2, groups=6, bias=bias)
    quick = quickened(copy.deepcopy(plain))
    assert isinstance(quick, (WideDepthwise, WideDepthwiseSame)) and isinstance(quick, kind)
    x = torch.randn(2, 6, *size).contiguous(memory_format=torch.channels_last)
    assert_same(gradients(quick, x), gradients(plain.double(), x.double()))


def test_only_wide_depthwise_convolutions_change() -> None:
    kept = [nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 5), nn.Conv2d(4, 4, 5, groups=2)]
    kept += [nn.Conv2d(4, 4, 5, groups=4, dilation=2), nn.Conv2d(4, 4, 5, groups=4, padding="same")]
    quicken_depthwise(nn.ModuleList(kept))
    assert all(type(conv) is nn.Conv2d for conv in kept)


def test_efficientnet_trains_on_the_quick_kernels() -> None:
    trunk = Backbone("efficientnet-b0").trunk
    wide = [m for m in trunk.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and m.kernel_size == (5, 5)]
    assert len(wide) == 9 and all(isinstance(m, (WideDepthwise, WideDepthwiseSame)) for m in wide)
    assert not any(m.inplace for m in trunk.modules() if isinstance(m, nn.SiLU))


@pytest.mark.parametrize("keys", [FEW_KEYS - 1, FEW_KEYS])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_that_drops_next_to_nothing_is_torchs(keys: int, masked: bool) -> None:
    """Both orders of the scores; a probability below the draw's bits drops one entry in 2^30."""
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 5, 8), torch.randn(2, keys, 8), torch.randn(2, keys, 8)
    allowed = (torch.rand(5, keys) < 0.5) | (torch.arange(keys) == 0) if masked else None

    def call(dropout: float, *inputs: Tensor) -> list[Tensor]:
        inputs = tuple(x.clone().requires_grad_() for x in inputs)
        out = attend(*inputs, heads=2, allowed=allowed, dropout=dropout)
        return [out, *torch.autograd.grad(out.square().sum(), inputs)]

    found = call(1e-12, query, key, value)
    assert_same(found, call(0.0, query.double(), key.double(), value.double()))


def test_attention_in_steps_is_torchs() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 50, 8), torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    heads = [x.double().unflatten(2, (2, 4)).transpose(1, 2) for x in (query, key, value)]
    expected = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attend(query, key, value, heads=2, fused=False), expected.float(), rtol=1e-5, atol=1e-5)


def test_transformer_trains_as_in_double_precision() -> None:
    torch.manual_seed(0)
    quick = EncoderDecoder(width=16, heads=4, hidden=24, layers=2, dropout=0.0)
    plain = copy.deepcopy(quick).double()
    inputs = [torch.randn(3, 6, 16), torch.randn(3, 1, 16), torch.randn(3, 4, 16), torch.randn(6, 16)]
    assert_same(gradients(quick, *inputs), gradients(plain, *(x.double() for x in inputs)))
