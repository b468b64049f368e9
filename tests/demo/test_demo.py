"""`tore demo` with tiny networks: all stages, resuming, the report in a browser, a hand from scratch, bad input."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.browser import look_at
from tests.training_runs import run_command
from tore import create_model, save_model
from tore.body import MANO, SMPL, load_body
from tore.cli import main
from tore.datasets.mesh_dataset import MeshDataset
from tore.demo.judging import ConstantMesh, held_out_evaluation, mean_mesh, rest_mesh
from tore.demo.judging import judged as judged_by
from tore.image_format import usual_format
from tore.synthetic.writing import Recipe, write_images

TINY = {"widths": (32, 32), "hidden": (32, 32), "heads": 4, "dropout": 0.0}
SIZES = ["--val_images", "4", "--train_images", "16", "--shown", "2", "--minutes", "0.001", "--workers", "1"]


@pytest.fixture(scope="module")
def cache(synthetic_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the synthetic body and hand and nothing else."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / synthetic_body_dir.name).symlink_to(synthetic_body_dir)
    return folder


@pytest.fixture(scope="module")
def checkpoint(synthetic_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "tiny.bin"
    torch.manual_seed(0)
    model = create_model("fastmetro", arch="test_resnet", size="S", body_dir=synthetic_body_dir, device="cpu", **TINY)
    save_model(model, path)
    return path


@pytest.fixture(scope="module")
def shown(cache: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The output folder of one demo, and its command line."""
    output = tmp_path_factory.mktemp("demo")
    command = ["demo", "--checkpoint", str(checkpoint), *SIZES, "--overfit_images", "2", "--overfit_steps", "2"]
    command += ["--arch", "test_resnet", "--device", "cpu", "--output_dir", str(output)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORE_CACHE_DIR", str(cache))
        assert main(command) == 0
    return output, command


@pytest.mark.slow
def test_the_demo_tells_what_it_found(shown: tuple[Path, list[str]], checkpoint: Path) -> None:
    output, _ = shown
    page = (output / "report.html").read_text()
    baselines, network, after = (
        json.loads((output / name / "done.json").read_text())["result"]
        for name in ("baselines", "evaluation", "evaluation_after_training")
    )
    for metrics in (*baselines.values(), network, after):
        assert f"<td>{metrics['mpjpe']:.1f}</td>" in page and f"<td>{metrics['pa_mpjpe']:.1f}</td>" in page
    assert page.count("<svg") == 4 and page.count('class="mesh-viewer"') == 3
    assert len(re.findall("data:image/jpeg", page)) == 1 + 2 * 6
    written = sorted(path.name for path in (output / "inference" / "results").iterdir())
    assert len(written) == 2 * 5 and "000_person1_tore_pred.glb" in written
    assert checkpoint.name in page and "--overfit_images 2" in page and "seed" in page


@pytest.mark.slow
def test_the_same_command_goes_on_and_skips_what_is_done(
    shown: tuple[Path, list[str]], cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, command = shown
    monkeypatch.setenv("TORE_CACHE_DIR", str(cache))
    before = (output / "report.html").read_text()
    (output / "evaluation" / "done.json").unlink()
    (output / "report.html").unlink()
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.count("done before") == 6 and "evaluation ..." in said
    tables = [
        re.findall(r"<tbody>.*?</tbody>", text, re.DOTALL)[0] for text in (before, (output / "report.html").read_text())
    ]
    assert tables[0] == tables[1]
    assert said.rstrip().endswith(f"report: {(output / 'report.html').resolve()}")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 500])
def test_the_report_opens_offline_in_a_browser(shown: tuple[Path, list[str]], tmp_path: Path, width: int) -> None:
    found, console = look_at(shown[0] / "report.html", tmp_path, width)
    assert not console
    assert not found["asked"]
    assert found["images"] == [512, *[224] * 12]  # the photograph first
    assert 0.02 < found["drawn"] / found["size"] < 0.9
    assert found["turned"] and found["switched"]
    assert found["wide"] <= 0  # nothing sticks out sideways


@pytest.mark.slow
def test_a_hand_from_scratch(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(cache))
    flags = [*SIZES, "--overfit_steps", "0", "--arch", "test_resnet", "--device", "cpu", "--output_dir", str(tmp_path)]
    assert main(["demo", "--body", "hand", "--from_scratch", *flags]) == 0
    assert "a new network after 16 samples: MPJPE" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "21 joints of the hand" in page and page.count("<svg") == 2
    readme = tmp_path / "page.md"
    readme.write_text("<!-- demo of hands: written by scripts/show_demo.py -->\n<!-- end of demo -->\nafter\n")
    command = [sys.executable, "scripts/show_demo.py", "--demo", str(tmp_path), "--out", str(tmp_path)]
    assert run_command([*command, "--page", str(readme)]).returncode == 0
    assert "(images/demo_hands.jpg)" in readme.read_text() and readme.read_text().endswith("-->\nafter\n")
    assert Image.open(tmp_path / "demo_hands.jpg").width > 6 * 168


