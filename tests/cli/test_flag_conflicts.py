"""Flags that contradict each other or a checkpoint: refused or answered with a line, never taken silently.

The oracle is what a run would do: its network, losses, optimizer and start, read off the objects that it made.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training_runs import QUICK, data_flags
from tore.cli import checkpoint_flags, training_rules
from tore.cli.train import parse
from tore.modeling import create_model
from tore.modeling.checkpoints import save_model, save_published
from tore.tools import run_tore_fm_bodymesh, run_tore_m_bodymesh
from tore.training import build
from tore.training import run as training_run

DRAWS = 120
BATCH = ["--per_gpu_train_batch_size", "2"]
SCRIPTS = {"fm": run_tore_fm_bodymesh, "m": run_tore_m_bodymesh}
# The flags of the checkpoints' networks, as they were made; each makes a fresh network small as well.
SMALL = {
    "fm": "--arch test_resnet --model_dim_1 32 --model_dim_2 16 --feedforward_dim_1 24 --feedforward_dim_2 8 "
    "--transformer_nhead 4 --model_name FastMETRO_S",
    "m": "--arch test_resnet --num_hidden_layers 1 --num_attention_heads 4 --intermediate_size 16 "
    "--input_feat_dim 99,16,8 --hidden_feat_dim 32,16,8",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "fm": {"widths": (32, 16), "hidden": (24, 8), "heads": 4, "size": "S", "keep_ratio": 0.2},
    "m": {"widths": (32, 16, 8), "hidden": 16, "layers": 1, "heads": 4},
}
NETWORKS = {"fm": "fastmetro", "m": "metro"}
VALUES: dict[str, list[str]] = {
    "--arch": ["test_resnet", "resnet50"],
    "--token_reduction": ["tore", "none"],
    "--geometry_reduction": ["true", "false"],
    "--smpl_regressor": [""],
    "--lr": ["1e-4", "0.01"],
    "--num_train_epochs": ["2"],
    "--accumulate": ["2"],
    "--ema": ["0", "0.9", "1.5", "-1"],
    "--schedule": ["cosine"],
    "--warm_up_share": ["0.1"],
    "--gradient_clip": ["none", "norm"],
    "--gradient_clip_limit": ["0.5"],
    "--joints_loss_weight": ["5"],
    "--vertices_loss_weight": ["0", "7"],
    "--vloss_w_full": ["0.5"],
    "--smpl_param_loss_weight": ["3"],
    "--warm_start": ["START"],
    "--warm_start_rooms": ["backbone"],
    "--backbone_weights": ["none", "IMAGENET"],
    "--camera_start": ["0.9,0,0"],
    "--template_start": [""],
    "--resume": ["none", "auto"],
    "--allow_changes": [""],
    "--no_augmentation": [""],
    "--oracle": ["true", "false"],
}
OWN = {
    "fm": {
        "--keep_ratio": ["0.2", "0.8"],
        "--model_name": ["FastMETRO_S", "FastMETRO-M"],
        "--model_dim_1": ["32", "64"],
        "--feedforward_dim_2": ["8", "12"],
        "--transformer_nhead": ["4", "2"],
        "--transformer_dropout": ["0.3"],
        "--conv_1x1_dim": ["96", "2048"],
        "--itp_loss_weight": ["0.01"],
    },
    "m": {
        "--num_hidden_layers": ["1", "2"],
        "--num_attention_heads": ["4", "2"],
        "--intermediate_size": ["16", "32"],
        "--drop_out": ["0.3"],
    },
}


class Run:
    """What a run of a script was made of; nothing is trained."""

    def __init__(self) -> None:
        self.trainer: dict[str, Any] = {}
        self.judged: dict[str, Any] = {}
        self.model: Any = None
        self.start: dict[str, Any] = {}
        self.augmented: bool | None = None
        self.args: Any = None

    def trained(self, **parts: Any) -> Any:
        """In place of the trainer."""
        self.trainer, self.model = {**parts, **vars(parts["optimization"])}, parts["network"]
        return SimpleNamespace(finished=True, epochs=parts["optimization"].epochs)

    def reported(self, model: Any, yaml: Path, **parts: Any) -> None:
        """In place of the evaluation."""
        self.model, self.judged = model, parts

    def started(self, name: str, *values: Any) -> None:
        """In place of the functions that start rooms of a network."""
        self.start[name] = values[1:]


def level(run: Run, name: str) -> Any:
    return getattr(run.trainer["step"].recipe, name) if run.trainer else None


def clip_limit(run: Run) -> Any:
    recipe = run.trainer["recipe"] if run.trainer else None
    return recipe.clip_limit if recipe is not None and recipe.clip != "none" else None


def oracle_of(run: Run) -> bool:
    if run.judged:
        return run.judged["oracle"]
    return run.start.get("oracle", (None,))[0]


# Flag -> whether what it says is so in a run.
IN_EFFECT: dict[str, Callable[[Run, str], bool]] = {
    "--arch": lambda run, v: run.model.config.arch == v,
    "--token_reduction": lambda run, v: (
        getattr(run.model.config, "image_reduction", None) == {"tore": "itp", "none": "none"}[v]
        if hasattr(run.model.config, "image_reduction")
        else run.model.config.geometry_reduction == (v == "tore")
    ),
    "--geometry_reduction": lambda run, v: (run.model.shape_regressor is not None) == (v == "true"),
    "--smpl_regressor": lambda run, v: run.model.smpl_regressor is not None,
    "--keep_ratio": lambda run, v: run.model.config.kept_tokens == int(49 * float(v)),
    "--model_name": lambda run, v: len(run.model.transformer_1.encoder) == " SML".index(v[-1]),
    "--model_dim_1": lambda run, v: run.model.image_projection.out_channels == int(v),
    "--feedforward_dim_2": lambda run, v: (
        run.model.transformer_2.encoder[0].feed_forward.linear1.out_features == int(v)
    ),
    "--transformer_nhead": lambda run, v: run.model.config.heads == int(v),
    "--transformer_dropout": lambda run, v: bool(run.trainer) and run.model.config.dropout == float(v),
    "--conv_1x1_dim": lambda run, v: run.model.backbone.channels == int(v),
    "--num_hidden_layers": lambda run, v: len(run.model.blocks[0].layers) == int(v),
    "--num_attention_heads": lambda run, v: run.model.config.heads == int(v),
    "--intermediate_size": lambda run, v: run.model.config.hidden == int(v),
    "--drop_out": lambda run, v: bool(run.trainer) and run.model.config.dropout == float(v),
    "--lr": lambda run, v: run.trainer.get("lr") == float(v),
    "--num_train_epochs": lambda run, v: run.trainer.get("epochs") == int(v),
    "--accumulate": lambda run, v: run.trainer.get("accumulate") == int(v),
    "--ema": lambda run, v: (
        bool(run.trainer) and (run.trainer["average"].decay if run.trainer["average"] else 0.0) == float(v)
    ),
    "--schedule": lambda run, v: bool(run.trainer) and run.trainer["schedule"].kind == v,
    "--warm_up_share": lambda run, v: bool(run.trainer) and run.trainer["schedule"].warm_up == float(v),
    "--gradient_clip": lambda run, v: bool(run.trainer) and run.trainer["recipe"].clip == v,
    "--gradient_clip_limit": lambda run, v: clip_limit(run) == float(v),
    "--joints_loss_weight": lambda run, v: level(run, "joints_3d") == float(v),
    "--vertices_loss_weight": lambda run, v: level(run, "vertices") == float(v),
    "--vloss_w_full": lambda run, v: (
        bool(level(run, "vertices")) and run.trainer["step"].recipe.level_weights[-1] == float(v)
    ),
    "--smpl_param_loss_weight": lambda run, v: level(run, "smpl_parameters") == float(v),
    "--itp_loss_weight": lambda run, v: level(run, "itp") == float(v),
    "--warm_start": lambda run, v: str(run.start.get("rooms", [""])[0]) == v,
    "--warm_start_rooms": lambda run, v: run.start.get("rooms", ("", []))[1] == v.split(),
    "--backbone_weights": lambda run, v: (
        v == "none"
        if "imagenet" not in run.start
        else (str(run.start["imagenet"][0]) == v and "backbone" not in run.start.get("rooms", ("", []))[1])
    ),
    "--camera_start": lambda run, v: "camera" in run.start,
    "--template_start": lambda run, v: "template" in run.start,
    "--resume": lambda run, v: v == "none" or bool(run.trainer),
    "--allow_changes": lambda run, v: bool(run.trainer) and run.args.resume != "none",
    "--no_augmentation": lambda run, v: run.augmented is False,
    "--oracle": lambda run, v: oracle_of(run) == (v == "true"),
}


@pytest.fixture(scope="module")
def files(rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of tiny networks: of the official layout and of our own, and an ImageNet file in name."""
    folder = tmp_path_factory.mktemp("files")
    found = {"IMAGENET": folder / "imagenet.pth", "START": folder / "start.bin"}
    for path in found.values():
        path.write_bytes(b"never read")
    for tool, network in NETWORKS.items():
        for reduction in ("tore", "none"):
            options = OPTIONS[tool] | {"token_reduction": reduction}
            model = create_model(network, arch="test_resnet", body_dir=rule_body_dir, **options)
            for save in (save_model, save_published):
                found[f"{tool} {reduction} {save.__name__}"] = folder / f"{tool}-{reduction}-{save.__name__}.bin"
                save(model, found[f"{tool} {reduction} {save.__name__}"])
    return found


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Run]:
    """A function that gives a new `Run` and has it take the place of training and evaluation."""
    for module, name in ((build, "load_body"), (build, "set_identity")):
        monkeypatch.setattr(module, name, lru_cache(getattr(module, name)) if name == "load_body" else lambda rows: {})
    created, dataset = build.create_model, build.MeshDataset

    def spy() -> Run:
        run = Run()
        monkeypatch.setattr(build, "Trainer", run.trained)
        monkeypatch.setattr(training_run, "report", run.reported)

        def create(*names: Any, backbone_weights: Any, **options: Any) -> Any:
            if backbone_weights is not None:
                run.start["imagenet"] = (backbone_weights,)
            return created(*names, **options)

        def read(yaml: Path, train: bool, *more: Any, **options: Any) -> Any:
            run.augmented = train if options.pop("seed", None) is not None or run.augmented is None else run.augmented
            return dataset(yaml, train, *more, **options)

        def validating(*parts: Any, oracle: bool, **options: Any) -> Any:
            run.start["oracle"] = (oracle,)
            return SimpleNamespace(validate=lambda *_: None)

        monkeypatch.setattr(build, "create_model", create)
        monkeypatch.setattr(build, "MeshDataset", read)
        monkeypatch.setattr(build, "Evaluation", validating)
        starts = {"load_parts": "rooms", "start_from_template": "template", "start_camera": "camera"}
        for function, name in starts.items():
            monkeypatch.setattr(build, function, partial(run.started, name))
        monkeypatch.setattr(build, "template_points", lambda *names: (None, None))
        return run

    return spy


