"""FreiHAND from its site's files to scores: convert, train two steps, predict, pred.zip, `tore freihand`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.datasets.sources import write_freihand
from tests.training_runs import QUICK, SMALL_FM
from tore import cli, load_model
from tore.body import load_body
from tore.datasets.augmentation import Draw
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.state import CheckpointFolder
from tore.evaluation import freihand
from tore.geometry.alignment import merge_predictions

HANDS = 3


@pytest.fixture(scope="module")
def site(synthetic_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FreiHAND's folder with the synthetic hand, the released evaluation annotations among its files."""
    root = tmp_path_factory.mktemp("freihand_site")
    write_freihand(root, HANDS, evaluation_labels=True, body=load_body("hand", synthetic_body_dir))
    return root


@pytest.fixture(scope="module")
def trained(site: Path, synthetic_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the converted sets in `freihand`, and a checkpoint of two steps in `run`."""
    root = tmp_path_factory.mktemp("freihand")
    for split in ("training", "evaluation"):
        options = ["--root", site, "--split", split, "--out", root / "freihand", "--quiet"]
        assert cli.main(["convert", "freihand", *map(str, options)]) == 0
    flags = ["--data_dir", root, "--body_dir", synthetic_body_dir, "--output_dir", root / "run", *SMALL_FM, *QUICK]
    flags += [
        "--num_train_epochs",
        "1",
        "--num_workers",
        "0",
        "--per_gpu_train_batch_size",
        "6",
        "--logging_steps",
        "1",
    ]
    assert cli.main(["train-fm-hand", *map(str, flags)]) == 0
    return root


def checkpoint(root: Path) -> Path:
    found = CheckpointFolder(root / "run", keep=1).newest()
    assert found is not None
    return found / "state_dict.bin"


def evaluate(root: Path, bodies: Path, *more: str | Path) -> int:
    flags = ["--checkpoint", checkpoint(root), "--arch", "test_resnet", "--data_dir", root, "--body_dir", bodies]
    flags += ["--val_yaml", "freihand/test.yaml", "--num_workers", "0", "--device", "cpu"]
    return cli.main(["evaluate", *map(str, flags), *map(str, more)])


def expected_hands(
    root: Path, bodies: Path, views: tuple[Draw, ...] = (), **options: int
) -> tuple[np.ndarray, np.ndarray]:
    """The network called by hand on the evaluation images, minus the wrist."""
    model = load_model(checkpoint(root), bodies, "cpu", arch="test_resnet", **options).eval()
    body = load_body("hand", bodies)
    data = MeshDataset(root / "freihand" / "test.yaml", False, "hand", views=views)
    found = []
    for index in range(HANDS):
        sample = data[index]
        crops = torch.cat([sample["image"][None], sample["views"]]) if views else sample["image"][None]
        with torch.no_grad():
            meshes = model(crops).vertices
        points = torch.cat([body.regress_joints(meshes), meshes], 1)
        found.append(merge_predictions(points[:1], points[None, 1:])[0] if views else points[0])
    points = torch.stack(found)
    joints, vertices = points[:, :21], points[:, 21:]
    root_of = body.root(vertices)
    return (joints - root_of).numpy(), (vertices - root_of).numpy()


def test_training_took_two_steps_and_is_judged_by_joints_alone(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if line["kind"] == "train"] == [1, 2]
    assert [line["kind"] for line in lines].count("validation") == 1
    best = json.loads((trained / "run" / "best.json").read_text())
    assert best["pa_mpjpe"] == lines[-1]["pa_mpjpe"] > 0 and "mpvpe" not in lines[-1]


def test_predictions_are_the_networks_in_order_and_metres(
    trained: Path, site: Path, synthetic_body_dir: Path, capsys
) -> None:
    zipped, report = trained / "pred.zip", trained / "scores.json"
    assert evaluate(trained, synthetic_body_dir, "--pred_zip", zipped, "--annotations", site) == 0
    said = capsys.readouterr().out
    alone = said.split("3 hands in")[0]  # released joints, but no MANO parameters
    assert "mpvpe                 absent" in alone and alone.count("over 3 samples") == 5
    for found, expected in zip(
        freihand.read_predictions(zipped), expected_hands(trained, synthetic_body_dir), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert cli.main(["freihand", str(zipped), "--annotations", str(site), "--json", str(report)]) == 0
    text = capsys.readouterr()
    for word in ("pa_mpjpe", "pa_mpvpe", "f_5mm", "f_15mm", "auc_joints_50mm", "% within mm", "released annotations"):
        assert word in text.out and word in said, word
    assert "the server takes 3960 hands, these are 3" in text.err
    page = trained / "scores.html"
    assert cli.main(["freihand", str(zipped), "--annotations", str(site), "--report", str(page)]) == 0
    assert page.read_text().count("<svg") == 1 and "Pinky_4" in page.read_text() and "f_15mm" in page.read_text()
    scores = json.loads(report.read_text())
    assert scores["metrics"] == json.loads((trained / "pred_scores.json").read_text())["metrics"]
    assert scores["metrics"]["pa_mpjpe"] > 0 and len(scores["curves"]["joints_50mm"]) == 100


def test_the_true_hands_score_perfectly(site: Path, tmp_path: Path) -> None:
    """Order, units and joints of the file are those of the annotations."""
    for name in ("xyz", "verts"):
        shutil.copy(site / f"evaluation_{name}.json", tmp_path)
    truth = [np.array(json.loads((site / f"evaluation_{name}.json").read_text())) for name in ("xyz", "verts")]
    freihand.write_predictions(tmp_path / "pred.zip", *truth)
    assert (
        cli.main(
            ["freihand", str(tmp_path / "pred.zip"), "--annotations", str(tmp_path), "--json", str(tmp_path / "s")]
        )
        == 0
    )
    metrics = json.loads((tmp_path / "s").read_text())["metrics"]
    assert metrics["f_5mm"] == 1 and metrics["mpjpe"] < 1e-3 and metrics["auc_vertices_50mm"] > 99


def test_the_script_evaluates_over_views(trained: Path, site: Path, synthetic_body_dir: Path, capfd) -> None:
    flags = [
        "--data_dir",
        trained,
        "--body_dir",
        synthetic_body_dir,
        "--output_dir",
        trained / "out",
        *SMALL_FM,
        *QUICK,
    ]
    flags += ["--run_eval_only", "--resume_checkpoint", checkpoint(trained), "--num_workers", "0"]
    flags += ["--multiscale_inference", "--sc", "0.9", "1", "--rot", "0", "-30", "--annotations", site]
    assert cli.main(["train-fm-hand", *map(str, flags)]) == 0
    assert "the mean with 3 more crops" in capfd.readouterr().err
    views = (Draw(scale=0.9), Draw(scale=0.9, rotation=-30.0), Draw(rotation=-30.0))
    expected = expected_hands(trained, synthetic_body_dir, views, heads=4)  # the file does not tell them, the flags do
    for found, points in zip(freihand.read_predictions(trained / "out" / "pred.zip"), expected, strict=True):
        np.testing.assert_allclose(found, points, atol=1e-5)
    assert (trained / "out" / "pred_scores.json").is_file()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--annotations", "somewhere"], "name it with --pred_zip"),
        (["--multiscale_inference", "--sc", "0"], "--sc 0 shows nothing"),
        (["--pred_zip", "OUT", "--annotations", "nowhere"], "evaluation_xyz.json is missing"),
    ],
)
def test_bad_wishes_are_said(more, words: str, trained: Path, synthetic_body_dir: Path, tmp_path: Path, capsys) -> None:
    more = [str(tmp_path / "pred.zip") if word == "OUT" else word for word in more]
    assert evaluate(trained, synthetic_body_dir, *more) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


def test_scores_need_annotations(tmp_path: Path, capsys) -> None:
    assert cli.main(["freihand", str(tmp_path / "pred.zip")]) == 2
    assert "pred.zip is missing" in capsys.readouterr().err
    freihand.write_predictions(tmp_path / "pred.zip", np.zeros((1, 21, 3)), np.zeros((1, 778, 3)))
    assert cli.main(["freihand", str(tmp_path / "pred.zip"), "--report", str(tmp_path / "page.html")]) == 2
    assert "need --annotations DIR" in capsys.readouterr().err and not (tmp_path / "page.html").exists()