@pytest.fixture(scope="module", params=["body", "hand"])
def judged(request: pytest.FixtureRequest, synthetic_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The yaml file of six images."""
    recipe = Recipe(kind=request.param, split="train", seed=3, size=64, body_dir=str(synthetic_body_dir))
    return write_images(recipe, 6, tmp_path_factory.mktemp(request.param))


def body_of(yaml: Path) -> tuple[SMPL | MANO, list]:
    kind = json.loads((yaml.parent / "train.recipe.json").read_text())["kind"]
    body, data = load_body(kind, "synthetic"), MeshDataset(yaml, False, kind)
    return body, [data.targets(index) for index in range(len(data))]


def test_the_mean_mesh_is_the_mean_of_the_true_ones(judged: Path) -> None:
    body, targets = body_of(judged)
    total = torch.zeros(len(body.skinned.weights[0]), 3, dtype=torch.float64)
    for target in targets:  # one by one, from the model itself
        pose, betas = target["pose"][None], target["betas"][None]
        vertices = body(pose, betas)
        root = body.layer_joints(pose, betas)[1][:, :1] if isinstance(body, MANO) else body.root(vertices)
        total += (vertices - root)[0].double()
    assert torch.allclose(mean_mesh(body, targets).double(), total / len(targets), atol=1e-6)
    with pytest.raises(ValueError, match="no labels"):
        mean_mesh(body, [])


def test_the_resting_body_stands_upright_before_the_camera() -> None:
    body = load_body("body", "synthetic")
    vertices = rest_mesh(body)
    names = {
        name: body.joints24(vertices[None])[0, place] for name, place in (("head", 13), ("ankle", 0), ("nose", 19))
    }
    assert names["head"][1] < -0.4 and names["ankle"][1] > 0.6  # y points down
    assert names["nose"][2] < names["head"][2]  # and z away from the viewer, whom it faces


@pytest.mark.parametrize("arch", ["resnet50", "movenet-thunder", "mediapipe-hand"])
def test_a_constant_mesh_that_is_the_truth_has_no_error(judged: Path, arch: str) -> None:
    """On whatever crops a network is shown."""
    shown = usual_format(arch)
    if shown.upright != ("hand" in str(judged.parent.name)) and arch != "resnet50":
        pytest.skip("the other kind's")
    body = body_of(judged)[0]
    targets = [MeshDataset(judged, False, body.kind, image_format=shown).targets(0)]
    lines = (judged.parent / "train.linelist.tsv").read_text().splitlines()
    (judged.parent / "train.linelist.tsv").write_text(lines[0] + "\n")
    try:
        evaluation = held_out_evaluation(body, judged, torch.device("cpu"), 0, shown)
        found = judged_by(evaluation, ConstantMesh(body, mean_mesh(body, targets), shown))
    finally:
        (judged.parent / "train.linelist.tsv").write_text("\n".join(lines) + "\n")
    assert found["mpvpe"] < 0.5 and found["mpjpe"] < 5.0  # hands: the layer's wrist and a fingertip lie elsewhere
    assert any("samples" in line for line in found["protocol"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--minutes", "0"], "--minutes 0 must be above 0"),
        (["--val_images", "0"], "--val_images 0: give 1 or more"),
        (["--val_images", "129"], "--val_images 129: 128 held-out images of people come with the package"),
        (["--from_scratch", "--checkpoint", "x.bin"], "leave one of them out"),
        (["--checkpoint", "nowhere.bin"], "nowhere.bin is missing: name another --checkpoint, or add --from_scratch"),
        (["--device", "cuda:77"], "cuda:77"),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--output_dir", str(tmp_path), *flags]) == 2
    text = capsys.readouterr().err
    assert text.startswith("tore demo: ") and said in text and len(text.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_page_of_results_takes_its_numbers_from_a_demo(shown: tuple[Path, list[str]], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- demo: written by scripts/show_demo.py -->\nold\n<!-- end of demo -->\nafter\n")
    command = [sys.executable, "scripts/show_demo.py", "--demo", str(shown[0]), "--out", str(tmp_path)]
    done = run_command([*command, "--page", str(page)])
    assert done.returncode == 0, done.stdout
    network = json.loads((shown[0] / "evaluation" / "done.json").read_text())["result"]
    text = page.read_text()
    assert (
        f"| **the network that ships** | {network['mpjpe']:.1f} (" in text
        and "mean mesh" in text
        and "(images/demo_people.jpg)" in text
    )
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert Image.open(tmp_path / "demo_people.jpg").width > 6 * 168
    assert run_command([*command[:2], "--demo", str(tmp_path / "none")]).returncode == 2
