"""Every way to fewer image tokens: what they all must hold, and the loops that some of them are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tore
from tore.modeling.build import reduction_of
from tore.modeling.image_token_pruning import kept_tokens
from tore.modeling.token_reduction_baselines import (
    REDUCERS,
    cluster_by_density,
    create_reducer,
    pooling_bins,
    scrambled,
    straight_through_choice,
)

WIDTH = 12
NAMES = [name for name in REDUCERS if name != "none"]
HARD = ("topk", "random")  # one position per token
each = pytest.mark.parametrize("name", NAMES)


def reducer(name: str, tokens: int, width: int = WIDTH) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_reducer(name, width=width, tokens=tokens).double()


def features(batch: int = 3, height: int = 7, width: int = 7, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, WIDTH, height, width, generator=torch.Generator().manual_seed(seed)).double()


@each
@pytest.mark.parametrize("ratio", [1.0, 0.9, 0.8, 0.5, 0.3, 0.2, 0.021])
@pytest.mark.parametrize("training", [True, False])
def test_every_ratio_gives_its_number_of_tokens(name: str, ratio: float, training: bool) -> None:
    tokens = kept_tokens(ratio, 49)
    x = features()
    out, heatmap = reducer(name, tokens).train(training)(x)
    assert out.shape == (3, tokens, WIDTH) and heatmap.shape == (3, tokens, 49)
    torch.testing.assert_close(heatmap.sum(2), torch.ones(3, tokens).double())
    assert (heatmap >= 0).all()
    if name != "itp":  # ITP normalizes its clusters
        torch.testing.assert_close(out, heatmap @ x.flatten(2).mT)
    if name in HARD:
        assert (heatmap.max(2).values == 1).all() and (heatmap.sum(1) <= 1).all()


@each
def test_every_number_of_tokens(name: str) -> None:
    x = features(1)
    for tokens in range(1, 50):
        out, heatmap = reducer(name, tokens)(x)
        assert out.shape == (1, tokens, WIDTH) and out.isfinite().all()
        assert (heatmap.sum(2) - 1).abs().max() < 1e-6 and (heatmap.amax(2) > 0).all()


@pytest.mark.parametrize("name", ["average", "topk", "tome", "dpc_knn", "random"])
def test_all_tokens_kept_are_the_positions(name: str) -> None:
    x = features()
    out, heatmap = reducer(name, 49).eval()(x)
    assert torch.equal(heatmap.sum(1), torch.ones(3, 49).double())
    torch.testing.assert_close(heatmap.mT @ out, x.flatten(2).mT)


@each
def test_a_image_does_not_see_its_batch(name: str) -> None:
    module, x = reducer(name, 20).eval(), features(5)
    out, heatmap = module(x)
    for i in range(5):
        single = module(x[i : i + 1])
        torch.testing.assert_close(out[i], single[0][0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(heatmap[i], single[1][0], rtol=1e-12, atol=1e-12)


@each
def test_gradients(name: str) -> None:
    module, x = reducer(name, 20).train(), features().requires_grad_()
    out, _ = module(x)
    (out * torch.randn(out.shape).double()).sum().backward()
    assert x.grad.isfinite().all()
    reached = (x.grad.abs().sum((0, 1)) > 0).float().mean()
    assert reached == 1 if name != "random" else reached > 0.4
    for part, parameter in module.named_parameters():
        flat = part in ("assign.bias", "score.bias", "importance.bias")  # a softmax forgets a constant
        assert parameter.grad.isfinite().all() and (flat or parameter.grad.abs().sum() > 0), part


@each
def test_other_feature_maps(name: str) -> None:
    module = reducer(name, 12).eval()
    assert module(features(2, 3, 5))[1].shape == (2, 12, 15)
    if name != "itp":  # whose clusters may outnumber the positions
        with pytest.raises(ValueError, match=r"12 tokens cannot be chosen from a feature map of 2 x 5"):
            module(features(2, 2, 5))


@each
def test_compiles_without_a_break(name: str) -> None:
    module, x = reducer(name, 20).eval(), features()
    traced = torch.compile(module, fullgraph=True, backend="aot_eager")(x)
    torch._dynamo.reset()
    for a, b in zip(traced, module(x), strict=True):
        torch.testing.assert_close(a, b)


@each
def test_a_network_overfits_with_it(name: str, rule_body_dir: Path) -> None:
    """Everything behind the backbone learns two feature maps' joints by overfitting."""
    torch.manual_seed(0)
    options = {"size": "S", "widths": (64, 32), "hidden": (64, 32), "heads": 2, "dropout": 0.0}
    model = tore.create_model(
        arch="resnet10t",
        body="hand",
        body_dir=rule_body_dir,
        token_reduction="tore" if name == "itp" else name,
        **options,
    ).train()
    assert model.config.image_reduction == name and model.config.geometry_reduction
    maps, goal = torch.randn(2, model.backbone.channels, 7, 7), torch.randn(2, 21, 3)
    model.backbone = torch.nn.Identity()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(100):
        out = model(maps)
        loss = (out.joints - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert out.heatmap.shape == (2, 39, 49)
    assert losses[-1] < 0.1 * losses[0], losses[::20]


@each
@pytest.mark.parametrize("geometry", [True, False])
def test_with_and_without_geometry_reduction(name: str, geometry: bool, rule_body_dir: Path) -> None:
    """The two reductions are independent choices, and the official pair has its name."""
    options = {"size": "S", "widths": (64, 32), "hidden": (64, 32), "heads": 2, "keep_ratio": 0.4, "body": "hand"}
    choice = {"token_reduction": "tore" if name == "itp" else name, "geometry_reduction": geometry}
    model = tore.create_model(arch="resnet10t", body_dir=rule_body_dir, **options, **choice)
    model.backbone = torch.nn.Identity()
    out = model(torch.randn(2, 512, 7, 7))
    assert out.joints.shape == (2, 21, 3) and out.vertices_coarse.shape == (2, 195, 3) and out.heatmap.shape[1] == 19
    assert (model.shape_regressor is not None) == geometry
    assert reduction_of(model.config) == {"itpTrue": "tore"}.get(f"{name}{geometry}", name + "+gtr" * geometry)


def test_names_and_numbers() -> None:
    with pytest.raises(ValueError, match="'magic' is not known; use one of itp, none, average"):
        create_reducer("magic", width=4, tokens=2)
    for name, tokens in (("none", 3), ("tome", None)):
        with pytest.raises(ValueError, match=f"'{name}' cannot keep {tokens} tokens"):
            create_reducer(name, width=4, tokens=tokens)
    tokens, heatmap = create_reducer("none", width=4, tokens=None)(torch.arange(24.0).view(1, 4, 2, 3))
    assert heatmap is None and torch.equal(tokens[0, 1], torch.tensor([1.0, 7.0, 13.0, 19.0]))


# ---- one by one


@pytest.mark.parametrize(("height", "width"), [(7, 7), (5, 8), (8, 6), (1, 9)])
def test_pooling_bins_cover_the_map(height: int, width: int) -> None:
    for tokens in range(1, height * width + 1):
        bins = pooling_bins(height, width, tokens)
        assert bins.shape == (tokens, height * width) and (bins.sum(0) > 0).all()
        assert len(bins.unique(dim=0)) == tokens


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7])
def test_square_pooling_is_torchs(side: int) -> None:
    x = features()
    expected = F.adaptive_avg_pool2d(x, side).flatten(2).mT
    torch.testing.assert_close(reducer("average", side * side)(x)[0], expected)


