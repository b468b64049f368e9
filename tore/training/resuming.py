"""What has changed when a run resumes: its set, its flags; and what that does to the rest of the run.

Nothing that changes results changes silently: it is refused, or with --allow_changes said in the log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tore.body.identity import BodyIdentity
from tore.engine.optimization import Schedule
from tore.engine.state import is_of_another_size, position_under, steps_per_epoch
from tore.modeling.build import configure, describe
from tore.modeling.recorded_body import RECORD, without_mark
from tore.training.options import current_names, current_value, value_text


class Config(Protocol):
    """A configuration as it is compared: `tore.training.config.RunConfig`, or that of a pre-training."""

    def values(self) -> dict[str, Any]:
        """Option -> plain value."""
        ...

    def plain(self) -> dict[str, Any]:
        """The same by sections, as it is kept."""
        ...

    def gives(self, name: str) -> bool:
        """Whether a person gave the option."""
        ...


# Options that change no result of a run that resumes.
FREE = {
    "data_dir", "num_workers", "body_dir", "output_dir", "resume", "allow_changes", "on_bad_sample", "compile",
    "per_gpu_eval_batch_size", "channels_last", "run_eval_only", "logging_steps", "visual_steps", "save_steps",
    "keep_checkpoints", "on_nan", "no_tensorboard", "quiet", "device", "local_rank", "multiscale_inference", "sc",
    "rot", "pred_zip", "annotations", "conv_1x1_dim",
}  # fmt: skip
# How a new network is initialized: a resumed run has one already, and a typed flag must agree with it.
START = {
    "backbone_weights", "checkpoint", "pretrained", "pretrained_parts", "template_initialization",
    "camera_initialization",
}  # fmt: skip
# What the network's configuration, which is compared by itself, follows from.
NETWORK = {
    "body", "arch", "model_name", "token_reduction", "geometry_reduction", "keep_ratio", "model_dim_1", "model_dim_2",
    "feedforward_dim_1", "feedforward_dim_2", "transformer_nhead", "num_hidden_layers", "num_attention_heads",
    "intermediate_size", "input_feat_dim", "hidden_feat_dim", "smpl_regressor", "image_size", "image_mean", "image_std",
    "freeze_backbone", "keypoint_queries",
}  # fmt: skip
SETS = ("train_yaml", "val_yaml")
TRAINS_OTHERWISE = "the rest of the run trains in another way than its beginning"
EFFECTS = {
    "seed": "order and augmentation of the samples are others from here on",
    "amp": "the rest of the run computes in another dtype",
    "ema": "the average of the weights follows them in another way; a new one starts from those of now",
    "oracle": "scores before and after cannot be compared, and the best checkpoint is chosen anew",
    "recipe": "losses before and after cannot be compared, and gradients are clipped in another way",
}
JUDGED = ("val_yaml", "oracle")


@dataclass(frozen=True)
class Pace:
    """What the learning rate follows from."""

    lr: float
    schedule: Schedule
    epochs: int
    per_epoch: int
    global_batch: int

    def next_rate(self, state: Mapping[str, Any]) -> float | None:
        """The rate of the step behind a saved state; None where the run has ended."""
        iteration = position_under(state, self.per_epoch, self.global_batch)[1] + 1
        over = iteration > self.per_epoch * self.epochs
        return None if over else self.schedule.rate(self.lr, iteration, self.per_epoch, self.epochs)


@dataclass(frozen=True)
class Changes:
    """A line for each changed value, and what else there is to say. `judged`: the best score is of another judging."""

    lines: list[str]
    notes: list[str]
    judged: bool = False


def recorded(state: Mapping[str, Any]) -> dict[str, Any]:
    """Option -> value of the run that wrote a training state; of version 0.1 they are its flags, by their names."""
    config = state["config"]
    if "run" not in config:
        return {name: current_value(name, value) for name, value in current_names(config["flags"]).items()}
    found: dict[str, Any] = {}
    for name, value in current_names(config["run"]).items():
        found |= value if isinstance(value, dict) else {name: value}
    return found


def body_of_state(state: Mapping[str, Any]) -> BodyIdentity | None:
    """The body model that a training state records; of an older one what its network's configuration tells."""
    config = state["config"]
    if RECORD in config:
        return None if config[RECORD] is None else BodyIdentity.from_plain(config[RECORD], "the training state")
    return without_mark(config["model"])[1] if "model" in config else None


