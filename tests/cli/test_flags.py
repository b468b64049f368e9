"""One flag vocabulary: old spellings mean the new flags, messages name what was typed, impossible numbers are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tore import cli
from tore.cli import bench, cost, evaluate, infer, train
from tore.cli.flags import ALIASES, VERB_ALIASES, alias_table, typed_flags
from tore.training.pretraining import PretrainConfig
from tore_runtime import cli as runtime_cli

ROOT = Path(__file__).parents[2]


def test_the_documented_table_is_the_one_in_use() -> None:
    assert alias_table() in (ROOT / "docs" / "FLAGS.md").read_text()


@pytest.mark.parametrize("flag", ["--checkpoint", "--pretrained", "--template_initialization", "--lr"])
def test_old_spellings_of_training_are_the_new_ones(flag: str) -> None:
    value = {"--lr": ["0.5"], "--template_initialization": []}.get(flag, ["x"])
    parser = train.build_parser("fastmetro", "body")
    new = parser.parse_args([flag, *value])
    for old in ALIASES[flag]:
        args = parser.parse_args([old, *value])
        assert vars(args) == vars(new)
        assert list(typed_flags(args).values()) == [old] and list(typed_flags(new).values()) == [flag]


def test_data_dir_means_body_files_where_there_are_no_data_sets() -> None:
    for parser, rest in ((infer.build_parser(), ["--checkpoint", "x", "--images", "y"]), (bench.build_parser(), [])):
        assert parser.parse_args([*rest, "--data_dir", "d"]).body_dir == "d"
    assert cost.parse(["--data_dir", "free"]).body_dir == "synthetic"
    args = evaluate.build_parser().parse_args(["--checkpoint", "x", "--val_yaml", "v", "--data_dir", "d"])
    assert (args.data_dir, args.body_dir) == ("d", None)


def test_an_old_choice_is_the_new_word() -> None:
    parser = train.build_parser("metro", "hand")
    assert parser.parse_args(["--schedule", "published"]).schedule == "official"


@pytest.mark.parametrize(("checkpoint", "start"), [("--checkpoint", "--pretrained"),
                                                   ("--resume_checkpoint", "--warm_start")])  # fmt: skip
def test_messages_name_the_flags_as_typed(checkpoint: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train-fm", checkpoint, "a.bin", start, "b.bin"]) == 2
    said = capsys.readouterr().err
    assert f"{start} b.bin" in said and f"but {checkpoint} gives every weight" in said


@pytest.mark.parametrize("flag", ["--body_dir", "--data_dir"])
def test_errors_from_below_name_the_flag_as_typed(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cost", "--arch", "resnet50", flag, str(tmp_path)]) == 2
    assert f"name another folder with {flag}" in capsys.readouterr().err


def test_verbs_are_grouped_and_old_ones_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{title}:\n" in said for title in ("use", "train and evaluate", "data", "analysis"))
    for new, olds in VERB_ALIASES.items():
        for words in (new, *olds):
            with pytest.raises(SystemExit) as stop:
                cli.main([*words.split(), "--help"])
            assert stop.value.code == 0 and f"usage: tore {new} " in capsys.readouterr().out


def test_help_shows_no_old_spelling(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        infer.main(["--help"])
    said = capsys.readouterr().out
    assert "--body_dir" in said and "--data_dir" not in said and "--resume_checkpoint" not in said


FLAG = re.compile(r"--[a-z][\w-]*")
OLD = {old: [flag for flag in ALIASES if old in ALIASES[flag]] for olds in ALIASES.values() for old in olds}
# An old spelling of some commands' flag that is another's own: the files whose texts mean the latter.
OWN = {
    "--data_dir": (
        "training_flags.py", "pretrain.py", "evaluate.py", "ablate.py", "trace_files.py", "train_tore_fm.sh",
        "train_tore_m.sh", "eval_tore_fm.sh", "eval_tore_m.sh",
    ),
    "--out": ("data.py", "sets.py", "plot_run.py", "ship_checkpoint.py", "convert_movenet.py", "build_pose_prior.py",
              "convert_mediapipe.py", "feature_statistics.py"),
}  # fmt: skip
# The table itself; a value of --boxes, which counts as a file whatever its name; commands of both of two commits.
TABLES = ("flags.py", "people_flags.py", "compare_commits.py")
SOURCES = [path for folder in ("tore", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", [*SOURCES, *ROOT.glob("*.sh"), *ROOT.glob("scripts/*.sh")], ids=lambda path: path.name)
def test_texts_name_flags_by_their_main_spellings(path: Path) -> None:
    """Beside the main spelling, as in `add_argument("--images", "--pictures")`, an old one may stand."""
    if path.name in TABLES:
        pytest.skip("lists old spellings")
    text = path.read_text(encoding="utf-8")
    pairs = [(flag, old) for old, flags in OLD.items() for flag in flags]
    bare = re.sub("|".join(rf'"{flag}",\s*"{old}"' for flag, old in pairs), "", text)
    wrong = [f for f in re.findall(FLAG, bare) if f in OLD and path.name not in OWN.get(f, ())]
    assert not wrong, f"{path.name} names old spellings: {[(flag, OLD[flag]) for flag in wrong]}"


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_name_flags_by_their_main_spellings(path: Path) -> None:
    """Where a spelling is one command's own, tests/test_readme.py compares the command with its help."""
    if path.name == "FLAGS.md":
        pytest.skip("lists old spellings")
    named = re.findall(FLAG, path.read_text(encoding="utf-8"))
    assert not [f"{flag}: write {OLD[flag]}" for flag in named if flag in OLD and flag not in OWN]


