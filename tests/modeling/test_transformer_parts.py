"""The Transformer's parts against slow, plain twins: torch's own attention, and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests import rules
from tore.body import MeshLevels
from tore.losses.terms import smpl_parameters_loss, squared_distance
from tore.modeling.heads import SMPLRegressor, signed_rotation
from tore.modeling.image_token_pruning import TokenReduction
from tore.modeling.metro import BertLayer, MetroBlock
from tore.modeling.neural_shape_regressor import ShapeRegressor, Upsampling
from tore.modeling.transformer import EncoderDecoder, MultiHeadAttention, TokenPositions, attend, sine_position_code
from tore.ops.linear import Dropout
from tore.ops.neighbor_attention import NeighborBlocks


def twin_of(module: MultiHeadAttention, width: int) -> nn.MultiheadAttention:
    twin = nn.MultiheadAttention(width, module.heads, batch_first=True).double()
    twin.load_state_dict(module.state_dict())
    return twin


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs(masked: bool) -> None:
    torch.manual_seed(0)
    module = MultiHeadAttention(16, 4, 0.0).double()
    query, key, value = torch.randn(2, 5, 16).double(), torch.randn(2, 7, 16).double(), torch.randn(2, 7, 16).double()
    allowed = (torch.rand(5, 7) < 0.5) | (torch.arange(7) == 0) if masked else None
    blocked = None if allowed is None else ~allowed
    expected, _ = twin_of(module, 16)(query, key, value, attn_mask=blocked)
    torch.testing.assert_close(module(query, key, value, allowed), expected, rtol=1e-12, atol=1e-12)


def test_attention_with_dropout_is_unbiased() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 6, 8)
    allowed = torch.eye(6, dtype=torch.bool) | (torch.rand(6, 6) < 0.5)
    plain = attend(q, k, v, heads=2, allowed=allowed)
    drawn = attend(*(x.expand(4000, -1, -1) for x in (q, k, v)), heads=2, allowed=allowed, dropout=0.3)
    assert (drawn - plain).abs().max() > 0.1
    np.testing.assert_allclose(drawn.mean(0), plain[0], atol=0.06)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.003])
def test_dropout_is_bernoulli(probability: float) -> None:
    """Shares, neighbors' independence (two entries share a random word), values, gradient, seed."""
    torch.manual_seed(0)
    layer, x = Dropout(probability), torch.randn(1001, 999, requires_grad=True)
    dropped = layer(x)
    lost = dropped == 0
    spread = (probability * (1 - probability) / x.numel()) ** 0.5
    assert abs(lost.float().mean().item() - probability) < 5 * spread
    pairs = lost.flatten()[:-1].view(-1, 2).float()
    covariance = (pairs[:, 0] * pairs[:, 1]).mean() - pairs[:, 0].mean() * pairs[:, 1].mean()
    assert abs(covariance.item()) < 5 * probability * (1 - probability) / len(pairs) ** 0.5
    torch.testing.assert_close(dropped[~lost], (x / (1 - probability))[~lost])
    dropped.sum().backward()
    assert torch.equal(x.grad == 0, lost)
    torch.testing.assert_close(x.grad[~lost], torch.full_like(x, 1 / (1 - probability))[~lost])
    torch.manual_seed(0)
    torch.randn(1001, 999)
    assert torch.equal(layer(x), dropped) and torch.equal(layer.eval()(x), x)
    assert layer.train()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_dropout_of_all_or_nothing(probability: float) -> None:
    x = torch.randn(3, 5)
    torch.testing.assert_close(Dropout(probability)(x), x * (1 - probability))


def mesh_mask(rows: int = 6, columns: int = 7) -> torch.Tensor:
    """Who touches whom on a grid of triangles, (42, 42), with one row that sees a far vertex besides."""
    at = np.stack(np.divmod(np.arange(rows * columns), columns), 1)
    step = at[:, None] - at[None]
    touching = (np.abs(step).max(-1) <= 1) & (step.sum(-1) != 2) & (step.sum(-1) != -2)
    touching[0, -1] = True
    return torch.from_numpy(touching)