def check_same_network(state: dict[str, Any], flags: dict[str, Any]) -> None:
    """ValueError where a training state is of another network than the flags'; dropout alone may change on the way."""
    if "model" not in state["config"]:
        raise ValueError("the checkpoint to resume from is no training script's: it may be a warm-up's; name another")
    saved = describe(configure(**without_mark(state["config"]["model"])[0]))  # with the fields that an older one lacks
    other = [
        f"{name} {saved.get(name)} (flags: {flags[name]})"
        for name in flags
        if name != "dropout" and saved.get(name) != flags[name]
    ]
    if other:
        raise ValueError(f"the checkpoint was trained with {', '.join(other)}; give the same flags")


def record_of(
    config: Config, network: Mapping[str, Any], body: BodyIdentity, sets: Mapping[str, Any]
) -> dict[str, Any]:
    """What a training state keeps of its run: options, network, body model, sets."""
    return {"run": config.plain(), "model": dict(network), RECORD: body.described(), "sets": dict(sets)}


def accept_changes(changes: Changes, resumed: Path, *, allowed: bool, say: Callable[[str], None]) -> None:
    """Says the changes. ValueError with all of them where none are allowed."""
    for note in changes.notes:
        say(note)
    if not changes.lines:
        return
    if not allowed:
        listed = "\n".join(f"  {line}" for line in changes.lines)
        raise ValueError(
            f"{resumed} belongs to a run with other settings; give the same ones, or resume knowingly with "
            f"--allow_changes:\n{listed}"
        )
    for line in changes.lines:
        say(f"changed: {line}")


def changes_of(config: Config, state: Mapping[str, Any], pace: Pace, sets: Mapping[str, Any]) -> Changes:
    """What is another one than the run began with. `sets`: flag -> path, samples and digest of today's sets.

    Raises ValueError for a typed flag about the start of a run that started otherwise.
    """
    saved, now = recorded(state), config.values()
    _refuse_another_start(config, now, saved)
    before = _saved_pace(saved, state, pace)
    lines, notes = _changed_sets(saved, now, state, sets, before, pace)
    other = {
        name: (saved[name], value)
        for name, value in now.items()
        if name in saved and name not in FREE | START | NETWORK | {*SETS} and not _same(saved[name], value)
    }
    lines += [
        f"--{name} {_text(old)} -> {_text(new)}: {_effect(name, state, before, pace)}"
        for name, (old, new) in other.items()
    ]
    missing = sorted(
        name for name in now.keys() - saved.keys() - FREE - START - NETWORK if now[name] not in (None, False)
    )
    if "run" not in state["config"]:
        notes.append("the checkpoint is of version 0.1: its flags are compared with this configuration by their names")
    if now.get("keypoint_maps_loss_weight") and not _same(saved.get("checkpoint"), now["checkpoint"]):
        notes.append(
            f"MoveNet's maps stay as {now['checkpoint']} has them; the run began with {saved.get('checkpoint')}"
        )
    if missing:
        notes.append(f"the checkpoint does not record {', '.join(f'--{name}' for name in missing)}: taken as given")
    judged = bool(other.keys() & {*JUDGED}) or any(line.startswith("--val_yaml") for line in lines)
    return Changes(lines, notes, judged)


