"""The hand scripts: the official command's flags, the recipes, and what they share with the body scripts."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.training_runs import QUICK, SMALL_FM, lines
from tore import load_model
from tore.cli.train import build_parser, parse
from tore.engine.state import CheckpointFolder, load_training_state
from tore.modeling.build import configure, reduction_of
from tore.synthetic.writing import Recipe, write_images
from tore.tools import run_tore_fm_bodymesh, run_tore_fm_handmesh, run_tore_m_bodymesh, run_tore_m_handmesh
from tore.training.config import RunConfig
from tore.training.recipes import optimizer_from, recipe_from

SCRIPTS = {"fm": run_tore_fm_handmesh, "m": run_tore_m_handmesh}
NETWORKS = {"fm": "fastmetro", "m": "metro"}
OFFICIAL = """--train_yaml freihand/train.yaml --val_yaml freihand/test.yaml --arch hrnet-w64 --num_workers 4
    --per_gpu_train_batch_size 32 --per_gpu_eval_batch_size 32 --num_hidden_layers 4 --num_attention_heads 4 --lr 1e-4
    --num_train_epochs 200 --input_feat_dim 2051,512,128 --hidden_feat_dim 1024,256,64"""
ONCE = "--num_train_epochs 1 --num_workers 0 --per_gpu_train_batch_size 4 --per_gpu_eval_batch_size 4 --logging_steps 1"
SMALL_M = "--num_hidden_layers 1 --intermediate_size 32 --input_feat_dim 99,32,16 --hidden_feat_dim 64,32,16"


@pytest.fixture(scope="session")
def hand_sets(synthetic_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with synthetic hands: 8 in `train.yaml`, 4 in `val.yaml`."""
    root = tmp_path_factory.mktemp("hand_sets")
    for split, count in (("train", 8), ("val", 4)):
        write_images(Recipe("hand", split, 3, 96, str(synthetic_body_dir)), count, root)
    return root


def train(tool: str, sets: Path, bodies: Path, output: Path, more: str = "") -> int:
    small = SMALL_FM if tool == "fm" else ["--arch", "test_resnet", *SMALL_M.split()]
    flags = ["--data_dir", str(sets), "--train_yaml", "train.yaml", "--val_yaml", "val.yaml"]
    flags += ["--body_dir", str(bodies), "--output_dir", str(output), *small, *QUICK, *ONCE.split()]
    return SCRIPTS[tool].main([*flags, *more.split()])


def test_the_official_command_says_only_what_is_usual_but_the_workers_of_eight_processes() -> None:
    parser = build_parser("metro", "hand")
    assert vars(parser.parse_args(shlex.split(OFFICIAL))) == vars(parser.parse_args([]))


FAST = {"joints_3d": 1000.0, "vertices": 100.0, "joints_2d": 100.0}
ONES = {"joints_3d": 1.0, "vertices": 1.0, "joints_2d": 1.0}


@pytest.mark.parametrize(
    ("tool", "flags", "weights", "levels"),
    [
        ("fm", "", FAST | {"itp": 5e-4}, (0.5, 0.5)),
        ("fm", "--token_reduction none --recipe fastmetro", FAST | {"normal": 10.0, "edge": 100.0}, (0.5, 0.5)),
        ("m", "", ONES, (0.5, 0.5)),
        ("m", "--vloss_w_full 0.3 --vloss_w_sub 0.7 --joints_loss_weight 2", ONES | {"joints_3d": 2.0}, (0.7, 0.3)),
    ],
)
def test_recipes_of_hands(tool: str, flags: str, weights: dict, levels: tuple) -> None:
    config = RunConfig.from_flags(parse(flags.split(), NETWORKS[tool], "hand"), NETWORKS[tool], "hand")
    options = {} if not config.network.token_reduction else {"image_reduction": "none", "kept_tokens": None}
    recipe = recipe_from(config, configure(NETWORKS[tool], body="hand", **options))
    assert recipe.weights(3.0) == weights and recipe.level_weights == levels and recipe.center == (0,)
    assert recipe.distance == {"fm": "l1", "m": "squared"}[tool]
    clip = {"tore": "value", "fastmetro": "norm", "metro": "none"}[config.losses.recipe] if tool == "fm" else "none"
    assert optimizer_from(config).clip == clip


@pytest.mark.parametrize(("tool", "reduction"), [("fm", "tore"), ("fm", "none"), ("m", "tore"), ("m", "none")])
def test_hands_train_and_validate(
    tool: str, reduction: str, hand_sets: Path, synthetic_body_dir: Path, tmp_path: Path
) -> None:
    assert train(tool, hand_sets, synthetic_body_dir, tmp_path, f"--token_reduction {reduction}") == 0
    steps = lines(tmp_path)
    weights = (FAST if tool == "fm" else ONES) | {"itp": steps[0].get("weight_itp", 0.0)}
    expected = sum(weight * steps[0].get(name, 0.0) for name, weight in weights.items())
    assert len(steps) == 2 and steps[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert ("itp" in steps[0]) == ((tool, reduction) == ("fm", "tore")) and "edge" not in steps[0]
    judged = lines(tmp_path, "validation")[0]
    assert judged["pa_mpjpe"] > 0 and 0 <= judged["f_5mm"] <= judged["f_15mm"] <= 1
    folder = CheckpointFolder(tmp_path, keep=1).newest()
    model = load_model(folder / "state_dict.bin", synthetic_body_dir, "cpu", arch="test_resnet")
    assert (model.config.body, reduction_of(model.config)) == ("hand", reduction)
    assert load_training_state(folder)["config"]["model"]["network"] == NETWORKS[tool]


def test_body_and_hand_scripts_differ_by_names_alone() -> None:
    pairs = [(run_tore_fm_bodymesh, run_tore_fm_handmesh), (run_tore_m_bodymesh, run_tore_m_handmesh)]
    for body, hand in pairs:
        sources = [Path(str(script.__file__)).read_text().splitlines() for script in (body, hand)]
        different = [line for line in sources[1] if line not in sources[0]]
        assert len(different) == 2 and all("hand" in line for line in different), different
