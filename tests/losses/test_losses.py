"""Loss terms: the reference values of the token loss, slow oracles for the rest, and what unlabeled samples do."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import reference
from tore.losses import criterion, recipes
from tore.losses import terms as terms_module
from tore.losses.terms import labelled_mean, smpl_parameters_loss


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


@pytest.fixture(scope="module")
def itp_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    r = np.random.RandomState(77)
    heatmap = torch.softmax(torch.from_numpy(3 * r.standard_normal((4, 39, 49))), -1)
    points = r.uniform(-1, 1, (4, 6890, 2))
    scales = [[0.25, 0.75], [0.6, 0.15], [0.5, 0.2], [0.4, 0.3]]
    shifts = [[0.3, -0.1], [-0.2, 0.4], [-0.62, 0.5], [0.1, -0.85]]
    points = points * np.array(scales)[:, None] + np.array(shifts)[:, None]
    return heatmap, torch.from_numpy(points), torch.from_numpy(reference("itp_loss")["has_smpl"])


def test_itp_loss_meets_the_reference(itp_inputs) -> None:
    heatmap, points, has = itp_inputs
    expected = reference("itp_loss")
    assert terms_module.itp_loss(heatmap, points, has, (7, 7)).item() == pytest.approx(
        float(expected["loss"]), rel=1e-12
    )
    mask = terms_module.coverage_mask(points, (7, 7))[has.bool()]
    assert (mask.numpy() == expected["mask_gt"]).all()
    stretched = terms_module.stretch_clusters(heatmap).mean(1).unflatten(1, (7, 7))[has.bool()]
    np.testing.assert_allclose(stretched.numpy(), expected["mask_pred_mean"], rtol=0, atol=1e-12)


def test_coverage_mask_equals_a_loop_on_any_grid() -> None:
    points = random(3, 200, 2) * 0.8
    points[0, 0], points[0, 1], points[0, 2] = torch.tensor([[-1.0, -1.0], [1.0, 0.0], [0.0, 0.9999999]])
    expected = torch.zeros(3, 4, 6, dtype=points.dtype)
    for sample in range(3):
        for x, y in points[sample].tolist():
            column, row = (x + 1) / 2 * 6, (y + 1) / 2 * 4
            if 0 <= column < 6 and 0 <= row < 4:
                expected[sample, int(row), int(column)] = 1
    assert torch.equal(terms_module.coverage_mask(points, (4, 6)), expected)


def test_token_loss_gradient_flows_through_minimum_and_maximum(itp_inputs) -> None:
    heatmap, points, has = (x[:1, :2] if i == 0 else x[:1] for i, x in enumerate(itp_inputs))
    heatmap = heatmap.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda h: terms_module.itp_loss(h, points, has, (7, 7)), (heatmap,))


def test_token_weight_starts_slowly() -> None:
    expected = reference("train_tore_fastmetro_S_resnet50_keep0.8")["itp_weight"]
    assert [terms_module.itp_weight(1e-3, step / 10) for step in (1, 2, 3)] == pytest.approx(
        expected.tolist(), rel=1e-12
    )
    assert terms_module.itp_weight(1.0, 3.0) == 0.5


@pytest.mark.parametrize("distance", ["l1", "squared"])
def test_joint_terms_equal_loops(distance: str) -> None:
    predicted, target, has = random(3, 14, 3), random(3, 14, 4, seed=1), torch.tensor([1, 0, 1])
    target[..., 3] = (target[..., 3] > 0).double()
    power = 1 if distance == "l1" else 2
    values = []
    for sample in (0, 2):
        center = (predicted[sample, 2] + predicted[sample, 3]) / 2
        goal_center = (target[sample, 2, :3] + target[sample, 3, :3]) / 2
        for joint in range(14):
            error = (predicted[sample, joint] - center) - (target[sample, joint, :3] - goal_center)
            values += (target[sample, joint, 3] * error.abs() ** power).tolist()
    metric = terms_module.DISTANCES[distance]
    actual = terms_module.joints_3d_loss(predicted, target, has, distance=metric, center=(2, 3))
    assert actual.item() == pytest.approx(np.mean(values), rel=1e-12)
    flat = terms_module.joints_2d_loss(predicted[..., :2], target[..., [0, 1, 3]], distance=metric)
    error = (predicted[..., :2] - target[..., :2]).abs() ** power * target[..., 3:]
    assert flat.item() == pytest.approx(error.sum().item() / (3 * 14 * 2), rel=1e-12)


def test_surface_terms_equal_loops() -> None:
    a, b, faces = random(2, 9, 3), random(2, 9, 3, seed=1), torch.tensor([[0, 1, 2], [3, 4, 5], [6, 8, 2], [1, 7, 0]])
    cosines, lengths = [], []
    for sample in range(2):
        for i, j, k in faces.tolist():
            p, q = a[sample].numpy(), b[sample].numpy()
            normal = np.cross(q[j] - q[i], q[k] - q[i])
            normal /= np.linalg.norm(normal)
            for start, end in ((i, j), (i, k), (j, k)):
                edge, true = p[end] - p[start], q[end] - q[start]
                cosines.append(abs(edge @ normal) / np.linalg.norm(edge))
                lengths.append(abs(np.sqrt(edge @ edge + 1e-6) - np.sqrt(true @ true + 1e-6)))
    has = torch.ones(2)
    edges, true_edges = terms_module.face_edges(a, faces), terms_module.face_edges(b, faces)
    assert terms_module.normal_loss(edges, true_edges, has).item() == pytest.approx(np.mean(cosines), rel=1e-10)
    assert terms_module.edge_loss(edges, true_edges, has).item() == pytest.approx(np.mean(lengths), rel=1e-10)


def test_vertex_term_weighs_levels_and_labelled_samples() -> None:
    predicted = [random(3, n, 3, seed=n) for n in (4, 8, 16)]
    target = [random(3, n, 3, seed=n + 1) for n in (4, 8, 16)]
    has, weights = torch.tensor([0, 1, 1]), (0.1, 0.3, 0.5)
    expected = sum(w * (p - t)[1:].abs().mean() for w, p, t in zip(weights, predicted, target, strict=True))
    actual = terms_module.vertices_loss(predicted, target, has, level_weights=weights)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-12)
    with pytest.raises(ValueError, match="3 predicted mesh levels, 2 target levels"):
        terms_module.vertices_loss(predicted, target[1:], has, level_weights=weights)


def test_unlabelled_samples_never_matter() -> None:
    values = random(4, 5)
    values[1] = float("nan")
    has = torch.tensor([1, 0, 1, 0])
    values.requires_grad_()
    mean = labelled_mean(values, has)
    assert mean.item() == pytest.approx(values[[0, 2]].mean().item())
    mean.backward()
    assert torch.equal(values.grad != 0, (has != 0)[:, None].expand(4, 5))
    assert labelled_mean(values, torch.zeros(4)).item() == 0.0


def test_mean_over_two_halves_with_counts_is_the_mean_over_the_whole() -> None:
    values, has = random(6, 5), torch.tensor([1, 0, 0, 1, 1, 1])
    count = has.sum() / 2
    halves = [labelled_mean(values[part], has[part], count) for part in (slice(0, 3), slice(3, 6))]
    assert (sum(halves) / 2).item() == pytest.approx(labelled_mean(values, has).item(), rel=1e-12)


def tiny_case() -> tuple[SimpleNamespace, torch.Tensor, criterion.Targets, torch.Tensor]:
    levels = tuple(random(2, n, 3, seed=n) for n in (4, 8, 16))
    heatmap = torch.softmax(random(2, 3, 49, seed=9), -1)
    prediction = SimpleNamespace(
        camera=random(2, 3, seed=5),
        joints=random(2, 14, 3, seed=6),
        vertices=levels[-1],
        heatmap=heatmap,
        levels=levels,
    )
    targets = criterion.Targets(
        vertices=tuple(random(2, n, 3, seed=n + 50) for n in (4, 8, 16)),
        joints_3d=random(2, 14, 4, seed=7).abs(),
        joints_2d=random(2, 14, 3, seed=8).abs(),
        has_mesh=torch.tensor([1, 1]),
        has_joints_3d=torch.tensor([1, 0]),
    )
    return prediction, random(2, 14, 3, seed=10), targets, torch.tensor([[0, 1, 2], [3, 4, 5]])


def test_total_is_the_weighted_sum_of_the_named_terms() -> None:
    prediction, regressed, targets, faces = tiny_case()
    recipe = recipes.FASTMETRO_BODY
    terms = criterion.loss_terms(prediction, regressed, targets, recipe, faces=faces, grid=(7, 7))
    assert set(terms) == {"joints_3d", "joints_2d", "vertices", "normal", "edge", "itp"} == set(recipe.weights(1.0))
    weights = {"joints_3d": 1000, "joints_2d": 100, "vertices": 100, "normal": 100, "edge": 1000}
    expected = sum(w * terms[n].item() for n, w in weights.items()) + 5e-4 * terms["itp"].item()
    assert criterion.weighted_sum(terms, recipe.weights(3.0)).item() == pytest.approx(expected, rel=1e-12)
    assert "normal" not in criterion.loss_terms(
        prediction, regressed, targets, recipe.without_surface(), faces=faces, grid=(7, 7)
    )


def test_recipes_hold_the_official_weights() -> None:
    metro = recipes.METRO_BODY.weights(0.0)
    assert metro == {"joints_3d": 1000.0, "vertices": 100.0, "joints_2d": 100.0, "normal": 0.1, "edge": 1.0}
    fast = recipes.FASTMETRO_BODY.without_surface().weights(3.0)
    assert fast == {"joints_3d": 1000.0, "vertices": 100.0, "joints_2d": 100.0, "itp": 5e-4}


def test_token_loss_without_tokens_says_so() -> None:
    prediction, regressed, targets, faces = tiny_case()
    prediction.heatmap = None
    with pytest.raises(ValueError, match="prunes no tokens"):
        criterion.loss_terms(
            prediction, regressed, targets, replace(recipes.METRO_BODY, itp=1.0), faces=faces, grid=(7, 7)
        )


@pytest.mark.parametrize("kind", ["l1", "squared"])
def test_smpl_parameters_loss_is_the_loop(kind: str) -> None:
    rotations, betas = random(4, 24, 3, 3, seed=1), random(4, 10, seed=2)
    pose, goal, has = random(4, 72, seed=3), random(4, 10, seed=4), torch.tensor([1, 0, 1, 1])
    distance = terms_module.DISTANCES[kind]
    by_rotation, by_shape = [], []
    for b in (0, 2, 3):
        for joint in range(24):
            vector = pose[b, 3 * joint : 3 * joint + 3].numpy()
            angle = np.linalg.norm(vector)
            x, y, z = vector / angle
            cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
            matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
            by_rotation.append(distance(rotations[b, joint], torch.from_numpy(matrix)).mean())
        by_shape.append(distance(betas[b], goal[b]).mean())
    expected = sum(by_rotation) / len(by_rotation) + 0.1 * sum(by_shape) / len(by_shape)
    spoilt = rotations.index_fill(0, torch.tensor([1]), torch.nan)
    found = smpl_parameters_loss(spoilt, betas, pose, goal, has, distance=distance)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)  # the angle's official 1e-8
    assert smpl_parameters_loss(rotations, betas, pose, goal, 0 * has, distance=distance) == 0