def draw(r: random.Random, files: dict[str, Path]) -> tuple[str, list[str], dict[str, str]]:
    """A script, the flags that every draw has, and the random ones: flag -> value."""
    tool = r.choice(["fm", "m"])
    pool = VALUES | OWN[tool]
    chosen = {name: r.choice(pool[name]) for name in r.sample(sorted(pool), r.randint(1, 4))}
    chosen = {name: str(files.get(value, value)) for name, value in chosen.items()}
    base = [] if "--backbone_weights" in chosen else ["--backbone_weights", "none"]
    if r.random() < 0.7:
        of_tool = [name for name in files if name.startswith(f"{tool} ")]
        base += ["--resume_checkpoint", str(files[r.choice(sorted(of_tool))])]
        heads = {"fm": "--transformer_nhead", "m": "--num_attention_heads"}[tool]
        base += [] if heads in chosen else [heads, "4"]
        base += [] if "--arch" in chosen else ["--arch", "test_resnet"]
        base += ["--run_eval_only"] if r.random() < 0.4 else []
    else:
        words = SMALL[tool].split()
        pairs = list(zip(words[::2], words[1::2], strict=True))
        base += [word for name, value in pairs if name not in chosen for word in (name, value)]
    return tool, base, chosen


def violations(
    files: dict[str, Path], spied: Callable[[], Run], sets: Path, bodies: Path, tmp: Path, capfd, draws: int = DRAWS
) -> list:
    """The draws in which a typed flag was taken although it is not in effect, and without a word."""
    found = []
    for number in range(draws):
        tool, base, chosen = draw(random.Random(number), files)
        run, script = spied(), SCRIPTS[tool]
        words = [word for name, value in chosen.items() for word in ([name, *value.split()] if value else [name])]
        quick = [word for word in QUICK if word not in ("--backbone_weights", "none")]
        flags = [*data_flags(sets, bodies, tmp / str(number)), *quick, "--num_workers", "0", *BATCH, *base, *words]
        run.args = parse(flags, NETWORKS[tool], "body")
        capfd.readouterr()
        code = script.main(flags)
        said = "".join(capfd.readouterr())
        if code == 0:
            silent = [
                f"{name} {value}"
                for name, value in chosen.items()
                if not IN_EFFECT[name](run, value) and not any(name in line for line in said.splitlines())
            ]
            found += [(number, tool, silent, base)] if silent else []
        elif code != 2 or "Traceback" in said or not any(name.lstrip("-") in said for name in chosen):
            found.append((number, tool, said, base, chosen))
    return found


@pytest.mark.slow
def test_random_flags_take_effect_or_are_answered(
    files: dict[str, Path], spied: Callable, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd
) -> None:
    assert violations(files, spied, tiny_sets, rule_body_dir, tmp_path, capfd) == []


@pytest.mark.slow
def test_the_draws_find_flags_that_nobody_compares(
    files: dict[str, Path], spied: Callable, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd, monkeypatch
) -> None:
    """Without the rules and the comparison many draws run with another meaning: the test above can fail."""
    draws = DRAWS // 4
    monkeypatch.setattr(training_rules, "check_rules", lambda args, rules: [])
    monkeypatch.setattr(checkpoint_flags, "compare", lambda args, facts: ([], []))
    assert len(violations(files, spied, tiny_sets, rule_body_dir, tmp_path, capfd, draws)) > draws // 10
