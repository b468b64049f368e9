"""The networks without token reduction, the other reducers and the SMPL regressor through the training scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests import rules
from tests.training_runs import QUICK, SMALL_FM, SMALL_M, data_flags, lines, newest
from tore import create_model, load_model, save_published
from tore.body import load_body
from tore.body.files import read_level_faces
from tore.cli.train import parse
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.engine.logging import RunLog
from tore.engine.state import load_training_state
from tore.losses.recipes import LossRecipe
from tore.modeling import MeshPrediction
from tore.modeling.build import configure, reduction_of
from tore.tools import run_tore_fm_bodymesh, run_tore_m_bodymesh
from tore.training.build import RunSetting, loss_step
from tore.training.config import RunConfig
from tore.training.evaluate import Evaluation
from tore.training.recipes import optimizer_from, recipe_from, surface_faces

ONCE = ["--num_train_epochs", "1", "--num_workers", "0", "--per_gpu_train_batch_size", "6", "--logging_steps", "1"]
NETWORKS = {"fm": "fastmetro", "m": "metro"}
TOOLS = {"fm": (run_tore_fm_bodymesh, SMALL_FM), "m": (run_tore_m_bodymesh, SMALL_M)}


def train(tool: str, sets: Path, bodies: Path, output: Path, *more: str) -> int:
    module, small = TOOLS[tool]
    return module.main([*data_flags(sets, bodies, output), *small, *QUICK, *ONCE, *more])


def recipe_of(tool: str, *flags: str, **fields: object) -> LossRecipe:
    """The recipe that a command line gives a network of `fields`."""
    return recipe_from(config_of(tool, *flags), configure(NETWORKS[tool], **fields))


def config_of(tool: str, *flags: str) -> RunConfig:
    """What a command line becomes."""
    network = NETWORKS[tool]
    return RunConfig.from_flags(parse(list(flags), network, "body"), network, "body")


# recipes ------------------------------------------------------------------------------------------------------------

BODY = {"joints_3d": 1000.0, "vertices": 100.0, "joints_2d": 100.0}
NO_PRUNING = {"image_reduction": "none", "kept_tokens": None, "geometry_reduction": False}


@pytest.mark.parametrize(
    ("tool", "flags", "fields", "weights", "levels"),
    [
        ("fm", [], {}, BODY | {"itp": 5e-4}, (0.33, 0.33, 0.33)),
        ("fm", [], NO_PRUNING, BODY, (0.33, 0.33, 0.33)),
        ("fm", [], {"image_reduction": "tome"}, BODY, (0.33, 0.33, 0.33)),
        ("fm", ["--recipe", "fastmetro"], NO_PRUNING, BODY | {"normal": 100.0, "edge": 1000.0}, (0.25, 0.5, 0.25)),
        (
            "fm",
            ["--recipe", "fastmetro", "--edge_and_normal_vector_loss", "false", "--vloss_w_full", "0.4"],
            NO_PRUNING,
            BODY,
            (0.25, 0.5, 0.4),
        ),
        (
            "fm",
            ["--recipe", "fastmetro"],
            {"body": "hand", **NO_PRUNING},
            BODY | {"normal": 10.0, "edge": 100.0},
            (0.5, 0.5),
        ),
        ("fm", ["--vertices_loss_weight", "7"], NO_PRUNING, BODY | {"vertices": 7.0, "joints_2d": 7.0}, (0.33,) * 3),
        ("fm", ["--itp_loss_weight", "2"], {"image_reduction": "topk"}, BODY | {"itp": 1.0}, (0.33,) * 3),
        ("fm", [], {"smpl_regressor": True, **NO_PRUNING}, BODY | {"smpl_parameters": 1000.0}, (0.33,) * 3),
        ("m", [], {"geometry_reduction": False}, BODY | {"normal": 0.1, "edge": 1.0}, (0.33,) * 3),
        ("m", ["--recipe", "metro"], {"geometry_reduction": False}, BODY, (0.33,) * 3),
        ("m", ["--recipe", "metro"], {"body": "hand"}, {"joints_3d": 1, "vertices": 1, "joints_2d": 1}, (0.5, 0.5)),
    ],
)
def test_weights_of_a_recipe(tool: str, flags: list[str], fields: dict, weights: dict, levels: tuple) -> None:
    recipe = recipe_of(tool, *flags, **fields)
    assert recipe.weights(3.0) == weights and recipe.level_weights == levels
    middle = fields.get("body") != "hand" and "fastmetro" in flags
    assert recipe.surface_level == (-2 if middle else -1)


def test_clipping_of_a_recipe() -> None:
    for tool, flags, expected in [
        ("fm", [], ("adamw", 1e-4, "value", 0.3)),
        ("fm", ["--recipe", "fastmetro"], ("adamw", 1e-4, "norm", 0.3)),
        ("m", ["--recipe", "metro"], ("adam", 0.0, "none", 0.0)),
    ]:
        found = optimizer_from(config_of(tool, *flags))
        assert (found.kind, found.weight_decay, found.clip, found.clip_limit) == expected


def test_surface_terms_look_at_the_middle_mesh(synthetic_body_dir: Path) -> None:
    body = load_body("body", synthetic_body_dir)
    faces = surface_faces(recipe_of("fm", "--recipe", "fastmetro", **NO_PRUNING), body, synthetic_body_dir)
    levels = read_level_faces("body", synthetic_body_dir)
    assert torch.equal(faces, levels[1]) and torch.equal(levels[2], body.faces)
    assert [level.max() + 1 for level in levels] == [431, 1723, 6890]
    assert surface_faces(recipe_of("fm"), body, synthetic_body_dir) is body.faces


FASTMETRO_FLAGS = ["--token_reduction", "none", "--recipe", "fastmetro"]

# training -----------------------------------------------------------------------------------------------------------


def test_fastmetro_trains_by_its_own_recipe(synthetic_sets: Path, synthetic_body_dir: Path, tmp_path: Path) -> None:
    assert train("fm", synthetic_sets, synthetic_body_dir, tmp_path, *FASTMETRO_FLAGS) == 0
    step, state = lines(tmp_path)[0], load_training_state(newest(tmp_path))
    weights = BODY | {"normal": 100.0, "edge": 1000.0}
    assert step["loss"] == pytest.approx(sum(weight * step[name] for name, weight in weights.items()), rel=1e-5)
    assert "itp" not in step and state["config"]["model"]["geometry_reduction"] is False
    model = load_model(newest(tmp_path) / "state_dict.bin", synthetic_body_dir, "cpu", arch="test_resnet", heads=4)
    assert reduction_of(model.config) == "none" and model.config.learned_upsampling == 1


def test_the_smpl_regressor_leaves_the_rest_of_the_training_as_it_is(
    synthetic_sets: Path, synthetic_body_dir: Path, tmp_path: Path
) -> None:
    """Bit for bit, also where gradients are clipped by their norm."""
    flags = [*FASTMETRO_FLAGS, "--val_yaml", "none"]
    assert train("fm", synthetic_sets, synthetic_body_dir, tmp_path / "with", *flags, "--smpl_regressor") == 0
    assert train("fm", synthetic_sets, synthetic_body_dir, tmp_path / "without", *flags) == 0
    with_it, without = (load_training_state(newest(tmp_path / name))["model"] for name in ("with", "without"))
    assert {name.split(".")[0] for name in with_it.keys() - without.keys()} == {"smpl_regressor"}
    for name, value in without.items():
        assert torch.equal(with_it[name], value), name


def test_a_reducer_without_a_official_layout_is_trained_and_found_again(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path
) -> None:
    flags = ["--token_reduction", "tome", "--keep_ratio", "0.5", "--val_yaml", "none"]
    assert train("fm", tiny_sets, rule_body_dir, tmp_path / "a", *flags) == 0
    file = newest(tmp_path / "a") / "state_dict.bin"
    model = load_model(file, rule_body_dir, "cpu")
    assert (reduction_of(model.config), model.config.kept_tokens, model.config.heads) == ("tome+gtr", 24, 4)
    more = ["--resume_checkpoint", str(file), "--run_eval_only", "--keep_ratio", "0.5"]
    assert train("fm", tiny_sets, rule_body_dir, tmp_path / "b", *more) == 0
    assert json.loads((tmp_path / "b" / "evaluation.json").read_text())["metrics"]["pa_mpjpe"] > 0


def test_geometry_reduction_by_itself(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    flags = ["--geometry_reduction", "false", "--val_yaml", "none"]
    assert train("fm", tiny_sets, rule_body_dir, tmp_path, *flags) == 0
    model = load_model(newest(tmp_path) / "state_dict.bin", rule_body_dir, "cpu", arch="test_resnet")
    assert reduction_of(model.config) == "itp" and "itp" in lines(tmp_path)[0]


def test_metro_without_reduction_trains_behind_both_masks(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    assert train("m", tiny_sets, rule_body_dir, tmp_path, "--token_reduction", "none", "--recipe", "metro") == 0
    assert "edge" not in lines(tmp_path)[0] and len(lines(tmp_path, "validation")) == 1
    model = load_model(newest(tmp_path) / "state_dict.bin", rule_body_dir, "cpu", arch="test_resnet")
    assert reduction_of(model.config) == "none"


def test_the_smpl_regressor_over_a_trained_tore_network(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    options = {"widths": (32, 32), "hidden": (32, 32), "heads": 4, "size": "S", "keep_ratio": 0.2}
    plain = create_model(arch="test_resnet", body_dir=rule_body_dir, **options)
    save_published(plain, tmp_path / "plain.bin")
    start = ["--resume_checkpoint", str(tmp_path / "plain.bin"), "--smpl_regressor", "--lr", "1e-3"]
    assert train("fm", tiny_sets, rule_body_dir, tmp_path / "out", *start) == 0
    step, measured = lines(tmp_path / "out")[0], lines(tmp_path / "out", "validation")[0]
    weights = BODY | {"smpl_parameters": 1000.0, "itp": step["weight_itp"]}
    assert step["loss"] == pytest.approx(sum(weight * step[name] for name, weight in weights.items()), rel=1e-5)
    assert measured["smpl_mpvpe"] > 0 and measured["smpl_mpvpe"] != measured["mpvpe"]
    file = newest(tmp_path / "out") / "state_dict.bin"
    model = load_model(file, rule_body_dir, "cpu", arch="test_resnet", heads=4)
    assert model.config.smpl_regressor and reduction_of(model.config) == "tore"
    again = ["--resume_checkpoint", str(file), "--run_eval_only"]
    assert train("fm", tiny_sets, rule_body_dir, tmp_path / "again", *again) == 0
    found = json.loads((tmp_path / "again" / "evaluation.json").read_text())["metrics"]
    assert found["smpl_mpvpe"] == pytest.approx(measured["smpl_mpvpe"], rel=1e-5)


def test_the_parametric_mesh_of_true_parameters_is_the_true_mesh(tiny_sets: Path, rule_body_dir: Path) -> None:
    body = load_body("body", rule_body_dir)
    batch = {name: torch.from_numpy(array) for name, array in rules.annotations(3, 2).items()}
    batch |= {"image": torch.zeros(2, 3, 8, 8), "gender": ["", ""]}
    rotations, mesh = body.rotations(batch["pose"]), 2 * body(batch["pose"], batch["betas"])
    coarse = mesh[:, :431]
    said = MeshPrediction(torch.ones(2, 3), mesh[:, :14], coarse, coarse, mesh, None, rotations, batch["betas"])
    data = MeshDataset(tiny_sets / "val/set.yaml", False)
    where = {"body_dir": rule_body_dir, "processes": Processes(), "batch_size": 1, "workers": 0}
    found = Evaluation(data, body, network="fastmetro", **where).measure(lambda images: said, batch)
    assert found.parametric.vertices.max() < 1e-6 < 0.1 < found.vertices.min()
    assert found.fitted is None


def test_the_mesh_fitted_to_a_body_is_that_body(tiny_sets: Path, rule_body_dir: Path) -> None:
    body = load_body("body", rule_body_dir)
    batch = {name: torch.from_numpy(array) for name, array in rules.annotations(3, 2).items()}
    batch |= {"image": torch.zeros(2, 3, 8, 8), "gender": ["", ""]}
    mesh = body(batch["pose"], batch["betas"] * 0)
    said = MeshPrediction(torch.ones(2, 3), mesh[:, :14], mesh[:, :431], mesh[:, :431], mesh, None)
    data = MeshDataset(tiny_sets / "val/set.yaml", False)
    where = {"body_dir": rule_body_dir, "processes": Processes(), "batch_size": 1, "workers": 0, "fit": True}
    found = Evaluation(data, body, network="fastmetro", **where).measure(lambda images: said, batch)
    assert found.fitted.vertices.tolist() == pytest.approx(found.vertices.tolist(), abs=0.002)


@pytest.mark.parametrize("reduction", ["tore", "none"])
def test_metro_is_given_the_masks_of_its_tokens(reduction: str, rule_body_dir: Path) -> None:
    options = {"widths": (16, 8, 8), "layers": 1, "hidden": 8, "regressor_layers": 1, "regressor_hidden": 8}
    model = create_model("metro", arch="test_resnet", body_dir=rule_body_dir, token_reduction=reduction, **options)
    config = config_of("m", "--body_dir", str(rule_body_dir))
    setting = RunSetting(config, Processes(), RunLog(None, echo=print, tensorboard=False))
    step = loss_step(setting, model, load_body("body", rule_body_dir))
    batch = {
        "image": torch.zeros(2, 3, 224, 224),
        "joint_mask": torch.rand(2, 14, 1),
        "vertex_mask": torch.rand(2, 431, 1),
    }
    given = []
    model.register_forward_pre_hook(lambda _, inputs: given.extend(inputs[1:]))
    step.forward(model, batch)
    expected = [batch["joint_mask"], batch["vertex_mask"]] if reduction == "none" else [batch["joint_mask"]]
    assert torch.equal(given[0], torch.cat(expected, 1))


BAD_INPUT = [
    ("fm", ["--token_reduction", "none", "--itp_loss_weight", "1"], "keeps them all; give 0"),
    ("fm", ["--smpl_regressor", "--smpl_param_loss_weight", "0"], "would never train the SMPL parameter regressor"),
    ("fm", ["--recipe", "fastmetro"], "mesh_downsampling.npz"),  # rule-made levels have no faces
]


@pytest.mark.parametrize(("tool", "more", "words"), BAD_INPUT, ids=lambda value: "")
def test_what_cannot_be_trained_is_said(
    tool: str, more: list[str], words: str, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd
) -> None:
    assert train(tool, tiny_sets, rule_body_dir, tmp_path, *more) == 2
    said = capfd.readouterr().err
    assert words in said and "Traceback" not in said


def test_another_files_reduction_is_said(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd) -> None:
    options = {"widths": (32, 32), "hidden": (32, 32), "heads": 4, "size": "S", "token_reduction": "none"}
    save_published(create_model(arch="test_resnet", body_dir=rule_body_dir, **options), tmp_path / "none.bin")
    start = ["--resume_checkpoint", str(tmp_path / "none.bin"), "--run_eval_only"]
    for more, words in [
        (["--token_reduction", "tore"], "image_reduction none, not itp"),
        (["--geometry_reduction", "true"], "geometry_reduction false, not true"),
        (["--token_reduction", "none", "--smpl_regressor"], "holds no SMPL parameter regressor"),
    ]:
        assert train("fm", tiny_sets, rule_body_dir, tmp_path / "out", *start, *more) == 2
        assert words in capfd.readouterr().err