def test_topk_takes_the_highest_scores_and_learns_through_the_relaxed_choice() -> None:
    scores = torch.tensor([[0.3, 2.0, -1.0, 0.5]]).double().requires_grad_()
    heatmap = straight_through_choice(scores, 2)
    assert torch.equal(heatmap.detach(), torch.tensor([[[0, 1, 0, 0], [0, 0, 0, 1]]]).double())
    weights = torch.randn(1, 2, 4).double()
    (heatmap * weights).sum().backward()
    relaxed = scores.detach().requires_grad_()
    first = relaxed.softmax(1)
    second = relaxed[:, [0, 2, 3]].softmax(1)
    ((first * weights[:, 0]).sum() + (second * weights[:, 1, [0, 2, 3]]).sum()).backward()
    torch.testing.assert_close(scores.grad, relaxed.grad)


def merge_loop(points: np.ndarray, keep: int) -> list[list[int]]:
    """Token merging with lists: the positions that each token holds."""
    groups = [[i] for i in range(len(points))]
    while len(groups) > keep:
        means = [points[group].mean(0) for group in groups]
        edges = []
        for i in range(0, len(groups), 2):
            cosines = {}
            for j in range(1, len(groups), 2):
                cosines[j] = means[i] @ means[j] / (np.linalg.norm(means[i]) * np.linalg.norm(means[j]))
            best = max(cosines, key=lambda j: cosines[j])
            edges.append((cosines[best], i, best))
        edges.sort(key=lambda edge: -edge[0])
        gone = set()
        for _, i, j in edges[: min(len(groups) - keep, len(groups) // 2)]:
            groups[j] = groups[j] + groups[i]
            gone.add(i)
        groups = [g for i, g in enumerate(groups) if i % 2 == 0 and i not in gone] + groups[1::2]
    return groups


@pytest.mark.parametrize("keep", [39, 24, 9, 1])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (6, 8)])
def test_token_merging_is_the_loop(keep: int, height: int, width: int) -> None:
    x = features(2, height, width)
    out, heatmap = reducer("tome", keep)(x)
    for b in range(2):
        points = x[b].flatten(1).T.numpy()
        groups = merge_loop(points, keep)
        assert [row.nonzero().flatten().tolist() for row in heatmap[b]] == [sorted(group) for group in groups]
        np.testing.assert_allclose(out[b], [points[group].mean(0) for group in groups], atol=1e-12)


