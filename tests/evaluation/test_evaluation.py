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
from tore.evaluation.evaluator import FURTHER, Evaluator, SampleErrors, choosing_metric, sample_errors
from tore.evaluation.protocol import Protocol, metric_lines, paper_row, summary
from tore.modeling.build import configure
from tore.training.evaluation_report import row_of

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
    return sample_errors(**case, center=HIPS)


def test_errors_meet_the_reference(errors: SampleErrors) -> None:
    expected = reference("metrics")
    has = errors.has_joints_3d
    assert_agrees(errors.joints.mean(1)[has], expected["mpjpe"], 1e-5)
    assert_agrees(errors.vertices[has], expected["mpvpe"], 1e-5)
    assert_agrees(errors.aligned_joints.mean(1), expected["pa_mpjpe"], 1e-5)  # of all six, whatever counts


def test_result_is_the_mean_in_millimetres(errors: SampleErrors) -> None:
    evaluator = Evaluator(NAMES)
    evaluator.update(errors)
    result = evaluator.result()
    expected = reference("metrics")
    assert result.metrics["mpjpe"] == pytest.approx(expected["mpjpe"].mean() * 1000, rel=1e-5)
    labeled = expected["has"].astype(bool)
    assert labeled.sum() == 5
    assert result.metrics["pa_mpjpe"] == pytest.approx(expected["pa_mpjpe"][labeled].mean() * 1000, rel=1e-5)
    assert set(result.metric_samples.values()) == {5} and set(result.left_out.values()) == {0}
    assert result.metrics["mpvpe"] == pytest.approx(expected["mpvpe"].mean() * 1000, rel=1e-5)
    assert result.counts == {"samples": 6, "with_joints_3d": 5, "with_mesh": 5}
    assert np.mean([e["mpjpe"] for e in result.per_joint.values()]) == pytest.approx(result.metrics["mpjpe"])
    assert json.loads(json.dumps(result.as_dict()))["counts"]["samples"] == 6


def part(errors: SampleErrors, which: slice) -> SampleErrors:
    meshes = {name: getattr(errors, name) for name in FURTHER.values()}
    own = {name: value[which] for name, value in vars(errors).items() if name not in (*meshes, "shares")}
    return SampleErrors(**own, **{name: part(mesh, which) if mesh else None for name, mesh in meshes.items()})


@pytest.fixture(scope="module")
def both_errors(case, errors: SampleErrors) -> SampleErrors:
    """With the errors of a parametric mesh that is half as far off."""
    halfway = {name: (case[name] + case[f"true_{name}"]) / 2 for name in ("joints", "vertices")}
    return replace(errors, parametric=sample_errors(**case | halfway, center=HIPS))


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


def test_the_fitted_mesh_is_measured_beside_both(both_errors: SampleErrors) -> None:
    """The same errors as another mesh's have the same metrics under another name, and the others stay."""
    evaluator, without = Evaluator(NAMES, parametric=True, fitted=True), Evaluator(NAMES, parametric=True)
    evaluator.update(replace(both_errors, fitted=both_errors.parametric))
    without.update(both_errors)
    result, expected = evaluator.result(), without.result().metrics
    again = {name.replace("smpl_", "fit_"): value for name, value in expected.items() if name.startswith("smpl_")}
    assert result.metrics == pytest.approx(expected | again) and again
    text = summary(result, Protocol(data="val.yaml"), None)
    assert "fit_*        of the body model fitted to the predicted mesh (--fit)" in text
    absent = summary(Evaluator(NAMES, fitted=True).result(), Protocol(data="val.yaml"), None)
    assert "no sample has a label to compare with" in absent


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
    evaluator.update(sample_errors(**case | {"has_mesh": none, "has_joints_3d": none}, center=HIPS))
    result = evaluator.result()
    assert result.metrics == {} and set(result.metric_samples.values()) == {0}
    assert Evaluator(NAMES).result().metrics == Evaluator(NAMES, parametric=True).result().metrics == {}
    assert "leaves out 6 without 3D joints" in summary(result, Protocol(data="x.yaml"), None)


def test_rows_name_their_sample(errors: SampleErrors) -> None:
    rows = errors.rows(range(10, 16), [f"k{i}" for i in range(6)])
    missing = errors.has_mesh.tolist().index(False)
    assert rows[missing]["mpvpe"] is None and rows[missing]["mpjpe"] is None and rows[missing]["pa_mpjpe"] is None
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


