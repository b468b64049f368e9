"""The demo's stages in order; a finished stage is not repeated."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tore import __version__, paths
from tore.analysis.cost import measure_cost
from tore.body import load_body
from tore.demo import training as training
from tore.demo.data import held_out_people, held_out_set, image_set, repeated_set
from tore.demo.images import recover_people, recover_photograph
from tore.demo.judging import held_out_evaluation, in_words, judge_baselines, judged
from tore.device import resolve_device
from tore.files import read_json, write_json
from tore.image_format import usual_format
from tore.inference.predictor import MeshRecovery
from tore.modeling import load_model
from tore.modeling.build import describe
from tore.modeling.checkpoints import read_checkpoint
from tore.training.build import Network
from tore.training.config import RunConfig
from tore.training.evaluate import Evaluation
from tore.training.options import flag_text

Work = Callable[[Path], Mapping[str, Any]]  # into this folder; returns plain values
SETTINGS, DONE = "settings.json", "done.json"


@dataclass(frozen=True)
class DemoOptions:
    """What a demo shows, and on how much."""

    body: str  # "body" | "hand"
    checkpoint: Path | None  # None: the one that ships, or a new one
    from_scratch: bool
    minutes: float  # of training
    arch: str | None
    val_images: int  # held out
    train_images: int
    shown: int
    overfit_images: int
    overfit_steps: int
    output_dir: Path
    device: str
    num_workers: int
    seed: int


@dataclass
class Stages:
    """The stages under one folder. `say` shows a line to the person who watches."""

    folder: Path
    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage, when it was done

    def run(self, name: str, settings: Mapping[str, Any], work: Work) -> dict[str, Any]:
        """The result of the stage, as plain values, from now or from an earlier run.

        Raises ValueError where a folder of that name is there that was not made here.
        """
        folder, plain = self.folder / name.replace(" ", "_"), json.loads(json.dumps(settings))
        done = _read(folder / DONE)
        if done is not None and done.get("settings") == plain and {"seconds", "result"} <= done.keys():
            self.say(f"{name}: done before, in {folder}")
            self.seconds[name] = done["seconds"]
            return done["result"]
        self._claim(folder, plain)
        self.say(f"{name} ...")
        start = time.perf_counter()
        result = json.loads(json.dumps(work(folder)))
        self.seconds[name] = time.perf_counter() - start
        write_json(folder / DONE, {"settings": plain, "seconds": self.seconds[name], "result": result})
        self.say(f"{name}: {self.seconds[name]:.0f} s")
        return result

    def _claim(self, folder: Path, settings: dict[str, Any]) -> None:
        begun = _read(folder / SETTINGS)
        if begun == settings:
            return
        if folder.exists():
            if begun is None and any(folder.iterdir()):
                raise ValueError(f"{folder} is there and was not made here; name another --output_dir")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        write_json(folder / SETTINGS, settings)


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file; None where there is none, or a torn one."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return None


SMALL_BACKBONE = "mobilenetv3_small_100"
MOST_LOADERS = 4
OVERFIT_EPOCH = 25  # steps between two looks at the images that are learnt by overfitting


@dataclass(frozen=True)
class Findings:
    """What the report tells, as plain values."""

    options: DemoOptions
    device: str
    shown: str  # the table's row of the network whose images are shown
    table: dict[str, dict[str, Any]]  # baseline or network -> metrics
    photograph: dict[str, Any] | None  # of `recover_photograph`; None for hands, of which no photograph ships
    inference: dict[str, Any]  # of `recover_people`
    training: dict[str, Any]  # name, samples, curves
    overfit: dict[str, Any] | None
    network: dict[str, Any]  # the shown network's configuration
    cost: dict[str, dict[str, int]]  # macs and parameters by part
    seconds: dict[str, float]


class Demo:
    """The stages of one command line; `say` shows a line."""

    def __init__(self, options: DemoOptions, say: Callable[[str], None]) -> None:
        self.options, self.say = options, say
        self.stages = Stages(options.output_dir, say)
        self.device = resolve_device(options.device)
        self.where = training.Where(
            options.body, options.device, min(options.num_workers - 1, MOST_LOADERS), options.seed
        )
        self.known = {"arch": options.arch} if options.arch else {}
        self.checkpoint = self._checkpoint()
        self.config = None if self.checkpoint is None else read_checkpoint(self.checkpoint, **self.known).config

    def _checkpoint(self) -> Path | None:
        """The network to show, None where a new one is trained. FileNotFoundError where it is missing."""
        if self.options.from_scratch:
            return None
        path: Path = self.options.checkpoint or paths.default_checkpoint(self.options.body)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: name another --checkpoint, or add --from_scratch")
        return path

    def run(self) -> Findings:
        """All stages, in the order that the report tells them."""
        options = self.options
        self.say(f"TORE demo: {options.body}, {self.device}, into {options.output_dir}")
        given = options.body, options.val_images, options.seed, options.num_workers
        held_out = held_out_set(*given, options.output_dir)
        training_set = image_set(options.body, "train", options.train_images, options.seed, options.num_workers)
        self.say(
            f"images: {options.train_images} to train on, in {training_set.parent}, {options.val_images} held out, "
            f"in {held_out.parent}"
        )
        body = load_body(options.body, paths.SYNTHETIC)
        new = usual_format(options.arch or SMALL_BACKBONE)
        shown = new if self.config is None else self.config.image_format
        evaluation = held_out_evaluation(body, held_out, self.device, self.where.workers, shown)
        table = self._stage("baselines", lambda _: judge_baselines(evaluation, training_set, self.say))
        weights = self.checkpoint
        name = "the network that ships" if options.checkpoint is None else options.checkpoint.name
        if weights is None:
            facts = self._train(training.Sets(training_set, options.train_images, held_out))
            weights, name = Path(facts["weights"]), f"a new network after {facts['samples']:,} samples"
        table[name] = self._stage("evaluation", lambda _: self._judged(evaluation, weights, name))
        photograph = None
        if options.body == "body":
            photograph = self._stage("photograph", lambda folder: recover_photograph(self._recovery(weights), folder))
        inference = self._stage(
            "inference", lambda folder: self._recovered(weights, held_out, folder), shown=options.shown
        )
        if self.checkpoint is not None:
            facts = self._train(training.Sets(training_set, options.train_images, held_out))
            more = f"the same after {facts['samples']:,} more samples"
            after = Path(facts["weights"])
            table[more] = self._stage(
                "evaluation after training", lambda _: self._judged(evaluation, after, more), minutes=options.minutes
            )
        overfit = self._overfit(training_set) if options.overfit_steps else None
        model = self.load(weights)
        cost = measure_cost(model.cpu())
        return Findings(
            options=options,
            device=str(self.device),
            shown=name,
            table=table,
            photograph=photograph,
            inference=inference,
            training=facts,
            overfit=overfit,
            network=describe(model.config),
            cost={"macs": cost.macs, "parameters": cost.parameters},
            seconds=self.stages.seconds,
        )

    def _stage(self, name: str, work: Callable[[Path], Any], **more: Any) -> dict[str, Any]:
        """One kept stage; what decides its result is `more` and what decides all of them."""
        options = self.options
        weights = None if self.checkpoint is None else hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()
        common = {
            "version": __version__,
            "figure": paths.SYNTHETIC_VERSION,
            "device": str(self.device),
            "weights": weights,
        }
        common |= {key: getattr(options, key) for key in ("body", "seed", "val_images", "train_images", "arch")}
        if self.checkpoint is None:
            common["minutes"] = options.minutes
        return self.stages.run(name, common | more, work)

    def load(self, path: Path) -> Network:
        """A network of this run on its device. ValueError where it is none of the demo's."""
        arch = self.options.arch or (self.config.arch if self.config else SMALL_BACKBONE)
        known = self.known if path == self.checkpoint else {"arch": arch}
        model = load_model(path, paths.SYNTHETIC, self.device, **known)
        body = self.options.body
        if (model.config.network, model.config.body) != (training.NETWORK, body):
            raise ValueError(
                f"{path} holds a {model.config.network} of a {model.config.body}, and the demo of a {body} "
                f"shows a {training.NETWORK} of a {body}; name another --checkpoint or --body"
            )
        return model

    def _judged(self, evaluation: Evaluation, weights: Path, name: str) -> dict[str, Any]:
        metrics = judged(evaluation, self.load(weights))
        self.say(f"  {name}: {in_words(metrics)}")
        return metrics

    def _recovery(self, weights: Path) -> MeshRecovery:
        return MeshRecovery(self.load(weights), load_body(self.options.body, paths.SYNTHETIC), checkpoint=weights.name)

    def _recovered(self, weights: Path, held_out: Path, folder: Path) -> dict[str, Any]:
        people = held_out_people(held_out, self.options.shown, folder / "pictures")
        return recover_people(self._recovery(weights), people, folder)

    def _train(self, sets: training.Sets) -> dict[str, Any]:
        """Trains on from the checkpoint, or a new network, for the minutes given."""
        if self.config is None or self.checkpoint is None:
            config = training.from_scratch(self.options.arch or SMALL_BACKBONE, self.options.body)
        else:
            config = training.going_on(self.checkpoint, self.config)

        def work(folder: Path) -> dict[str, Any]:
            plan = training.plan_for(self.options.minutes, sets, config, self.where, folder)
            self.say(f"  {plan.epochs} times {plan.steps} steps of {plan.batch} images")
            training.train_by(plan, sets, config, self.where, folder / "run")
            return facts_of(plan, folder / "run")

        return self._stage("training", work, minutes=self.options.minutes, flags=given_of(config))

    def _overfit(self, training_set: Path) -> dict[str, Any]:
        """Learns a few images by overfitting, from scratch and without augmentation."""
        count, steps = self.options.overfit_images, self.options.overfit_steps
        plan = training.Plan(max(1, steps // OVERFIT_EPOCH), min(steps, OVERFIT_EPOCH), batch=count)
        small = training.from_scratch(self.options.arch or SMALL_BACKBONE, self.options.body)
        config = small.changed(no_augmentation=True)

        def work(folder: Path) -> dict[str, Any]:
            few = repeated_set(training_set, range(count), folder / "few.yaml")
            training.train_by(plan, training.Sets(training_set, count, few), config, self.where, folder / "run")
            return facts_of(plan, folder / "run")

        return self._stage("overfitting", work, steps=steps, few=count, flags=given_of(config))


def given_of(config: RunConfig) -> list[str]:
    """What a configuration was given, as flags: what decides a training's result."""
    values = config.values()
    return [flag_text(name, values[name]) for name in sorted(config.given)]


def facts_of(plan: training.Plan, folder: Path) -> dict[str, Any]:
    """What a training run leaves: its length, curves and weights."""
    curves = training.curves_of(folder)
    samples = plan.epochs * plan.steps * plan.batch
    return {**asdict(plan), "samples": samples, "curves": curves, "weights": str(training.newest_weights(folder))}
