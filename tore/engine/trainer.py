"""The train loop: steps, log lines, validation, checkpoints, graceful shutdown, and resuming.

What is trained, on what and how it is judged comes in as objects and functions; nothing here knows a body.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from tore.engine.distributed import Processes, buffer_sharing_option
from tore.engine.faults import BufferKeeper, NonFiniteLossError, StopRequest, describe_non_finite, name_non_finite
from tore.engine.logging import Monitoring, Window
from tore.engine.optimization import Optimization, clip_gradients, gradient_norm, set_learning_rate
from tore.engine.state import (
    Checkpointing,
    MovingAverage,
    Progress,
    capture_random_state,
    restore_progress,
)
from tore.engine.step import Batch, StepResult, to_device
from tore.evaluation.evaluator import CHOOSING, EvaluationResult, choosing_metric

BAR_STEPS = 20  # steps between updates of the progress bar's losses
STATE_FORMAT = 1


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """torch's CPU generator is afterwards where it was before, whatever was drawn inside."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


class TrainingBatches(Protocol):
    """This process's share of the training set."""

    per_epoch: int  # iterations
    global_batch: int  # samples of one iteration over all processes

    def epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        """The micro-batches of an epoch from iteration `start` on; they depend on nothing but these two."""
        ...


class TrainingStep(Protocol):
    """From a batch to its loss; `tore.engine.step.LossStep` is the official one."""

    @property
    def amp(self) -> torch.dtype | None:
        """The dtype of autocast, None for none."""
        ...

    def __call__(self, model: nn.Module, batch: Batch, progress: float) -> StepResult:
        """`progress`: epochs done, iteration / iterations per epoch."""
        ...