INFER, EVALUATE = "infer none.jpg --checkpoint none.bin", "evaluate --checkpoint none.bin"
SCORE, FINITE = "give a score from 0 to 1", "give a finite number, on the scale of the scores in b.json"


@pytest.mark.parametrize(
    ("command", "flag", "why"),
    [
        (INFER, "--box_threshold 7", SCORE),
        (INFER, "--box_threshold -0.1", SCORE),
        (INFER, "--box_threshold nan", SCORE),
        (f"{INFER} --detector b.json", "--box_threshold nan", FINITE),
        (f"{INFER} --detector b.json", "--box_threshold inf", FINITE),
        (INFER, "--batch_size 0", "give 1 or more"),
        (f"{INFER} --save_poses a.npz", "--frame_rate nan", "give a number above 0"),
        ("tore-infer none.jpg", "--box_threshold 7", SCORE),
        ("tore-infer none.jpg --detector b.json", "--box_threshold nan", FINITE),
        ("tore-infer none.jpg", "--batch_size -1", "give 1 or more"),
        ("tore-infer none.jpg", "--threads 0", "give 1 or more"),
        (f"{EVALUATE} --val_yaml none.yaml", "--per_gpu_eval_batch_size 0", "give 1 or more"),
        (f"{EVALUATE} --val_yaml none.yaml", "--num_workers -1", "give 0 or more"),
        (f"{EVALUATE} --val_yaml none.yaml --worst_sheet a.jpg", "--worst -3", "give 1 or more"),
        (f"{EVALUATE} --keypoints none.json", "--box_factor inf", "give a number above 0"),
    ],
)
def test_numbers_that_cannot_be_are_told_before_a_missing_file_is(
    command: str, flag: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *words = f"{command} {flag}".split()
    assert (runtime_cli.main(words) if verb == "tore-infer" else cli.main([verb, *words])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{flag}: {why}")


@pytest.mark.parametrize("flag", ["--box_threshold 7", "--box_threshold -7.5"])
def test_scores_of_a_file_of_boxes_are_on_any_scale(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"none.jpg --detector b.json {flag}".split()
    assert cli.main(["infer", *words]) == runtime_cli.main(words) == 2
    assert capsys.readouterr().err.count("none.jpg is missing") == 2


def test_pretrainings_schedule_is_checked_with_the_flags() -> None:
    with pytest.raises(ValueError, match=r"--warm_up_share 1\.0 is no share of the steps"):
        PretrainConfig(warm_up_share=1.0)