@pytest.mark.parametrize("size", [1, 5, 16, 64])
def test_attention_in_blocks_is_the_dense_one(size: int) -> None:
    """Values and gradients; 42 queries do not fill whole blocks."""
    torch.manual_seed(0)
    mask = mesh_mask()
    blocks = NeighborBlocks(mask, size)
    assert sorted(blocks.place.tolist()) == sorted(set(blocks.place.tolist())) and len(blocks.place) == 42
    inputs = [torch.randn(3, 42, 8, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weight = torch.randn(3, 42, 8).double()
    found = []
    for allowed in (mask, blocks):
        mixed = attend(*inputs, heads=2, allowed=allowed)
        found.append([mixed, *torch.autograd.grad(mixed, inputs, weight)])
    for dense, block in zip(*found, strict=True):
        torch.testing.assert_close(block, dense, rtol=1e-12, atol=1e-12)


def test_dropout_in_blocks_drops_single_weights() -> None:
    """With the unit vectors as values the result is the weights: each allowed one is 0 or grown by 1 / (1 - p)."""
    torch.manual_seed(0)
    mask, repeats = mesh_mask(), 300
    query, key = torch.randn(2, 1, 42, 42)
    plain = attend(query, key, torch.eye(42)[None], heads=1, allowed=mask)[0]
    many = (x.expand(repeats, -1, -1) for x in (query, key, torch.eye(42)))
    drawn = attend(*many, heads=1, allowed=NeighborBlocks(mask), dropout=0.2)
    kept = drawn != 0
    assert not kept[:, ~mask].any()
    torch.testing.assert_close(drawn[kept], (plain / 0.8).expand_as(drawn)[kept])
    shares = kept.float().mean(0)[mask]
    np.testing.assert_allclose(shares, 0.8, atol=5 * (0.16 / repeats) ** 0.5)
    assert abs(shares.mean() - 0.8) < 5 * (0.16 / repeats / mask.sum()) ** 0.5


def test_shape_regressor_trains_as_it_evaluates() -> None:
    """Training goes through blocks, evaluation through the dense mask: same meshes, same gradients, one graph."""
    torch.manual_seed(0)
    options = {"adjacency": mesh_mask().float(), "num_joints": 4, "width": 16, "heads": 2, "hidden": 24, "layers": 2}
    model = ShapeRegressor(**options, dropout=0.0).double()
    assert not any("blocks" in name for name in model.state_dict())
    joints, camera = torch.randn(2, 4, 16).double(), torch.randn(2, 1, 16).double()
    found = []
    for mode in (True, False):
        vertices, _ = model.train(mode)(joints, camera)
        found.append([vertices, *torch.autograd.grad(vertices.square().sum(), list(model.parameters()))])
    for blocks, dense in zip(*found, strict=True):
        torch.testing.assert_close(blocks, dense, rtol=1e-10, atol=1e-12)
    compiled = torch.compile(model.train(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(joints, camera)[0], found[0][0])
    torch._dynamo.reset()


def test_position_code_is_the_loop() -> None:
    height, width, channels = 5, 3, 16
    code = sine_position_code(height, width, channels)
    for y in range(height):
        for x in range(width):
            row = []
            for position, last in ((y + 1, height), (x + 1, width)):
                angle = position / (last + 1e-6) * 2 * math.pi
                for c in range(channels // 2):
                    wave = angle / 10000 ** (2 * (c // 2) / (channels // 2))
                    row.append(math.sin(wave) if c % 2 == 0 else math.cos(wave))
            np.testing.assert_allclose(code[y * width + x], row, atol=2e-6)
    with pytest.raises(ValueError, match="not 6"):
        sine_position_code(2, 2, 6)


def test_positions_of_tokens() -> None:
    grid, heatmap = sine_position_code(3, 5, 8), torch.rand(2, 4, 15).softmax(2)
    placed = TokenPositions(channels=8)
    torch.testing.assert_close(placed((3, 5), None), grid)
    torch.testing.assert_close(placed((3, 5), heatmap), heatmap @ grid)
    torch.testing.assert_close(placed((7, 7), None), sine_position_code(7, 7, 8))
    assert placed.double()((3, 5), None).dtype == torch.float64
    torch.testing.assert_close(TokenPositions(channels=8, listed=4)((3, 5), heatmap), sine_position_code(4, 1, 8))


def test_learned_upsampling_comes_first() -> None:
    levels = MeshLevels(*(rules.mesh_levels()[name] for name in "UD"))
    mixed, fixed = Upsampling(levels, learned=1), Upsampling(levels, learned=0)
    coarse = torch.randn(2, 431, 3)
    mid, full = mixed(coarse)
    for b in range(2):
        torch.testing.assert_close(mid[b], mixed.steps[0].weight @ coarse[b] + mixed.steps[0].bias[:, None])
    torch.testing.assert_close(full, levels.up[1](mid))
    assert all(torch.equal(a, b) for a, b in zip(fixed(coarse), levels.upsample(coarse), strict=True))
    assert not fixed.state_dict() and len(Upsampling(levels, learned=2).state_dict()) == 4


def test_smpl_regressor_is_written_out() -> None:
    """Layer by layer, with one decomposition per rotation."""
    torch.manual_seed(0)
    module = SMPLRegressor(vertices=7, width=16).double().eval()
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm1d)):
        nn.init.normal_(norm.running_mean), nn.init.uniform_(norm.running_var, 0.5, 2), nn.init.normal_(norm.weight)
    vertices = torch.randn(3, 7, 3).double()
    rotations, betas = module(vertices)

    def norm(x: torch.Tensor, layer: nn.BatchNorm1d) -> torch.Tensor:
        return (x - layer.running_mean) / (layer.running_var + 1e-5).sqrt() * layer.weight + layer.bias

    x = norm(module.embedding[0](vertices.reshape(3, 21)), module.embedding[1]).clamp(min=0)
    for block in module.blocks:
        first, first_norm, _, second, second_norm = block.layers
        x = (x + norm(second(norm(first(x), first_norm).clamp(min=0)), second_norm)).clamp(min=0)
    numbers = module.head(x)
    torch.testing.assert_close(betas, numbers[:, 216:])
    for b in range(3):
        for joint in range(24):
            u, _, v = np.linalg.svd(numbers[b, 9 * joint : 9 * joint + 9].detach().numpy().reshape(3, 3))
            np.testing.assert_allclose(rotations[b, joint].detach(), u @ v * np.linalg.det(u @ v), atol=1e-10)


def test_smpl_regressor_overfits_a_few_bodies() -> None:
    """Through the decompositions, from shapes that stand for bodies to their rotations and betas."""
    torch.manual_seed(0)
    labels = {name: torch.from_numpy(array) for name, array in rules.annotations(9, 6).items()}
    seen, has_mesh = torch.randn(6, 50, 3), torch.ones(6)
    module = SMPLRegressor(vertices=50, width=64, blocks=1)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    losses = []
    for _ in range(300):
        rotations, betas = module(seen)
        loss = smpl_parameters_loss(
            rotations, betas, labels["pose"], labels["betas"], has_mesh, distance=squared_distance
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-20:]) < 0.05 * losses[0], losses[::50]


def test_signed_rotations() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(50, 3, 3).double()
    matrices[0], matrices[1] = torch.eye(3), -torch.eye(3)
    matrices.requires_grad_()
    rotations = signed_rotation(matrices)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).double().expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(50).double())
    torch.testing.assert_close(rotations[1], torch.eye(3).double())
    (rotations * torch.randn(50, 3, 3)).sum().backward()
    assert matrices.grad.isfinite().all()
    assert torch.autograd.gradcheck(signed_rotation, matrices[2:6].detach().requires_grad_())


def test_token_reduction_is_the_loop() -> None:
    torch.manual_seed(0)
    module = TokenReduction(width=8, tokens=4, hidden=6).double()
    nn.init.normal_(module.norm.weight)
    features = torch.randn(2, 8, 3, 5).double()
    tokens, heatmap = module(features)
    context = nn.functional.conv2d(features, module.conv.weight, module.conv.bias, padding=1)
    for b in range(2):
        rows = []
        for m in range(4):
            logits = []
            for y in range(3):
                for x in range(5):
                    c = context[b, :, y, x]
                    c = 0.5 * c * (1 + torch.erf(c / math.sqrt(2)))
                    logits.append(module.assign.weight[m] @ c + module.assign.bias[m])
            share = torch.stack(logits).exp()
            share = share / share.sum()
            torch.testing.assert_close(heatmap[b, m], share)
            rows.append(sum(share[y * 5 + x] * features[b, :, y, x] for y in range(3) for x in range(5)))
        block = torch.stack(rows)
        block = (block - block.mean()) / (block.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(tokens[b], block * module.norm.weight + module.norm.bias)


def test_encoder_decoder_is_written_out() -> None:
    """One layer each side, step by step with torch's attention; the camera token has no position code."""
    torch.manual_seed(0)
    width, heads = 16, 4
    model = EncoderDecoder(width=width, heads=heads, hidden=24, layers=1, dropout=0.3).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    image, camera = torch.randn(2, 6, width).double(), torch.randn(2, 1, width).double()
    queries, code = torch.randn(2, 5, width).double(), torch.randn(6, width).double()
    allowed = torch.eye(5, dtype=torch.bool) | (torch.rand(5, 5) < 0.4)

    def feed(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return part.feed_forward.linear2(part.feed_forward.linear1(x).clamp(min=0))

    layer, tokens = model.encoder[0], torch.cat([camera, image], 1)
    normed = layer.norm1(tokens)
    placed = normed.clone()
    placed[:, 1:] += code
    tokens = tokens + twin_of(layer.self_attn, width)(placed, placed, normed)[0]
    tokens = model.encoder_norm(tokens + feed(layer, layer.norm2(tokens)))
    memory, layer = tokens[:, 1:], model.decoder[0]
    normed = layer.norm1(queries)
    out = queries + twin_of(layer.self_attn, width)(normed, normed, normed, attn_mask=~allowed)[0]
    out = out + twin_of(layer.cross_attn, width)(layer.norm2(out), memory + code, memory)[0]
    out = model.decoder_norm(out + feed(layer, layer.norm3(out)))

    actual = model(image, camera, queries, code, allowed)
    for a, b in zip(actual, (tokens[:, :1], memory, out), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_bert_layer_is_written_out() -> None:
    torch.manual_seed(0)
    layer, x = BertLayer(8, 2, 12, 0.4).double().eval(), torch.randn(2, 5, 8).double()
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        q, k, v = (project(x)[..., part] for project in (layer.query, layer.key, layer.value))
        heads.append((q @ k.transpose(1, 2) / 2).softmax(-1) @ v)
    y = layer.attention_norm(layer.attention_output(torch.cat(heads, -1)) + x)
    hidden = layer.intermediate(y)
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    torch.testing.assert_close(layer(x), layer.output_norm(layer.output(hidden) + y))
    assert layer.output_norm.eps == 1e-12


def test_metro_block_reads_the_first_positions() -> None:
    block = MetroBlock(inputs=6, width=8, outputs=3, layers=1, heads=2, hidden=12, dropout=0.1).eval()
    x = torch.randn(2, 5, 6)
    before = block(x)[0]
    with torch.no_grad():
        block.positions.weight[5:] += 1
    torch.testing.assert_close(block(x)[0], before)
    with torch.no_grad():
        block.positions.weight[4] += 1
    assert (block(x)[0] - before).abs().max() > 1e-4