class Trainer:
    """Trains a network to the last epoch; `run` returns None when done or the signal that stopped it."""

    def __init__(
        self,
        *,
        network: nn.Module,
        step: TrainingStep,
        batches: TrainingBatches,
        processes: Processes,
        optimization: Optimization,
        monitoring: Monitoring,
        checkpointing: Checkpointing,
        seed: int = 0,
    ) -> None:
        """`seed`: what a run that resumes on other processes draws from, see `restore_progress`."""
        self.network = network
        self.step = step
        self.batches = batches
        self.processes = processes
        self.optimization = optimization
        self.monitoring = monitoring
        self.checkpointing = checkpointing
        self.seed = seed
        self.optimizer, self.average = optimization.optimizer, optimization.average
        self.log = monitoring.log
        self.checkpoints = checkpointing.folder
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=step.amp is torch.float16)
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        parts = [{*part.parameters()} for part in optimization.apart]
        rest = [p for p in self.parameters if not any(p in part for part in parts)]
        sides = [rest, *([p for p in self.parameters if p in part] for part in parts)]
        self.clipped_together = [side for side in sides if side]
        self.buffers = BufferKeeper(network) if optimization.on_nan == "skip" else None
        self.progress = Progress()
        self.window = Window()
        self.model = self._shared_model()

    @property
    def epochs(self) -> int:
        """How many epochs the run has."""
        return self.optimization.epochs

    def _shared_model(self) -> nn.Module:
        """The network, wrapped where gradients are averaged over processes."""
        if self.processes.size == 1:
            return self.network
        ids = [self.processes.device] if self.processes.device.type == "cuda" else None
        # Running statistics are the main process's and shared when they are read, in validation.
        sharing: dict[str, Any] = {buffer_sharing_option(): False}
        return DistributedDataParallel(self.network, device_ids=ids, gradient_as_bucket_view=True, **sharing)

    def _train_mode(self) -> None:
        self.model.train()
        if self.optimization.freeze_batch_norm:
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    @property
    def finished(self) -> bool:
        """Whether every epoch is done."""
        return self.progress.epoch >= self.epochs

    # ---- the loop

    def run(self) -> str | None:
        """Trains to the end, or until a signal asks to stop: then saves and returns its name."""
        self.log.start(self.progress.iteration)
        with StopRequest() as stop, self._progress_bar() as bar:
            while not self.finished:
                if self._train_epoch(stop, bar) or self._end_epoch(stop):
                    self.save()
                    self.log.close()
                    return stop.name or "a signal to another process"
        self.log.close()
        return None

    def _progress_bar(self) -> tqdm:
        hidden = None if self.processes.is_main else True
        total = self.epochs * self.batches.per_epoch
        return tqdm(total=total, initial=self.progress.iteration, desc="train", disable=hidden, dynamic_ncols=True)

    def _train_epoch(self, stop: StopRequest, bar: tqdm) -> bool:
        """The rest of the present epoch; True when it was left early because of a signal."""
        self._train_mode()
        with untouched_random_state():
            micro_batches = iter(self.batches.epoch(self.progress.epoch, self.progress.done))
        clock = time.perf_counter()
        since_line = 0
        while self.progress.done < self.batches.per_epoch:
            with untouched_random_state():
                group = [
                    to_device(next(micro_batches), self.processes.device, self.optimization.channels_last)
                    for _ in range(self.optimization.accumulate)
                ]
            stopped, result = self._iterate(group, stop)
            since_line += 1
            iteration = self.progress.iteration
            bar.update()
            if not bar.disable and iteration % BAR_STEPS == 0 and self.window.count:
                means = self.window.means().tolist()
                bar.set_postfix({n: f"{v:.4g}" for n, v in zip(self.window.names, means, strict=True)})
            last = self.progress.done == self.batches.per_epoch
            if iteration % self.monitoring.logging_steps == 0 or (last and self.progress.epoch + 1 == self.epochs):
                self._log_line(result, (time.perf_counter() - clock) / since_line)
                clock, since_line = time.perf_counter(), 0
            if self.monitoring.visual_steps and iteration % self.monitoring.visual_steps == 0:
                self._draw(group[-1], result)
            if stopped:
                return True
            if self.checkpointing.save_steps and iteration % self.checkpointing.save_steps == 0 and not last:
                self.save()
        return False

    def _iterate(self, group: Sequence[Batch], stop: StopRequest) -> tuple[bool, StepResult]:
        """One optimizer step over the micro-batches; whether any process was asked to stop, and the last result."""
        progress = self.progress
        progress.iteration += 1
        progress.done += 1
        schedule, per_epoch = self.optimization.schedule, self.batches.per_epoch
        rate = schedule.rate(self.optimization.lr, progress.iteration, per_epoch, self.epochs)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        if self.buffers is not None:
            self.buffers.keep()
        measured: dict[str, Tensor] = {}
        for place, batch in enumerate(group):
            with self._no_sync(place + 1 < len(group)):
                result = self.step(self.model, batch, progress.iteration / self.batches.per_epoch)
                self.scaler.scale(result.total / len(group)).backward()
            for name, value in {"loss": result.total, **result.terms}.items():
                share = value.detach() / len(group)
                measured[name] = measured[name] + share if name in measured else share
        self.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self.parameters)
        checked = measured if self.scaler.is_enabled() else {**measured, "gradient_norm": norm}
        bad, stopped = self._agree(checked, stop)
        if bad:
            self._meet_non_finite(checked, group)
        else:
            for parameters in self.clipped_together:
                clip_gradients(parameters, self.optimization.recipe)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.window.add({**measured, "gradient_norm": norm})
            if self.average is not None:
                self.average.update(self.network)
        return stopped, result

    def _no_sync(self, wanted: bool) -> AbstractContextManager[None]:
        """Gradients of all but the last micro-batch stay in their process."""
        if wanted and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def _agree(self, values: Mapping[str, Tensor], stop: StopRequest) -> tuple[bool, bool]:
        """Whether any process saw a value that is not finite, and whether any was asked to stop.

        The step's one synchronization: it comes when all of the backward pass is queued.
        """
        stacked = torch.stack([value.detach().double() for value in values.values()])
        flags = torch.stack([~torch.isfinite(stacked).all(), torch.tensor(stop.name is not None).to(stacked.device)])
        bad, stopped = self.processes.maximum(flags.double()).tolist()
        return bool(bad), bool(stopped)

    def _meet_non_finite(self, values: Mapping[str, Tensor], group: Sequence[Batch]) -> None:
        """Leaves the step out, or stops; either way names the terms and the samples."""
        keys = [str(key) for batch in group for key in batch["key"]]
        found = self.processes.gather((name_non_finite(values), keys))
        message = describe_non_finite(self.progress.iteration, found)
        if self.buffers is None:
            self.log.line(message)
            self.log.close()
            raise NonFiniteLossError(message)
        self.log.line(f"{message}; this step is left out")
        self.buffers.put_back()
        self.progress.skipped += 1

    # ---- what is written

    def _log_line(self, result: StepResult, seconds_per_step: float) -> None:
        if not self.window.count:
            return
        means = self.processes.mean(self.window.means()).tolist()
        values = dict(zip(self.window.names, means, strict=True))
        progress = self.progress
        left = (self.epochs * self.batches.per_epoch - progress.iteration) * seconds_per_step
        values["lr"] = self.optimizer.param_groups[0]["lr"]
        values |= {f"weight_{name}": weight for name, weight in result.weights.items() if name == "itp"}
        speed = {"images_per_second": self.batches.global_batch / seconds_per_step}
        if self.processes.device.type == "cuda":
            speed["peak_memory_mb"] = torch.cuda.max_memory_allocated(self.processes.device) / 2**20
        self.log.metrics("train", progress.iteration, {**values, **speed}, epoch=progress.epoch)
        terms = "  ".join(f"{name} {value:.5g}" for name, value in values.items())
        hours, minutes = divmod(int(left / 60), 60)
        place = f"epoch {progress.epoch + 1}/{self.epochs} step {progress.done}/{self.batches.per_epoch}"
        self.log.line(f"{place}  {terms}  {speed['images_per_second']:.1f} images/s  ETA {hours}:{minutes:02d}")
        self.window = Window()

    def _draw(self, batch: Batch, result: StepResult) -> None:
        """Hands the last micro-batch to the drawing function; the main process's samples stand for all."""
        draw, iteration = self.monitoring.draw, self.progress.iteration
        if self.processes.is_main and draw is not None:
            with untouched_random_state(), torch.no_grad():
                self.log.image("training", iteration, draw(iteration, batch, result))

    def _end_epoch(self, stop: StopRequest) -> bool:
        """Validation, the best score, a checkpoint; True when a signal cut the validation short."""
        outcome = None
        if self.monitoring.validate is not None:
            with self._judged_weights():
                outcome = self.monitoring.validate(lambda: stop.name is not None)
            if outcome is None:
                return True
        self.progress.epoch += 1
        self.progress.done = 0
        if outcome is not None:
            self._note_score(outcome)
        self.save()
        return False

    def _judged_weights(self) -> AbstractContextManager[None]:
        """Validation and `state_dict.bin` use the moving average where there is one."""
        return self.average.applied(self.network) if self.average is not None else nullcontext()

    def _note_score(self, outcome: EvaluationResult) -> None:
        progress = self.progress
        self.log.metrics("validation", progress.iteration, outcome.metrics, epoch=progress.epoch)
        samples = outcome.metric_samples
        shown = "  ".join(f"{name} {value:.2f} over {samples[name]}" for name, value in outcome.metrics.items())
        absent = ", ".join(name for name in samples if name not in outcome.metrics)
        without = f"  without a sample: {absent}" if absent else ""
        self.log.line(f"validation after epoch {progress.epoch}: {shown}{without}")
        finite = {name: value for name, value in outcome.metrics.items() if math.isfinite(value)}
        metric = choosing_metric(finite)
        if metric is None:
            self.log.line("no metric can choose the best checkpoint: no sample of the validation set is comparable")
            return
        if metric != CHOOSING[0]:
            self.log.line(f"the best checkpoint is chosen by {metric}, since {CHOOSING[0]} is absent")
        best = progress.best
        if best is not None and metric not in best:
            self.log.line(f"the best checkpoint so far was not chosen by {metric}: the choice starts anew")
            best = None
        if best is None or finite[metric] < best[metric]:
            name = f"checkpoint-{progress.epoch}-{progress.iteration}"
            progress.best = {"checkpoint": name, metric: finite[metric], "epoch": progress.epoch}

    def save(self) -> None:
        """Writes a checkpoint of this moment; on every process, since each adds its own random state."""
        ranks = self.processes.gather({"random": capture_random_state(), "window": self.window.state_dict()})
        if self.processes.is_main:
            progress = self.progress
            state = {
                "format": STATE_FORMAT,
                **progress.state_dict(),
                "global_batch": self.batches.global_batch,
                "per_epoch": self.batches.per_epoch,
                "model": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "average": self.average.state_dict() if self.average is not None else None,
                "ranks": ranks,
                "config": dict(self.checkpointing.config),
            }
            path = self.checkpoints.save(state, self._publish, epoch=progress.epoch, iteration=progress.iteration)
            best = progress.best
            if best is not None:
                self.checkpoints.mark_best(best)
            self.checkpoints.prune(best["checkpoint"] if best is not None else None)
            self.log.line(f"saved {path}")
        self.processes.barrier()

    def _publish(self, path: Path) -> None:
        with self._judged_weights():
            self.checkpointing.save_weights(path)

    # ---- resuming

    def resume(self, state: Mapping[str, Any]) -> None:
        """Takes up a saved training state; says what another number of processes or batch size changes."""
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where the run computed without one
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            fresh = MovingAverage(self.network, self.average.decay).state_dict()
            self.average.load_state_dict(state["average"] or fresh)
        self.progress, notes = restore_progress(
            state,
            processes=self.processes,
            per_epoch=self.batches.per_epoch,
            global_batch=self.batches.global_batch,
            window=self.window,
            seed=self.seed,
        )
        for note in notes:
            self.log.line(note)