def loop_errors(case: dict[str, torch.Tensor], sample: int, joints: list[int]) -> tuple[float, float]:
    """MPJPE and PA-MPJPE in meters of one sample over some joints, with numpy."""
    predicted, true = (case[name][sample].double().numpy() for name in ("joints", "true_joints"))
    apart = (predicted - predicted[list(HIPS)].mean(0)) - (true - true[list(HIPS)].mean(0))
    mpjpe = np.linalg.norm(apart[joints], axis=1).mean()
    a, b = predicted[joints] - predicted[joints].mean(0), true[joints] - true[joints].mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1, 1, np.linalg.det(u @ vt)])
    moved = (s * flip).sum() / (a**2).sum() * a @ (u @ np.diag(flip) @ vt).T
    return float(mpjpe), float(np.linalg.norm(moved - b, axis=1).mean())


def test_unlabelled_joints_are_left_out_of_errors_and_alignment(case) -> None:
    mask = torch.ones(6, 14, dtype=torch.bool)
    mask[0, [12, 13]] = False  # neck and head
    mask[1, 2] = False  # a hip
    mask[2, 2:] = False  # two joints are no alignment
    everything = torch.ones(6)
    spoiled = {name: value.clone() for name, value in case.items()}
    spoiled["true_joints"][~mask] = 1e4  # what an unlabeled joint holds never matters
    own = spoiled | {"has_joints_3d": everything, "has_mesh": everything}
    errors = sample_errors(**own, center=HIPS, joint_mask=mask)
    evaluator = Evaluator(NAMES)
    evaluator.update(errors)
    result = evaluator.result()
    kept = [mask[sample].nonzero()[:, 0].tolist() for sample in range(6)]
    expected = [loop_errors(case, sample, kept[sample]) for sample in range(6)]
    assert result.metrics["mpjpe"] == pytest.approx(1000 * np.mean([expected[i][0] for i in (0, 3, 4, 5)]))
    assert result.metrics["pa_mpjpe"] == pytest.approx(1000 * np.mean([expected[i][1] for i in (0, 1, 3, 4, 5)]))
    assert {name: result.metric_samples[name] for name in ("mpjpe", "pa_mpjpe", "mpvpe")} == {
        "mpjpe": 4,
        "pa_mpjpe": 5,
        "mpvpe": 6,
    }
    assert result.left_out == {"joints": 2 + 1 + 12, "uncentred": 2, "unaligned": 1}
    head = result.per_joint["joint_13"]
    assert (head["mpjpe_samples"], head["pa_mpjpe_samples"]) == (3, 4)
    assert head["mpjpe"] == pytest.approx(1000 * errors.joints[3:, 13].mean().item())
    rows = errors.rows(range(6), list("abcdef"))
    assert [row["mpjpe"] is None for row in rows] == [False, True, True, False, False, False]
    assert rows[1]["pa_mpjpe"] == pytest.approx(1000 * expected[1][1])
    text = summary(result, Protocol(data="x.yaml"), None)
    assert "left out     15 joints of confidence 0" in text and "mpvpe" in text and "over 6 samples" in text
    assert "1 samples from PA-MPJPE, since fewer than 3" in text


def test_where_all_is_labelled_a_mask_changes_no_bit(case, both_errors: SampleErrors) -> None:
    with_mask = sample_errors(**case, center=HIPS, joint_mask=torch.ones(6, 14, dtype=torch.bool))
    for name in ("joints", "aligned_joints"):
        assert torch.equal(getattr(with_mask, name), getattr(both_errors, name))
    for name, (errors, _) in with_mask.columns().items():
        plain = {"mpjpe": with_mask.joints, "pa_mpjpe": with_mask.aligned_joints}.get(name)
        assert plain is None or torch.equal(errors, plain.mean(1))


def test_an_absent_metric_says_what_is_missing(case) -> None:
    evaluator = Evaluator(NAMES)
    evaluator.update(sample_errors(**case | {"has_joints_3d": torch.zeros(6)}, center=HIPS))
    result = evaluator.result()
    assert set(result.metrics) == {"mpvpe", "pa_mpvpe"} and choosing_metric(result.metrics) == "pa_mpvpe"
    lines = metric_lines(result)
    assert lines[1].split() == ["pa_mpjpe", "absent", "no", "sample", "has", "3", "labeled", "3D", "joints"]
    assert "pa_mpjpe" not in json.loads(json.dumps(result.as_dict()))["metrics"]
    assert all("mpjpe" not in errors for errors in result.per_joint.values())
