"""The configuration of a run: what flags and a YAML file become, and the one place where the defaults stand.

`official` gives the official defaults of a network and a body; `RunConfig.changed` makes another one of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tore.engine.optimization import CLIPS, SCHEDULES, Schedule
from tore.engine.step import AMP_TYPES
from tore.files import read_yaml, write_whole
from tore.training.network_options import BODIES, NETWORKS, TORE_RECIPE, FastMETROOptions, METROOptions
from tore.training.options import (
    Options,
    current_names,
    flag_text,
    option,
    refuse_unknown,
)


@dataclass(frozen=True)
class DataOptions(Options):
    """The sets, relative to `data_dir`, and how they are read."""

    data_dir: str = option("datasets")
    train_yaml: str = option("Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml")
    val_yaml: str = option("human3.6m/valid.protocol2.yaml")  # "none": no validation
    body_dir: str | None = option(None)  # None: TORE_BODY_DIR
    num_workers: int = option(4, least=0)
    per_gpu_train_batch_size: int = option(16, least=1)
    per_gpu_eval_batch_size: int = option(16, least=1)
    fast_crop: bool = option(False)
    no_augmentation: bool = option(False)
    shift_augmentation: float = option(0.0, least=0)  # share of the crop's side
    occlusion_augmentation: float = option(0.0, least=0)  # share of the images
    cache_features: str | None = option(None)  # the folder of a frozen backbone's stored features
    cache_augmentations: int = option(4, least=1)  # of each image in it
    on_bad_sample: str = option("raise", choices=("raise", "skip"))

    @property
    def training_set(self) -> Path:
        """The yaml file of the training set."""
        return Path(self.data_dir) / self.train_yaml

    @property
    def validation_set(self) -> Path | None:
        """The yaml file of the set to validate on, or None."""
        return None if self.val_yaml.lower() == "none" else Path(self.data_dir) / self.val_yaml


@dataclass(frozen=True)
class LossOptions(Options):
    """Whose losses and gradient clipping, and weights in place of the recipe's (None)."""

    recipe: str = option(TORE_RECIPE)
    joints_loss_weight: float | None = option(None)
    vertices_loss_weight: float | None = option(None)
    joints_2d_loss_weight: float | None = option(None)  # None: as the vertices'
    vloss_w_full: float | None = option(None)
    vloss_w_sub: float | None = option(None)
    vloss_w_sub2: float | None = option(None)  # of bodies
    smpl_param_loss_weight: float = option(1000.0)  # of the SMPL parameter regressor
    itp_loss_weight: float | None = option(None)  # of FastMETRO
    keypoint_maps_loss_weight: float = option(0.0, least=0)  # of MoveNet's own maps, where it is trained
    edge_and_normal_vector_loss: bool | None = option(None)  # of FastMETRO


@dataclass(frozen=True)
class OptimizationOptions(Options):
    """Steps, rates and how a step is computed."""

    lr: float = option(1e-4, least=0)
    pose_network_lr: float = option(3e-4, least=0)  # of MoveNet's weights where it is trained, in shares of their size
    pose_network_from: int = option(6, least=0)  # the first of its blocks that is trained
    num_train_epochs: int = option(60, least=1)
    accumulate: int = option(1, least=1)
    amp: str = option("none", choices=tuple(AMP_TYPES))
    compile: bool = option(False)
    channels_last: bool = option(False)
    ema: float = option(0.0)
    freeze_batch_norm: bool = option(False)
    schedule: str = option(SCHEDULES[0], choices=SCHEDULES)
    warm_up_share: float = option(0.0)
    gradient_clip: str | None = option(None, choices=CLIPS)  # None: as the recipe
    gradient_clip_limit: float | None = option(None)
    on_nan: str = option("stop", choices=("stop", "skip"))

    def __post_init__(self) -> None:
        """Checks also the average's decay and the schedule."""
        super().__post_init__()
        if not 0 <= self.ema < 1:
            raise ValueError(
                f"--ema {self.ema:g} is no decay; use a number between 0 and 1, such as 0.999, or 0 for none"
            )
        self.rates()

    def rates(self) -> Schedule:
        """The learning rate's schedule. ValueError for a share of rising steps that is none."""
        return Schedule(self.schedule, self.warm_up_share)


