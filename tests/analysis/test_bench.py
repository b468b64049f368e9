"""`tore bench`: taking turns, medians, live tensors, subjects, the paper's columns, the whole command."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import tore
from tests.conftest import assert_agrees
from tests.exports import without_onnx
from tore import cli
from tore.analysis import benchmark
from tore.analysis.subjects import paper_requests, parse_subject, subjects_of
from tore.analysis.tables import csv_text, markdown, shown
from tore.evaluation.protocol import PAPER_HUMAN36M, paper_row
from tore.modeling.checkpoints import save_model
from tore.synthetic.writing import Recipe, write_images

TINY = {"arch": "test_resnet", "size": "S", "widths": (32, 32), "hidden": (32, 32), "heads": 4}
TINY_TEXT = "fastmetro,arch=test_resnet,size=S,keep_ratio=0.2"


# timing -------------------------------------------------------------------------------------------------------------


def test_functions_take_turns_and_each_round_begins_one_further(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock[0])
    called: list[str] = []

    def function(name: str, seconds: float) -> object:
        def call() -> None:
            called.append(name)
            clock[0] += seconds

        return call

    functions = {name: function(name, seconds) for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    rule: dict = {"warm_up": 1, "repeats": 3, "synchronise": lambda: None}
    taken = benchmark.alternate(functions, seconds=14.0, **rule)
    assert "".join(called) == "abcbcacababc"
    assert taken == {"a": [1.0] * 3, "b": [2.0] * 3, "c": [4.0] * 3}
    assert benchmark.alternate(functions, seconds=13.9, **rule)["a"] == [1.0] * 2, "two rounds took 14 seconds"


def test_median_and_ninetieth_percentile() -> None:
    seconds = [0.011, 0.001, 0.009, 0.003, 0.005, 0.007, 0.010, 0.002, 0.004, 0.006, 0.008]  # 1 to 11 ms
    assert benchmark.median_and_p90(seconds) == pytest.approx((6.0, 10.0))


class Chain(torch.nn.Module):
    """x -> 2x -> 2x + 1 -> its half, each freed once the next is there."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * 2
        x = x + 1
        return x.view(-1)[: len(x) // 2].clone()


def test_peak_memory_is_what_lives_at_once() -> None:
    with torch.inference_mode():
        found = benchmark.peak_memory(Chain(), torch.zeros(1000), torch.device("cpu"))
    assert found == 4 * (10 + 1000) + 4 * (1000 + 1000), "weights and images, then 2x beside 2x + 1"


# subjects -----------------------------------------------------------------------------------------------------------


def test_a_subject_is_read_from_its_text(tmp_path: Path) -> None:
    request = parse_subject(
        "fastmetro,arch=resnet50,size=M,keep_ratio=0.5,geometry_reduction=false,label=a b,pa_mpjpe=40"
    )
    assert request.options == {"arch": "resnet50", "size": "M", "keep_ratio": 0.5, "geometry_reduction": False}
    assert (request.network, request.label, request.pa_mpjpe) == ("fastmetro", "a b", 40.0)
    numbers = tmp_path / "numbers.json"
    numbers.write_text(json.dumps({"metrics": {"pa_mpjpe": 41.5}}))
    assert parse_subject(f"metro,pa_mpjpe={numbers}").pa_mpjpe == 41.5
    file = tmp_path / "a,b.bin"
    file.touch()
    assert parse_subject(str(file)).file == file


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("absent.bin", "absent.bin is neither a checkpoint file nor fastmetro nor metro"),
        ("fastmetro,fly=1", "no option fly; use arch, body"),
        ("fastmetro,keep_ratio", "'keep_ratio' is no option"),
        ("metro,pa_mpjpe=good", "pa_mpjpe=good is neither"),
        ("metro,token_reduction=tome", "'tome' is not known for metro"),
        ("fastmetro,keep_ratio=2", "keep_ratio 2 is not in (0, 1]"),
    ],
)
def test_a_bad_subject_is_told_in_one_line(text: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", text, "--no_timing", "--data_dir", "synthetic"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("tore bench: ") and word in said[0]


def test_the_papers_subjects_are_the_papers_rows(synthetic_body_dir: Path) -> None:
    requests = paper_requests()
    assert len(requests) == len(PAPER_HUMAN36M)
    for request, row in zip(requests, PAPER_HUMAN36M, strict=True):
        options = request.options
        reduces = options.get("token_reduction") != "none"
        assert paper_row(str(request.network), options["arch"], options.get("keep_ratio"), reduces) is row
    small = [request for request in requests if request.options["arch"] == "efficientnet-b0"]
    subjects = subjects_of(small, str(synthetic_body_dir), 224)
    assert [round(subject.cost.total_macs / 1e9, 1) for subject in subjects] == [1.7, 1.6, 7.1]
    assert [subject.paper.cost for subject in subjects if subject.paper] == [1.7, 1.6, 7.1]


def test_a_checkpoint_costs_what_its_configuration_costs(synthetic_body_dir: Path, tmp_path: Path) -> None:
    model = tore.create_model(**TINY, keep_ratio=0.2, body_dir=synthetic_body_dir)
    save_model(model, tmp_path / "tiny.bin")
    (subject,) = subjects_of([parse_subject(str(tmp_path / "tiny.bin"))], str(synthetic_body_dir), 224)
    assert subject.cost.total_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert subject.facts()["kept"] == 9 and subject.paper is None
    assert torch.equal(subject.build(torch.device("cpu")).point_head.weight, model.point_head.weight)


def test_forms_are_the_same_network(synthetic_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_onnx(monkeypatch, tmp_path)
    save_model(tore.create_model(**TINY, token_reduction="none", body_dir=synthetic_body_dir), tmp_path / "tiny.bin")
    request = parse_subject(f"{tmp_path / 'tiny.bin'},label=tiny")
    plain, fast = subjects_of([request, replace(request, form="openvino-bf16")], str(synthetic_body_dir), 224)
    assert (plain.label, fast.label) == ("tiny", "tiny openvino-bf16") and plain.cost == fast.cost
    images, device = torch.randn(2, 3, 224, 224), torch.device("cpu")
    with torch.inference_mode():
        expected, found = plain.build(device)(images), fast.build(device)(images)
        assert_agrees(found.vertices, expected.vertices.numpy(), 1e-4)
        exported = fast.build(device)
        assert benchmark.peak_memory(exported, images, device) is None and exported.session.precision == "bfloat16"
        made = replace(fast, request=parse_subject(TINY_TEXT + ",label=made"))
        made = replace(made, request=replace(made.request, form="onnxruntime"))
        assert made.build(device)(images).vertices.shape == expected.vertices.shape
    (again,) = subjects_of([parse_subject(str(exported.folder))], str(synthetic_body_dir))
    assert again.request.form == "openvino" and again.config == plain.config and again.cost == plain.cost


def test_same_labels_are_numbered(synthetic_body_dir: Path) -> None:
    subjects = subjects_of([parse_subject(TINY_TEXT)] * 3, str(synthetic_body_dir), 224)
    assert [s.label.removeprefix(subjects[0].label) for s in subjects] == ["", " (2)", " (3)"]


# tables and the command ---------------------------------------------------------------------------------------------


def test_tables() -> None:
    rows = [{"name": "a", "x": 1.25, "y": None}, {"name": "long", "x": 123.456, "y": 7}]
    assert markdown(rows).splitlines() == [
        "| name |     x |   y |",
        "|------|------:|----:|",
        "| a    |  1.25 |   - |",
        "| long | 123.5 |   7 |",
    ]
    assert list(csv.DictReader(io.StringIO(csv_text([*rows, {"z": 1}])))) == [
        {"name": "a", "x": "1.25", "y": "", "z": ""},
        {"name": "long", "x": "123.456", "y": "7", "z": ""},
        {"name": "", "x": "", "y": "", "z": "1"},
    ]
    assert [shown(v) for v in (5.4, 0.4543, 31.604, 0.0, 805)] == ["5.4", "0.454", "31.60", "0.0", "805"]


def test_paper_columns_stand_beside_ours(capsys: pytest.CaptureFixture[str], synthetic_body_dir: Path) -> None:
    subjects = ["fastmetro,token_reduction=none,pa_mpjpe=55.5", "metro,token_reduction=none", "metro", TINY_TEXT]
    assert cli.main(["bench", *subjects, "--paper", "--no_timing", "--data_dir", str(synthetic_body_dir)]) == 0
    table = capsys.readouterr().out.split("Beside the paper")[1].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    names = ["GMACs", "paper GFLOPs", "best images/s", "paper images/s", "PA-MPJPE", "paper PA-MPJPE"]
    assert cells[0][1:] == names
    assert [row[1:] for row in cells[2:5]] == [
        ["10.9", "10.9", "-", "576", "55.5", "37.3"],
        ["31.6", "31.6", "-", "247", "-", "40.6"],
        ["5.4", "5.4", "-", "591", "-", "42.0"],
    ]
    assert cells[5][2:] == ["-"] * 5


def test_the_whole_command(synthetic_body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tore.create_model(**TINY, token_reduction="none", body_dir=synthetic_body_dir)
    save_model(model, tmp_path / "state.bin")
    files = {name: tmp_path / f"out.{name}" for name in ("csv", "json", "png")}
    flags = ["--batch", "1", "2", "--dtype", "float32", "bfloat16", "--warm_up", "1", "--repeats", "3"]
    flags += ["--end_to_end", "2", "--data_dir", str(synthetic_body_dir), "--device", "cpu", "--csv", str(files["csv"])]
    flags += ["--json", str(files["json"]), "--plot", str(files["png"])]
    threads = torch.get_num_threads()
    subjects = [f"{tmp_path / 'state.bin'},label=mine,pa_mpjpe=50", TINY_TEXT]
    assert cli.main(["bench", *subjects, *flags, "--threads", "1"]) == 0
    torch.set_num_threads(threads)
    written = json.loads(files["json"].read_text())
    rows = written["rows"]
    assert "1 threads" in written["machine"] and "Rounds to warm up: 1" in written["protocol"]
    assert [(row["subject"] == "mine", row["dtype"], row["batch"]) for row in rows] == [
        (mine, dtype, batch) for mine in (True, False) for dtype in ("float32", "bfloat16") for batch in (1, 2)
    ]
    for row in rows:
        assert row["rounds"] == 3 and 0 < row["median ms"] <= row["p90 ms"]
        assert row["images/s"] == pytest.approx(1000 * row["batch"] / row["median ms"])
        parts = sum(row[f"Mparams {part}"] for part in tore.analysis.cost.PARTS)
        assert parts == pytest.approx(row["Mparams"])
    assert rows[0]["peak MiB"] < rows[1]["peak MiB"], "a larger batch takes more"
    weights = sum(value.numel() * value.element_size() for value in (*model.parameters(), *model.buffers()))
    assert rows[0]["peak MiB"] > weights / 2**20
    for row in written["end_to_end"]:
        stages = [row[name] for name in ("reading", "cropping", "network", "drawing", "writing")]
        assert min(stages) > 0 and row["all"] >= max(stages)
    with files["csv"].open() as file:
        assert [row["subject"] for row in csv.DictReader(file)] == [row["subject"] for row in rows]
    with Image.open(files["png"]) as image:
        assert image.format == "PNG" and image.width > 5 * 300, "four throughputs and an error"
    said = capsys.readouterr().out
    assert re.search(r"The network alone. Rounds to warm up: 1", said) and "End to end" in said
    assert "Beside the paper" not in said


def test_checkpoints_are_judged_as_tore_evaluate_judges_them(
    synthetic_body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tore.create_model(**TINY, token_reduction="none", body_dir=synthetic_body_dir)
    save_model(model, tmp_path / "state.bin")
    recipe = Recipe(kind="body", split="val", seed=1, size=128, body_dir=str(synthetic_body_dir))
    yaml = write_images(recipe, 2, tmp_path / "set", workers=1)
    flags = ["--val_yaml", str(yaml), "--device", "cpu", "--json"]
    one = ["--checkpoint", str(tmp_path / "state.bin"), "--body_dir", str(synthetic_body_dir), "--num_workers", "0"]
    assert cli.main(["evaluate", *one, *flags, str(tmp_path / "one.json")]) == 0
    error = json.loads((tmp_path / "one.json").read_text())["metrics"]["pa_mpjpe"]
    quick = ["--batch_size", "1", "--warm_up", "1", "--repeats", "1", "--body_dir", str(synthetic_body_dir)]
    without_onnx(monkeypatch, tmp_path / "cache")
    forms = ["--form", "plain", "fast"]
    assert cli.main(["bench", str(tmp_path / "state.bin"), *flags, str(tmp_path / "all.json"), *quick, *forms]) == 0
    plain, fast = json.loads((tmp_path / "all.json").read_text())["rows"]
    assert plain["PA-MPJPE"] == pytest.approx(error, rel=1e-6) and fast["PA-MPJPE"] == pytest.approx(error, rel=1e-4)
    assert cli.main(["bench", TINY_TEXT, *flags, str(tmp_path / "no.json"), *quick]) == 2
    assert "has random weights" in capsys.readouterr().err and not (tmp_path / "no.json").exists()


@pytest.mark.parametrize("flags", [["--repeats", "0"], ["--form", "openvino", "--dtype", "bfloat16"]])
def test_bad_flags_are_told(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", TINY_TEXT, *flags]) == 2
    assert flags[0] in capsys.readouterr().err
