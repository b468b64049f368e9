"""F-scores, curves, merged views and FreiHAND's submission against slow oracles."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tore.body import load_body
from tore.body.joints import FINGERTIP_JOINTS, HAND_FINGERTIP_VERTICES, HAND_NAMES
from tore.engine.distributed import Processes
from tore.engine.step import target_maker
from tore.evaluation import freihand, metrics
from tore.evaluation.evaluator import Evaluator, sample_errors
from tore.evaluation.metrics import CURVE_STEPS, area_under
from tore.geometry.alignment import align_similarity, merge_predictions
from tore.training.evaluate import judged_targets
from tore.training.hand_submission import KeptHands


def brute_force_f(predicted: np.ndarray, target: np.ndarray, threshold: float) -> float:
    """The definition, point by point."""
    near = sum(min(np.linalg.norm(p - t) for t in target) < threshold for p in predicted) / len(predicted)
    found = sum(min(np.linalg.norm(p - t) for p in predicted) < threshold for t in target) / len(target)
    return 2 * near * found / (near + found) if near + found else 0.0


def aligned_by_hand(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Similarity Procrustes of one sample with numpy."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1, 1, np.linalg.det(u @ vt)])
    scale = (s * np.diag(flip)).sum() / (a**2).sum()
    return scale * a @ (u @ flip @ vt).T + target.mean(0)


def random_hands(count: int, seed: int = 0, noise: float = 0.008) -> tuple[np.ndarray, ...]:
    """True joints and vertices, fingertips on their vertices, and predictions `noise` away, turned and scaled."""
    r = np.random.RandomState(seed)
    vertices = r.standard_normal((count, 778, 3)) * [0.03, 0.05, 0.02]
    joints = r.standard_normal((count, 21, 3)) * [0.03, 0.05, 0.02]
    joints[:, list(FINGERTIP_JOINTS)] = vertices[:, list(HAND_FINGERTIP_VERTICES)]
    turn, _ = np.linalg.qr(r.standard_normal((3, 3)))
    turn *= np.linalg.det(turn)
    moved = [1.3 * (x + noise * r.standard_normal(x.shape)) @ turn + [0.1, 0, 0.6] for x in (joints, vertices)]
    return joints, vertices, *moved


@pytest.mark.parametrize("chunk", [1, 16])
def test_f_scores_are_the_brute_force(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    r = np.random.RandomState(3)
    target = r.standard_normal((4, 30, 3)) * 0.01
    predicted = target[:, :25] + r.standard_normal((4, 25, 3)) * np.array([0, 0.003, 0.01, 1])[:, None, None]
    found = metrics.f_scores(torch.from_numpy(predicted), torch.from_numpy(target), (0.005, 0.015))
    expected = [
        [brute_force_f(p, t, limit) for limit in (0.005, 0.015)] for p, t in zip(predicted, target, strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    assert found[3].tolist() == [0, 0] and 0 < found[2, 0] < found[0, 0] < 1


def test_closer_than_the_threshold_means_strictly() -> None:
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]], dtype=torch.float64)
    moved = points + torch.tensor([0, 0.5, 0], dtype=torch.float64)
    assert metrics.f_scores(moved, points, (0.5, 0.5000001)).tolist() == [[0, 1]]


def test_metrics_of_hands_are_those_of_loops() -> None:
    joints, vertices, near_joints, near_vertices = random_hands(3)
    result = freihand.score(near_joints, near_vertices, joints, vertices)
    rows = []
    for hand in range(3):
        mesh = aligned_by_hand(near_vertices[hand], vertices[hand])
        by_joint = np.linalg.norm(aligned_by_hand(near_joints[hand], joints[hand]) - joints[hand], axis=1)
        by_vertex = np.linalg.norm(mesh - vertices[hand], axis=1)
        limits = np.linspace(0, 0.05, 100)
        curves = [np.array([(errors <= limit).mean() for limit in limits]) for errors in (by_joint, by_vertex)]
        areas = [((curve[1:] + curve[:-1]) / 2).sum() / 99 * 100 for curve in curves]
        scores = [brute_force_f(mesh[::10], vertices[hand, ::10], limit) for limit in (0.005, 0.015)]
        again = metrics.f_scores(*(torch.from_numpy(x[None, ::10]) for x in (mesh, vertices[hand])), (0.005, 0.015))
        np.testing.assert_allclose(again[0].numpy(), scores)
        whole = metrics.f_scores(*(torch.from_numpy(x[None]) for x in (mesh, vertices[hand])), (0.005, 0.015))
        rows.append([by_joint.mean() * 1000, by_vertex.mean() * 1000, *areas, *whole[0].tolist()])
    names = ("pa_mpjpe", "pa_mpvpe", "auc_joints_50mm", "auc_vertices_50mm", "f_5mm", "f_15mm")
    assert [result.metrics[name] for name in names] == pytest.approx(np.mean(rows, 0).tolist(), rel=1e-9)
    assert len(result.curves["joints_50mm"]) == CURVE_STEPS and result.curves["vertices_50mm"][-1] == 1
    assert result.counts == {"samples": 3, "with_joints_3d": 3, "with_mesh": 3}
    perfect = freihand.score(joints, vertices, joints, vertices).metrics
    assert perfect["pa_mpjpe"] == pytest.approx(0, abs=1e-9) and perfect["f_5mm"] == 1
    with pytest.raises(ValueError, match="3 hands are predicted, the annotations hold 2"):
        freihand.score(near_joints, near_vertices, joints[:2], vertices[:2])


def test_area_under_a_straight_line() -> None:
    assert area_under(torch.linspace(0, 1, 100, dtype=torch.float64)) == pytest.approx(0.5)


def test_a_hand_without_labels_counts_nowhere() -> None:
    held = [torch.from_numpy(x) for x in random_hands(4)]
    names = ("true_joints", "true_vertices", "joints", "vertices")

    def result_of(which: list[int], has: list[int]) -> dict:
        flags = torch.tensor(has)
        points = dict(zip(names, (x[which] for x in held), strict=True))
        errors = sample_errors(**points, has_joints_3d=flags, has_mesh=flags, center=(0,), kind="hand")
        evaluator = Evaluator(HAND_NAMES, kind="hand")
        evaluator.update(errors)
        return evaluator.result().metrics

    assert result_of([0, 1, 2, 3], [1, 0, 1, 0]) == pytest.approx(result_of([0, 2], [1, 1]), rel=1e-12)
    assert result_of([0, 1], [0, 0]) == {}


def test_merged_views_are_the_mean_of_each_aligned() -> None:
    r = np.random.RandomState(1)
    reference = torch.from_numpy(r.standard_normal((2, 50, 3)))
    turn, _ = np.linalg.qr(r.standard_normal((3, 3)))
    turned = 0.7 * reference @ torch.from_numpy(turn * np.linalg.det(turn)).mT + 4
    others = torch.stack([turned, turned + 0.05 * torch.from_numpy(r.standard_normal((2, 50, 3)))], 1)
    merged = merge_predictions(reference, others)
    for sample in range(2):
        parts = [reference[sample], *(align_similarity(o[None], reference[sample][None])[0] for o in others[sample])]
        torch.testing.assert_close(merged[sample], torch.stack(parts).mean(0))
    torch.testing.assert_close(merge_predictions(reference, others[:, :1]), reference)


# the submission file ------------------------------------------------------------------------------------------------


def test_a_submission_there_and_back(tmp_path: Path) -> None:
    joints, vertices, *_ = random_hands(2)
    path = tmp_path / "new" / "pred.zip"
    freihand.write_predictions(path, joints, vertices)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["pred.json"] and archive.testzip() is None
        content = json.loads(archive.read("pred.json"))
        (tmp_path / "pred.json").write_bytes(archive.read("pred.json"))
    assert [np.shape(part) for part in content] == [(2, 21, 3), (2, 778, 3)]
    for source in (path, tmp_path / "pred.json"):
        for found, given in zip(freihand.read_predictions(source), (joints, vertices), strict=True):
            np.testing.assert_allclose(found, given, atol=6e-8)
    assert list(path.parent.iterdir()) == [path]
    first = path.read_bytes()
    freihand.write_predictions(path, joints, vertices)
    assert path.read_bytes() == first


def test_what_the_server_could_not_use_is_said(tmp_path: Path) -> None:
    joints, vertices, *_ = random_hands(2)
    path = tmp_path / "pred.json"
    wrong = {
        "unit is the meter": [(1000 * joints).tolist(), (1000 * vertices).tolist()],
        r"joints have shape \(2, 16, 3\), expected \(N, 21, 3\)": [joints[:, :16].tolist(), vertices.tolist()],
        r"vertices have shape \(1, 778, 3\)": [joints.tolist(), vertices[:1].tolist()],
        "joints of hand 1 hold a number that is not finite": [
            [joints[0].tolist(), [[float("nan")] * 3] * 21],
            vertices.tolist(),
        ],
        "does not have two parts": [joints.tolist()],
        "not \\[joints, vertices\\]": {"joints": 1},
    }
    for words, content in wrong.items():
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=words) as error:
            freihand.read_predictions(path)
        assert str(path) in str(error.value)
    path.write_text("[[")
    with pytest.raises(ValueError, match="JSON"):
        freihand.read_predictions(path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("folder/pred.json", "[]")
    with pytest.raises(ValueError, match=r"holds no pred.json at its top"):
        freihand.read_predictions(tmp_path / "other.zip")
    with pytest.raises(FileNotFoundError, match="is missing"):
        freihand.read_predictions(tmp_path / "absent.zip")
    with pytest.raises(ValueError, match="not finite"):
        freihand.write_predictions(tmp_path / "none.zip", joints, vertices * np.inf)
    assert not list(tmp_path.glob("none*"))


def test_doubts_about_length_and_order() -> None:
    joints, vertices, *_ = random_hands(2)
    assert freihand.sanity_warnings(joints, vertices) == ["the server takes 3960 hands, these are 2"]
    (_, order) = freihand.sanity_warnings(np.roll(joints, 2, 1), vertices)
    assert "mm from their vertices" in order


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["rgb/0.jpg", "rgb/walk.jpg"], "'rgb/walk.jpg' is not named by an image's number"),
        (["rgb/1.jpg", "rgb/00001.jpg", "rgb/0.jpg"], "'rgb/00001.jpg' is there twice"),
        (["rgb/0.jpg", "rgb/2.jpg"], "'rgb/2.jpg' is there where 1 is expected"),
    ],
)
def test_images_that_are_not_freihands(keys: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        freihand.image_order(keys)


def test_hands_of_two_processes_come_in_the_order_of_their_images(tmp_path: Path) -> None:
    joints, vertices, *_ = (torch.from_numpy(x) for x in random_hands(5))
    parts = []
    for own in ([4, 0], [3, 1, 2]):
        parts.append(KeptHands())
        for hand in own:
            batch = {"key": [f"evaluation/rgb/{hand:08d}.jpg"]}
            parts[-1].add(batch, joints[[hand]], vertices[[hand]])
    both = SimpleNamespace(gather=lambda part: parts, is_main=True)
    said: list[str] = []
    parts[0].write(tmp_path / "pred.zip", both, said.append)
    found, _ = freihand.read_predictions(tmp_path / "pred.zip")
    np.testing.assert_allclose(found, joints.numpy(), atol=1e-6)
    assert said[0].startswith("5 hands in") and "3960" in said[1]
    alone = KeptHands()
    alone.add({"key": ["a"]}, joints[:1], vertices[:1])
    with pytest.raises(ValueError, match="not named by an image's number"):
        alone.write(tmp_path / "other.zip", Processes(), said.append)


def test_hands_with_joints_alone_are_judged_by_joints(rule_body_dir: Path) -> None:
    body = load_body("hand", rule_body_dir)
    r = np.random.RandomState(5)
    labeled = torch.from_numpy(r.standard_normal((3, 21, 4)).astype(np.float32) * 0.05)
    labeled[..., 3] = 1
    labeled[1, 7, 3] = 0
    batch = {
        "pose": torch.zeros(3, 48),
        "betas": torch.zeros(3, 10),
        "joints_3d": labeled,
        "joints_2d": labeled[..., :3],
        "has_smpl": torch.tensor([1, 0, 0]),
        "has_3d_joints": torch.tensor([1, 1, 0]),
    }
    training, judged = target_maker(body)(batch), judged_targets(body, batch)
    assert training.has_joints_3d.tolist() == [1, 0, 0]  # the official recipe
    assert judged.has_joints_3d.tolist() == [True, True, False] and judged.has_mesh.tolist() == [1, 0, 0]
    assert torch.equal(judged.joints_3d[0], training.joints_3d[0]) and torch.equal(judged.joints_3d[1], labeled[1])
    predicted = torch.from_numpy(r.standard_normal((3, 21, 3)) * 0.05)
    errors = sample_errors(
        joints=predicted,
        true_joints=judged.joints_3d[..., :3],
        vertices=torch.zeros(3, 778, 3),
        true_vertices=torch.rand(3, 778, 3),
        has_joints_3d=judged.has_joints_3d,
        has_mesh=judged.has_mesh,
        center=(0,),
        kind="hand",
        joint_mask=judged.joints_3d[..., 3] > 0,
    )
    evaluator = Evaluator(HAND_NAMES, kind="hand")
    evaluator.update(errors)
    result = evaluator.result()
    counts = result.metric_samples
    assert (counts["pa_mpjpe"], counts["auc_joints_50mm"], counts["mpvpe"], counts["f_5mm"]) == (2, 2, 1, 1)
    used = [joint for joint in range(21) if joint != 7]
    own = aligned_by_hand(predicted[1, used].numpy(), labeled[1, used, :3].double().numpy())
    expected = np.linalg.norm(own - labeled[1, used, :3].double().numpy(), axis=1)
    assert errors.columns()["pa_mpjpe"][0][1].item() == pytest.approx(expected.mean(), rel=1e-9)
    curve = torch.stack([errors.shares["joints_50mm"][1, 40], torch.tensor((expected <= 0.05 * 40 / 99).mean())])
    assert curve[0].item() == pytest.approx(curve[1].item())