def density_loop(points: np.ndarray, clusters: int, neighbours: int) -> list[int]:
    """Density peaks, point by point: the cluster of each."""
    count, scale = len(points), math.sqrt(points.shape[1])
    distance = [[np.linalg.norm(a - b) / scale for b in points] for a in points]
    density = [math.exp(-np.mean([d * d for d in sorted(row)[:neighbours]])) for row in distance]
    scores = []
    for i in range(count):
        denser = [j for j in range(count) if density[j] > density[i] or (density[j] == density[i] and j < i)]
        separation = min(distance[i][j] for j in denser) if denser else max(map(max, distance))
        scores.append(density[i] * separation)
    centers = sorted(range(count), key=lambda i: -scores[i])[:clusters]
    nearest = [min(range(clusters), key=lambda m: distance[centers[m]][i]) for i in range(count)]
    for m, center in enumerate(centers):
        nearest[center] = m
    return nearest


@pytest.mark.parametrize("clusters", [39, 20, 3, 1])
@pytest.mark.parametrize("neighbours", [1, 5])
def test_density_peaks_are_the_loop(clusters: int, neighbours: int) -> None:
    points = features(2).flatten(2).mT
    found = cluster_by_density(points, clusters, neighbours)
    for b in range(2):
        assert found[b].tolist() == density_loop(points[b].numpy(), clusters, neighbours)


def test_density_peaks_find_clusters_and_survive_equal_points() -> None:
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (middles.repeat_interleave(6, 0) + 0.1 * torch.randn(18, 2)).double()[None]
    found = cluster_by_density(points, 3, 4)[0].view(3, 6)
    assert (found == found[:, :1]).all() and len(found[:, 0].unique()) == 3
    same = cluster_by_density(torch.ones(1, 9, 4), 4, 5)
    assert len(same.unique()) == 4


def test_importance_weighs_within_a_cluster() -> None:
    module, x = reducer("dpc_knn", 5), features(1)
    out, heatmap = module(x)
    points = x[0].flatten(1).T
    owner = cluster_by_density(points[None], 5, 5)[0]
    importance = module.importance(points).exp()
    for m in range(5):
        mine = owner == m
        expected = (importance[mine] * points[mine]).sum(0) / importance[mine].sum()
        torch.testing.assert_close(out[0, m], expected)
        assert torch.equal(heatmap[0, m] > 0, mine)


def test_random_draws() -> None:
    module, x = reducer("random", 20), features()
    torch.manual_seed(3)
    first, second = module(x)[1], module(x)[1]
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    module.eval()
    assert torch.equal(module(x)[1], module(features(seed=2))[1])
    order = scrambled(49, torch.device("cpu"))
    assert sorted(order.tolist()) == list(range(49)) and (order[1:] > order[:-1]).float().mean().item() < 0.7
