"""Metrics against their reference values and oracles; sums that merge; protocol and paper rows."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import assert_agrees, reference
from tore.evaluation import metrics
from tore.evaluation.evaluator import Evaluator, SampleErrors, sample_errors
from tore.evaluation.protocol import Protocol, paper_row, summary
from tore.modeling.build import configure
from tore.tools.evaluation_report import row_of

NAMES = [f"joint_{i}" for i in range(14)]
HIPS = (2, 3)


@pytest.fixture(scope="module")
def case() -> dict[str, torch.Tensor]:
    r = np.random.RandomState(78)
    shapes = {"joints": (6, 14, 3), "true_joints": (6, 14, 3), "vertices": (6, 6890, 3), "true_vertices": (6, 6890, 3)}
    drawn = {name: torch.from_numpy(r.standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()}
    has = torch.from_numpy(reference("metrics")["has"])
    return drawn | {"has_joints_3d": has, "has_mesh": has}


@pytest.fixture(scope="module")
def errors(case) -> SampleErrors:
    return sample_errors(**case, centre=HIPS)


def test_errors_meet_the_reference(errors: SampleErrors) -> None:
    expected = reference("metrics")
    has = errors.has_joints_3d
    assert_agrees(errors.joints.mean(1)[has], expected["mpjpe"], 1e-5)
    assert_agrees(errors.vertices[has], expected["mpvpe"], 1e-5)
    assert_agrees(errors.aligned_joints.mean(1), expected["pa_mpjpe"], 1e-5)


def test_result_is_the_mean_in_millimetres(errors: SampleErrors) -> None:
    evaluator = Evaluator(NAMES)
    evaluator.update(errors)
    result = evaluator.result()
    expected = reference("metrics")
    assert result.metrics["mpjpe"] == pytest.approx(expected["mpjpe"].mean() * 1000, rel=1e-5)
    assert result.metrics["pa_mpjpe"] == pytest.approx(expected["pa_mpjpe"].mean() * 1000, rel=1e-5)
    assert result.metrics["mpvpe"] == pytest.approx(expected["mpvpe"].mean() * 1000, rel=1e-5)
    assert result.counts == {"samples": 6, "with_joints_3d": 5, "with_mesh": 5}
    assert np.mean([e["mpjpe"] for e in result.per_joint.values()]) == pytest.approx(result.metrics["mpjpe"])
    assert json.loads(json.dumps(result.as_dict()))["counts"]["samples"] == 6


def part(errors: SampleErrors, which: slice) -> SampleErrors:
    own = {name: value[which] for name, value in vars(errors).items() if name not in ("parametric", "shares")}
    return SampleErrors(**own, parametric=part(errors.parametric, which) if errors.parametric else None)


@pytest.fixture(scope="module")
def both_errors(case, errors: SampleErrors) -> SampleErrors:
    """With the errors of a parametric mesh that is half as far off."""
    halfway = {name: (case[name] + case[f"true_{name}"]) / 2 for name in ("joints", "vertices")}
    return replace(errors, parametric=sample_errors(**case | halfway, centre=HIPS))


def test_the_parametric_mesh_is_measured_beside_the_networks(both_errors: SampleErrors) -> None:
    evaluator, alone, mesh = Evaluator(NAMES, parametric=True), Evaluator(NAMES), Evaluator(NAMES)
    evaluator.update(both_errors)
    alone.update(both_errors.parametric)
    mesh.update(replace(both_errors, parametric=None))
    result = evaluator.result()
    expected = {f"smpl_{n}": v for n, v in alone.result().metrics.items() if "150mm" not in n} | mesh.result().metrics
    assert result.metrics == pytest.approx(expected, rel=1e-12)
    assert result.metrics["smpl_mpvpe"] == pytest.approx(result.metrics["mpvpe"] / 2, rel=1e-5)
    row = both_errors.rows(range(6), list("abcdef"))[0]
    assert row["smpl_mpvpe"] == pytest.approx(both_errors.parametric.vertices[0].item() * 1000)
    text = summary(result, Protocol(data="val.yaml"), None)
    assert "smpl_pa_mpvpe" in text and "smpl_*       of the neutral SMPL body" in text
    assert "smpl_" not in summary(mesh.result(), Protocol(data="val.yaml"), None)


@pytest.mark.parametrize("cuts", [(0, 3, 6), (0, 1, 1, 6), (0, 5, 6, 6)])
def test_sums_merge_over_batches_and_processes(both_errors: SampleErrors, cuts: tuple[int, ...]) -> None:
    whole = Evaluator(NAMES, parametric=True)
    whole.update(both_errors)
    pieces = []
    for start, stop in itertools.pairwise(cuts):
        evaluator = Evaluator(NAMES, parametric=True)
        evaluator.update(part(both_errors, slice(start, stop)))
        pieces.append(evaluator)
    flat = [torch.cat([v.reshape(-1) for v in piece.sums.values()]) for piece in pieces]
    pieces[0].reduce(lambda vector: torch.stack([vector, *flat[1:]]).sum(0))
    merged, expected = pieces[0].result(), whole.result()
    assert merged.counts == expected.counts
    for name, value in expected.metrics.items():
        assert merged.metrics[name] == pytest.approx(value, rel=1e-12), name


def test_share_within_thresholds_equals_counting() -> None:
    errors = torch.tensor([[0.0, 0.004, 0.2], [0.15, 0.149, 0.081]], dtype=torch.float64)
    curve = metrics.within_thresholds(errors)
    assert curve.shape == (2, 31)
    for step in range(31):
        limit = np.linspace(0, 0.15, 31)[step]
        expected = [(row <= limit).mean() for row in errors.numpy()]
        assert curve[:, step].tolist() == pytest.approx(expected)


def test_aligned_error_ignores_similarity_but_not_reflection() -> None:
    r = np.random.RandomState(0)
    target = torch.from_numpy(r.standard_normal((2, 14, 3)))
    turn, _ = np.linalg.qr(r.standard_normal((3, 3)))
    turn = torch.from_numpy(turn * np.sign(np.linalg.det(turn)))
    moved = 0.3 * target @ turn.T + 5
    assert metrics.aligned_errors(moved, target).max() < 1e-10
    assert metrics.aligned_errors(moved * torch.tensor([-1.0, 1, 1]), target).mean() > 0.1


def test_a_set_without_meshes_has_no_mesh_metric(case) -> None:
    none = torch.zeros(6)
    evaluator = Evaluator(NAMES)
    evaluator.update(sample_errors(**case | {"has_mesh": none, "has_joints_3d": none}, centre=HIPS))
    result = evaluator.result()
    assert set(result.metrics) == {"pa_mpjpe"}
    assert Evaluator(NAMES).result().metrics == Evaluator(NAMES, parametric=True).result().metrics == {}
    assert "leaves out 6 without 3D joints" in summary(result, Protocol(data="x.yaml"), None)


def test_rows_name_their_sample(errors: SampleErrors) -> None:
    rows = errors.rows(range(10, 16), [f"k{i}" for i in range(6)])
    missing = errors.has_mesh.tolist().index(False)
    assert rows[missing]["mpvpe"] is None and rows[missing]["mpjpe"] is None and rows[missing]["pa_mpjpe"] > 0
    assert [row["index"] for row in rows] == list(range(10, 16)) and rows[2]["key"] == "k2"
    assert rows[0]["mpjpe"] == pytest.approx(errors.joints[0].mean().item() * 1000)


def test_protocol_and_paper_number_stand_beside_the_metrics(errors: SampleErrors) -> None:
    evaluator = Evaluator(NAMES)
    evaluator.update(errors)
    text = summary(evaluator.result(), Protocol(data="val.yaml"), paper_row("fastmetro", "efficientnet-b0", 0.8))
    for word in ("43.9", "val.yaml", "mid-hip", "Procrustes", "joint_13", "center and scale", "counts 5"):
        assert word in text
    assert paper_row("metro", "resnet50", None).pa_mpjpe == 42.0
    assert paper_row("fastmetro", "resnet50", 1.0).pa_mpjpe == 38.6
    assert paper_row("fastmetro", "resnet50", 0.33) is None
    assert paper_row("fastmetro", "resnet50", None, geometry_reduction=False).pa_mpjpe == 37.3
    assert paper_row("metro", "hrnet-w64", None, geometry_reduction=False).cost == 56.5


@pytest.mark.parametrize(
    ("network", "values", "expected"),
    [
        ("fastmetro", {}, 40.5),
        ("fastmetro", {"kept_tokens": 49}, 38.6),
        ("fastmetro", {"kept_tokens": 24}, None),
        ("fastmetro", {"image_reduction": "none", "kept_tokens": None}, 38.6),
        ("fastmetro", {"image_reduction": "none", "kept_tokens": None, "geometry_reduction": False}, 37.3),
        ("fastmetro", {"kept_tokens": 49, "geometry_reduction": False}, None),
        ("fastmetro", {"image_reduction": "tome"}, None),
        ("fastmetro", {"body": "hand"}, None),
        ("fastmetro", {"layers": 1}, None),
        ("metro", {"hidden": 1024}, None),
        ("metro", {}, 42.0),
        ("metro", {"geometry_reduction": False}, 40.6),
    ],
)
def test_a_network_stands_beside_its_own_paper_row(network: str, values: dict, expected: float | None) -> None:
    row = row_of(configure(network, **values))
    assert (row.pa_mpjpe if row else None) == expected