@dataclass(frozen=True)
class RunOptions(Options):
    """Where a run writes, what it says, and how it resumes."""

    output_dir: str = option("output/")
    resume: str = option("none")  # "none" | "auto" | a checkpoint's folder
    allow_changes: bool = option(False)
    run_eval_only: bool = option(False)
    oracle: bool = option(False)
    logging_steps: int = option(1000, least=1)
    visual_steps: int = option(1000, least=0)
    save_steps: int = option(0, least=0)
    keep_checkpoints: int = option(3, least=1)
    no_tensorboard: bool = option(False)
    quiet: bool = option(False)
    device: str = option("cuda")
    seed: int = option(88)


SECTIONS: dict[str, type[Options]] = {
    "data": DataOptions,
    "losses": LossOptions,
    "optimization": OptimizationOptions,
    "run": RunOptions,
}


@dataclass(frozen=True)
class RunConfig:
    """All of a run. `given`: the options that a person gave, on the command line or in a file, whatever their value."""

    network: FastMETROOptions | METROOptions = field(default_factory=FastMETROOptions)
    data: DataOptions = DataOptions()
    losses: LossOptions = LossOptions()
    optimization: OptimizationOptions = OptimizationOptions()
    run: RunOptions = RunOptions()
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        """ValueError for options that do not go together."""
        network, losses = self.network, self.losses
        if losses.recipe not in network.recipes:
            raise ValueError(f"--recipe {losses.recipe} cannot be; use one of {', '.join(network.recipes)}")
        if network.network == "metro":
            self._refuse(("itp_loss_weight", "edge_and_normal_vector_loss"), "METRO has no such loss")
        if network.body == "hand":
            self._refuse(("vloss_w_sub2",), "a hand has two mesh levels")
            if network.smpl_regressor:
                raise ValueError("--smpl_regressor: the SMPL parameter regressor reads a body's mesh; leave it out")
        fresh = network.checkpoint is None  # else the file tells the widths, and is compared with the flags
        if isinstance(network, METROOptions) and fresh and "input_feat_dim" in self.given:
            follow = tuple(width // 2 for width in network.hidden_feat_dim[:-1])
            if network.input_feat_dim[1:] != follow:
                raise ValueError(
                    f"{flag_text('input_feat_dim', network.input_feat_dim)} does not go with --hidden_feat_dim: the "
                    f"second and third block take half the width before them, {follow[0]} and {follow[1]}"
                )

    def _refuse(self, names: Iterable[str], why: str) -> None:
        for name in names:
            value = getattr(self.losses, name)
            if value is not None:
                raise ValueError(f"{flag_text(name, value)} cannot take effect: {why}; leave it out")

    @classmethod
    def from_values(cls, network: str, body: str, values: Mapping[str, Any], given: Iterable[str] = ()) -> RunConfig:
        """From option -> value over all sections; what is not there is as `official`. Other names are passed over."""
        own = {"network": NETWORKS[network], **SECTIONS}
        known = {**OFFICIAL[network, body], **values, "body": body}
        parts: dict[str, Any] = {
            section: kind(**{name: known[name] for name in kind.names() if name in known})
            for section, kind in own.items()
        }
        names = {name for kind in own.values() for name in kind.names()}
        return cls(**parts, given=frozenset(given) & names)

    @classmethod
    def from_flags(cls, args: object, network: str, body: str) -> RunConfig:
        """From a command's parsed flags; `typed` of them are the given ones."""
        return cls.from_values(network, body, vars(args), getattr(args, "typed", ()))

    def changed(self, **values: Any) -> RunConfig:
        """A configuration with other values for some options, which count as given."""
        refuse_unknown(values, self.values(), "a run")
        everything = {**self.values(), **values}
        return self.from_values(self.network.network, everything["body"], everything, self.given | values.keys())

    def values(self) -> dict[str, Any]:
        """Option -> plain value, over all sections."""
        return {name: value for section in self._sections().values() for name, value in section.plain().items()}

    def _sections(self) -> dict[str, Options]:
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "given"}

    def gives(self, name: str) -> bool:
        """Whether an option was given, or is another one than the official."""
        if name in self.given:
            return True
        usual = official(self.network.network, self.network.body)
        return self.values()[name] != usual.values()[name]

    def plain(self) -> dict[str, Any]:
        """Sections of plain values and the given options, as `config.yaml` holds them."""
        sections = {name: section.plain() for name, section in self._sections().items()}
        sections["network"] = {"name": self.network.network, **sections["network"]}
        return {**sections, "given": sorted(self.given)}

    def to_yaml(self, path: str | Path) -> None:
        """Writes the configuration, whole or not at all."""
        write_whole(path, yaml.safe_dump(self.plain(), sort_keys=False, allow_unicode=True))

    @classmethod
    def from_yaml(cls, path: str | Path, network: str | None = None, body: str | None = None) -> RunConfig:
        """Reads `plain` values; sections and options may be left out. Every option that is there counts as given,
        but where the file lists the given ones itself.

        network, body: what it must be of, where that is certain. ValueError names the file and what is wrong.
        """
        try:
            return _from_plain(current_names(read_yaml(path) or {}), network, body)
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _from_plain(content: Any, network: str | None, body: str | None) -> RunConfig:
    sections = {key: part for key, part in content.items() if key != "given"} if isinstance(content, dict) else {}
    if not isinstance(content, dict) or not all(isinstance(part, dict) for part in sections.values()):
        raise ValueError("a configuration holds sections of options, such as `data:` with `train_yaml:` below it")
    refuse_unknown(content, ["network", *SECTIONS, "given"], "a configuration")
    own = sections["network"] = dict(sections.get("network", {}))
    name, kind = own.pop("name", network or "fastmetro"), own.get("body", body or "body")
    if name not in NETWORKS or kind not in BODIES:
        raise ValueError(f"there is no network {name} of a {kind}; use {' or '.join(NETWORKS)} of a body or a hand")
    if (network or name, body or kind) != (name, kind):
        raise ValueError(f"it is of {name} of a {kind}, and this command's is {network} of a {body}")
    values: dict[str, Any] = {}
    for section, options in sections.items():
        refuse_unknown(options, (NETWORKS[name] if section == "network" else SECTIONS[section]).names(), section)
        values |= options
    known = official(name, kind).values()
    off = [key for key, value in values.items() if value is None or (value is False and known[key] is False)]
    given = content.get("given", [key for key in values if key not in off])
    if not isinstance(given, list):
        raise ValueError("`given` is a list of options")
    refuse_unknown(given, known, "a run")
    return RunConfig.from_values(name, kind, values, given)


# What differs from the defaults above, which are those of FastMETRO on bodies.
HAND_SETS = {"train_yaml": "freihand/train.yaml", "val_yaml": "freihand/test.yaml"}
OFFICIAL: dict[tuple[str, str], dict[str, Any]] = {
    ("fastmetro", "body"): {},
    ("fastmetro", "hand"): {**HAND_SETS, "num_train_epochs": 200},
    ("metro", "body"): {"num_train_epochs": 200, "per_gpu_train_batch_size": 30, "per_gpu_eval_batch_size": 30},
    ("metro", "hand"): {
        **HAND_SETS,
        "num_train_epochs": 200,
        "per_gpu_train_batch_size": 32,
        "per_gpu_eval_batch_size": 32,
        "hidden_feat_dim": (1024, 256, 64),
    },
}


def official(network: str, body: str) -> RunConfig:
    """The official configuration of "fastmetro" or "metro" on a "body" or a "hand"."""
    return RunConfig.from_values(network, body, {})
