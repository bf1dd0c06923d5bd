"""The training loop: feeds the step, watches it, and stops cleanly.

* The order at step N is fixed: metrics line, evaluation, checkpoint. A run killed anywhere repeats
  from the last complete checkpoint and writes the same lines again.
* Nothing waits for the device but a look at the step before: its metrics are fetched while the next
  one runs.
* A signal that ends the run (training/stop.py) finishes the step, saves, and returns.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.errors import NotFinite
from mmjax.tasks.base import size
from mmjax.training.checkpoint import CheckpointError, Checkpoints
from mmjax.training.program import Program
from mmjax.training.progress import Progress
from mmjax.training.state import State
from mmjax.training.stop import Stop
from mmjax.training.writer import Writer
from mmjax.typing import Natural, Positive

IN_A_ROW = "not_finite_in_a_row"  # what a checkpoint says beside its arrays


@dataclasses.dataclass(frozen=True)
class Config:
    steps: Positive = 1000  # length of the run
    log_every: Positive = 10  # steps between lines of metrics.jsonl
    evaluate_every: Natural = 0  # steps between validations; 0: at the end alone
    stop_after_not_finite: Positive = 3  # skipped steps in a row before the run stops
    profile: tuple[int, ...] = ()  # (first, last) step of a profiler trace, for TensorBoard


@dataclasses.dataclass
class Outcome:
    """How a run ended."""

    state: State
    finished: bool  # all steps done; False: stopped by a signal, saved, to be continued
    signal: int = 0  # number of the signal that stopped it; 0: none did
    train_seconds: float = 0.0  # spent in steps; compilation, validations and saves left out
    first_step_seconds: float = 0.0  # from `started` to the end of the first step
    seconds_waiting_for_saves: float = 0.0


@dataclasses.dataclass
class _Watch:
    """Looks at finished steps: writes metrics, counts non-finite ones."""

    config: Config
    writer: Writer
    checkpoints: Checkpoints
    skipped: int = 0
    recent: dict[str, float] = dataclasses.field(default_factory=dict)

    def look(
        self, step: int, metrics: Mapping[str, Any], examples: Any, progress: Progress
    ) -> None:
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        finite = values.pop("finite") > 0
        self.skipped = 0 if finite else self.skipped + 1
        if step % self.config.log_every == 0 or not finite or step == self.config.steps:
            self.writer.metrics(step, {f"train/{name}": value for name, value in values.items()})
        self.recent = values
        if not finite:
            shown = ", ".join(str(x) for x in np.ravel(examples)[:8])
            progress.say(
                f"step {step} was not finite (loss {values['loss']}, gradient norm "
                f"{values['gradient_norm']}) and changed nothing; its examples (source:row): "
                f"{shown} ..."
            )
        if self.skipped >= self.config.stop_after_not_finite:
            self.checkpoints.wait()
            raise NotFinite(
                f"{self.skipped} steps in a row were not finite, the last one {step} with loss "
                f"{values['loss']}. Its examples (source:row): "
                f"{', '.join(str(x) for x in np.ravel(examples))}. The last good checkpoint is "
                f"step {self.checkpoints.latest()}. Lower the learning rate, or look at the "
                f"examples: --mode=inspect --step={step - 1}"
            )


def fit(
    state: State,
    step_function: Callable[[State, Any], tuple[State, Mapping[str, Any]]],
    batches: Iterator[tuple[Any, Any]],
    config: Config,
    checkpoints: Checkpoints,
    writer: Writer,
    *,
    save_every: int,
    evaluate: Callable[[State, int], Mapping[str, float]] | None = None,
    about: Mapping[str, Any] | None = None,
    flops: float = float("nan"),
    peak: float = float("nan"),
    started: float | None = None,
    folder: Path | str = ".",
    metric_shown: str = "",
) -> Outcome:
    """Trains from `state.step` to `config.steps`.

    Args:
      step_function: compiled, or a Program, which compiles; donates the state.
      batches: (batch on the devices, its example names) from step `state.step` on.
      evaluate: (state, step) -> validation metrics; every `evaluate_every` steps and at the end.
      about: what checkpoints say beside their arrays.
      flops, peak: of one step, and FLOP/s of the machine, for the progress bar.
      started: time.monotonic() when the program began.
      folder: for a profiler trace.
      metric_shown: the validation metric that the progress bar shows.

    Raises:
      NotFinite: too many steps in a row changed nothing.
    """
    start = int(state.step)
    training = _Training(
        state, step_function, batches, config, checkpoints, writer, save_every, evaluate,
        about or {}, flops, peak, metric_shown,
    )  # fmt: skip
    training.remember_skipped_steps(start)
    begun = time.monotonic() if started is None else started
    with Stop() as stop, contextlib.ExitStack() as stack:
        stack.callback(training.progress.close)
        stack.push(training.finish_save)
        for step in range(start + 1, config.steps + 1):
            if config.profile and step == config.profile[0]:
                jax.profiler.start_trace(str(Path(folder) / "profile"))
            training.clock.begin()
            batch, examples = training.next_batch()
            training.compile_for(batch)
            metrics = training.take_step(batch)
            # the device works on this step while the one before is looked at
            training.look()
            training.pending = (step, metrics, examples)
            leaving = stop.reached(step)
            evaluates = training.evaluates_at(step)
            saves = training.saves_at(step)
            if step == start + 1:
                jax.block_until_ready(metrics)
                training.outcome.first_step_seconds = time.monotonic() - begun
            if saves or leaving:
                # what is evaluated or saved must be known to be finite
                training.look()
            training.clock.end()
            if config.profile and step == config.profile[-1]:
                jax.profiler.stop_trace()
            results = None
            if evaluates:
                results = training.validate(step)
                leaving = leaving or bool(stop.number)  # heard during the validation
            if saves or leaving:
                training.save(results)
            if saves:
                training.clock.pause()
            training.report(step, rows=size(batch))
            if leaving:
                training.progress.say(
                    f"{stop.reason}: saved at step {step}; the same command goes on from there"
                )
                break
        outcome = training.outcome
        outcome.state = training.state
        outcome.finished = int(training.state.step) >= config.steps and not stop.number
        outcome.signal = stop.number
        outcome.train_seconds = training.clock.total
        checkpoints.wait()
    return outcome


@dataclasses.dataclass
class _Training:
    """The parts of `fit`, and what they leave each other from step to step."""

    state: State
    step_function: Callable[[State, Any], tuple[State, Mapping[str, Any]]]
    batches: Iterator[tuple[Any, Any]]
    config: Config
    checkpoints: Checkpoints
    writer: Writer
    save_every: int
    evaluate: Callable[[State, int], Mapping[str, float]] | None
    about: Mapping[str, Any]
    flops: float
    peak: float
    metric_shown: str
    pending: tuple[int, Any, Any] | None = None  # (step, metrics, examples) not yet looked at
    score: str = ""  # of the last validation, as it is shown

    def __post_init__(self) -> None:
        start = int(self.state.step)
        self.outcome = Outcome(self.state, finished=start >= self.config.steps)
        self.progress = Progress(self.config.steps, start)
        self.watch = _Watch(self.config, self.writer, self.checkpoints)
        self.clock = _Clock(self.config.log_every)

    def remember_skipped_steps(self, start: int) -> None:
        """Counts on from the checkpoint: a run that is killed does not start to count anew."""
        if start in self.checkpoints.steps():
            self.watch.skipped = self.checkpoints.about(start).get(IN_A_ROW, 0)

    def next_batch(self) -> tuple[Any, Any]:
        """(batch, its example names). Where there is none, the steps so far are saved first."""
        try:
            return next(self.batches)
        except Exception:  # too many corrupt examples, a disk that is gone: lose no step
            if self.pending and jax.process_count() == 1:
                self.look()
                self.save(None)
            raise

    def compile_for(self, batch: Any) -> None:
        """Says what a step waits for, if its program is not compiled; that is no training time."""
        program = self.step_function
        what = program.missing(batch) if isinstance(program, Program) else ""
        if what:
            self.progress.say(f"compiling, {what}")
            since = time.monotonic()
            program.compile(batch)
            self.clock.leave_out(time.monotonic() - since)

    def take_step(self, batch: Any) -> Mapping[str, Any]:
        """The metrics, still on the device."""
        # what the step needs is on the devices already: an array that is not would be a bug, and
        # would make every step wait
        with jax.transfer_guard("disallow"):
            self.state, metrics = self.step_function(self.state, batch)
        return metrics

    def look(self) -> None:
        """Fetches the metrics of the step that was not looked at yet, which waits for its end."""
        if self.pending:
            self.watch.look(*self.pending, self.progress)
        self.pending = None

    def evaluates_at(self, step: int) -> bool:
        every = self.config.evaluate_every
        regular = bool(every) and step % every == 0
        return self.evaluate is not None and (regular or step == self.config.steps)

    def saves_at(self, step: int) -> bool:
        regular = bool(self.save_every) and step % self.save_every == 0
        return self.evaluates_at(step) or regular or step == self.config.steps

    def validate(self, step: int) -> dict[str, float]:
        results = dict(self.evaluate(self.state, step))
        self.writer.metrics(step, results)
        if self.metric_shown in results:
            self.score = f"{results[self.metric_shown]:.3f}"
        return results

    def save(self, metrics: Mapping[str, float] | None) -> None:
        """Starts a checkpoint, with the metrics of a validation at this very step."""
        waited = time.monotonic()
        about = {**self.about, IN_A_ROW: self.watch.skipped}
        self.checkpoints.save(self.state, metrics, about)
        self.outcome.seconds_waiting_for_saves += time.monotonic() - waited

    def finish_save(self, kind: type | None, *_: Any) -> None:
        """Completes the save that is under way, when something else went wrong."""
        # with several processes, the others may be gone, and a save waits for all
        if kind is not None and issubclass(kind, Exception) and jax.process_count() == 1:
            with contextlib.suppress(CheckpointError):
                self.checkpoints.wait()

    def report(self, step: int, rows: int) -> None:
        """The time of a step, into timing.jsonl and onto the progress bar."""
        seconds = self.clock.step_seconds()
        if step % self.config.log_every == 0 or step == self.config.steps:
            times = {
                "step_seconds": seconds,
                "examples_per_second": rows / seconds,
                "flops_per_second": self.flops / seconds,
            }
            self.writer.timing(step, times)
        if not self.watch.recent:
            return  # no step has been looked at yet
        shown = {
            "loss": f"{self.watch.recent['loss']:.4f}",
            "examples/s": f"{rows / seconds:.0f}",
        }
        if np.isfinite(self.flops / self.peak):
            shown["FLOP/s"] = f"{self.flops / seconds / self.peak:.0%}"
        if self.score:
            shown[self.metric_shown] = self.score
        self.progress.update(step, shown, left=seconds * (self.config.steps - step))


class _Clock:
    """Seconds per step: batches and steps, not compilation, validations or saves."""

    def __init__(self, window: int):
        self.total = 0.0
        self.since = time.monotonic()
        self.paused = False
        self.recent: collections.deque[float] = collections.deque(maxlen=max(window, 1))

    def begin(self) -> None:
        if self.paused:  # a validation or save came between
            self.since = time.monotonic()
            self.paused = False

    def end(self) -> None:
        now = time.monotonic()
        self.recent.append(now - self.since)
        self.total += now - self.since
        self.since = now

    def leave_out(self, seconds: float) -> None:
        """Of the step under way, so many seconds were none of training."""
        self.since += seconds

    def pause(self) -> None:
        self.paused = True

    def step_seconds(self) -> float:
        return sum(self.recent) / max(len(self.recent), 1)