def _refuse_another_start(config: Config, now: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    kept = {"checkpoint"} if now.get("keypoint_maps_loss_weight") else set()  # read again: what MoveNet's maps were
    for name in (name for name in now if name in START - kept and config.gives(name)):
        if not _same(saved.get(name), now[name]):
            raise ValueError(
                f"--{name} {_text(now[name])}: the run resumes with its own weights and began with it "
                f"{_text(saved.get(name))}; leave the flag out, or begin a new run in another --output_dir"
            )


def _changed_sets(
    saved: Mapping[str, Any],
    now: Mapping[str, Any],
    state: Mapping[str, Any],
    sets: Mapping[str, Any],
    before: Pace,
    pace: Pace,
) -> tuple[list[str], list[str]]:
    """Lines on other sets; notes on sets that lie elsewhere, are not recorded, or judge where none did."""
    lines, notes, recorded = [], [], state["config"].get("sets", {})
    effects = {"train_yaml": _set_effect(state, before, pace), "val_yaml": EFFECTS["oracle"]}
    for flag in (flag for flag in SETS if flag in now):
        old, new, there, here = _place(saved, flag), _place(now, flag), recorded.get(flag), sets.get(flag)
        path = f"--{flag} {old} -> {new}"
        if "none" in (old, new):
            notes += [f"{path}: the weights do not depend on it"] if old != new else []
        elif there and here and there["digest"] == here["digest"]:
            notes += [f"{path}: the same set at another place"] if old != new else []
        elif there and here:
            where = new if old == new else f"{old} -> {new}"
            counts = f"{there['samples']} -> {here['samples']} samples"
            lines.append(f"--{flag} {counts} ({where}): {effects[flag]}")
        elif old != new:
            lines.append(f"{path}: {effects[flag]}")
        elif flag == "train_yaml" and is_of_another_size(state, pace.per_epoch, pace.global_batch):
            lines.append(f"--{flag} {new} has another size: {effects[flag]}")
        else:
            notes.append(f"the checkpoint does not record what --{flag} {new} held: that it is the same is not checked")
    return lines, notes


def _place(saved: Mapping[str, Any], flag: str) -> str:
    value = saved.get(flag)
    return (
        "none" if value is None or str(value).lower() == "none" else str(Path(saved.get("data_dir") or "") / str(value))
    )


def _saved_pace(saved: Mapping[str, Any], state: Mapping[str, Any], pace: Pace) -> Pace:
    """The run's own pace; what it does not record is as today."""
    kind = saved.get("schedule", pace.schedule.kind)
    warm_up = float(saved.get("warm_up_share", pace.schedule.warm_up))
    return Pace(
        lr=float(saved.get("lr", pace.lr)),
        schedule=Schedule(kind, warm_up),
        epochs=int(saved.get("num_train_epochs", pace.epochs)),
        per_epoch=steps_per_epoch(state) or pace.per_epoch,
        global_batch=state["global_batch"],
    )


def _effect(name: str, state: Mapping[str, Any], before: Pace, pace: Pace) -> str:
    """What a changed flag does, taken by itself."""
    if name == "num_train_epochs":
        changed = replace(before, epochs=pace.epochs)
        return f"{_rate_effect(state, before, changed)}; the run ends after epoch {pace.epochs}"
    if name == "lr":
        return _rate_effect(state, before, replace(before, lr=pace.lr))
    if name in ("schedule", "warm_up_share"):
        return _rate_effect(state, before, replace(before, schedule=pace.schedule))
    if name in ("per_gpu_train_batch_size", "accumulate"):
        return (
            f"one step takes {pace.global_batch} samples instead of {before.global_batch}, an epoch has "
            f"{pace.per_epoch} steps instead of {before.per_epoch}, and the learning rate is not scaled"
        )
    return EFFECTS.get(name, TRAINS_OTHERWISE)


def _set_effect(state: Mapping[str, Any], before: Pace, pace: Pace) -> str:
    """What another training set does."""
    changed = replace(before, per_epoch=pace.per_epoch, global_batch=pace.global_batch)
    done, iteration = position_under(state, pace.per_epoch, pace.global_batch)
    if pace.per_epoch == before.per_epoch and done == state["done"]:
        return f"an epoch still has {pace.per_epoch} steps, but other samples; {_rate_effect(state, before, changed)}"
    rate = _rate_effect(state, before, changed)
    return (
        f"an epoch has {pace.per_epoch} steps instead of {before.per_epoch}, the {state['epoch']} whole epochs done "
        f"carry over as iteration {iteration - done} (was {state['iteration']}), and {rate}"
    )


def _rate_effect(state: Mapping[str, Any], before: Pace, after: Pace) -> str:
    """How the learning rate of the next step changes; of a run that has ended, from its last one."""
    usual = before.next_rate(state)
    if usual is None:
        usual = float(state["optimizer"]["param_groups"][0]["lr"])
    changed = after.next_rate(state)
    if changed is None:
        return "the run has then ended"
    if abs(changed - usual) <= 1e-6 * max(changed, usual):
        return f"the rate of the next step stays at {rate_text(usual)}"
    if changed > usual:
        return f"the rate would climb from {rate_text(usual)} back to {rate_text(changed)}"
    return f"the rate would fall from {rate_text(usual)} to {rate_text(changed)}"


def rate_text(rate: float) -> str:
    """A learning rate as it is written: 1e-04."""
    return re.sub(r"\.?0+e", "e", f"{rate:.3e}") if rate else "0"


def _same(old: Any, new: Any) -> bool:
    """Whether a recorded value is today's; the checkpoints of early warm-ups hold texts."""
    old, new = (list(value) if isinstance(value, tuple) else value for value in (old, new))
    return bool(old == new or old == str(new) or str(old) == new)


def _text(value: Any) -> str:
    return "unset" if value is None else value_text(value)
