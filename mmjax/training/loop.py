"""The training loop: feeds the step, watches it, and stops cleanly.

* The order at step N is fixed: metrics line, evaluation, checkpoint. A run killed anywhere repeats
  from the last complete checkpoint and writes the same lines again.
* Nothing waits for the device but a look at the step before: its metrics are fetched while the next
  one runs.
* SIGTERM and Ctrl-C finish the step, save, and return; a second Ctrl-C ends at once. With several
  processes, one that hears it is enough: JAX tells the others, and all stop after the same step.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.errors import UserError
from mmjax.training.checkpoint import CheckpointError, Checkpoints
from mmjax.training.progress import Progress
from mmjax.training.state import State
from mmjax.training.writer import Writer

IN_A_ROW = "not_finite_in_a_row"  # what a checkpoint says beside its arrays
# written, not printed: the signal may have come in the middle of a print
HEARD = b"\nSIGINT: saves after this step and stops; Ctrl-C again stops at once\n"


class NotFinite(UserError, ArithmeticError):
    """The loss or gradient was not finite for several steps in a row."""


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = 1000  # length of the run
    log_every: int = 10  # steps between lines of metrics.jsonl
    evaluate_every: int = 0  # steps between validations; 0: at the end alone
    stop_after_not_finite: int = 3  # skipped steps in a row before the run stops
    profile: tuple[
        int, ...
    ] = ()  # (first, last) step of a profiler trace, for TensorBoard; (): none


@dataclasses.dataclass
class Outcome:
    """How a run ended."""

    state: State
    finished: bool  # all steps done; False: stopped by a signal, saved, to be continued
    train_seconds: float = 0.0  # spent in steps, validations and saves left out
    first_step_seconds: float = 0.0  # from `started` to the end of the first step
    seconds_waiting_for_saves: float = 0.0


class Stop:
    """Remembers a SIGTERM or Ctrl-C until the step is over."""

    def __init__(self) -> None:
        self.reason = ""
        self.interrupted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            heard = {signal.SIGINT: self._passed_on}  # SIGTERM's handler is JAX's, see `reached`
            if jax.process_count() == 1:
                heard = {signal.SIGTERM: self._heard, signal.SIGINT: self._heard}
            for number, handler in heard.items():
                self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: Any) -> None:
        if self.reason and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            os.write(2, HEARD)
        self.reason = self.reason or signal.Signals(number).name

    def _passed_on(self, number: int, frame: Any) -> None:
        """Ctrl-C of one of several processes, as the signal that JAX tells the others of."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        os.write(2, HEARD)
        signal.raise_signal(signal.SIGTERM)

    def reached(self, step: int) -> bool:
        """Whether to stop now; processes of one run agree on the step."""
        if jax.process_count() == 1:
            return bool(self.reason)
        from jax.experimental import multihost_utils

        if multihost_utils.reached_preemption_sync_point(step):
            self.reason = self.reason or "SIGTERM"
            return True
        return False


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
      step_function: compiled; donates the state.
      batches: (batch on the devices, its example names) from step `state.step` on.
      evaluate: (state, step) -> validation metrics; every `evaluate_every` steps and at the end.
      about: what checkpoints say beside their arrays.
      flops, peak: of one step, and FLOP/s of the machine, for the progress bar.
      started: time.monotonic() when the program began.

    Raises:
      NotFinite: too many steps in a row changed nothing.
    """
    start = int(state.step)
    begun = time.monotonic() if started is None else started
    outcome = Outcome(state, finished=start >= config.steps)
    progress = Progress(config.steps, start)
    watch = _Watch(config, writer, checkpoints)
    clock = _Clock(config.log_every)
    pending = None
    score = ""
    if start in checkpoints.steps():
        watch.skipped = checkpoints.about(start).get(IN_A_ROW, 0)

    def save(metrics: Mapping[str, float] | None) -> None:
        checkpoints.save(state, metrics, {**(about or {}), IN_A_ROW: watch.skipped})

    def complete(kind: type | None, *_: Any) -> None:
        """The save that is under way, when something else went wrong."""
        if kind is not None and issubclass(kind, Exception) and jax.process_count() == 1:
            with contextlib.suppress(CheckpointError):
                checkpoints.wait()

    with Stop() as stop, contextlib.ExitStack() as stack:
        stack.callback(progress.close)
        stack.push(complete)
        for step in range(start + 1, config.steps + 1):
            if config.profile and step == config.profile[0]:
                jax.profiler.start_trace(str(Path(folder) / "profile"))
            clock.begin()
            try:
                batch, examples = next(batches)
            except Exception:  # too many corrupt examples, a disk that is gone: lose no step
                if pending and jax.process_count() == 1:
                    watch.look(*pending, progress)
                    save(None)
                raise
            with jax.transfer_guard("disallow"):
                state, metrics = step_function(state, batch)
            batch_rows = jax.tree.leaves(batch)[0].shape[0]
            if pending:
                watch.look(*pending, progress)
            pending = (step, metrics, examples)
            evaluates = evaluate is not None and (
                step == config.steps
                or (config.evaluate_every and step % config.evaluate_every == 0)
            )
            saves = evaluates or step == config.steps or (save_every and step % save_every == 0)
            leaving = stop.reached(step)
            if step == start + 1:
                jax.block_until_ready(metrics)
                outcome.first_step_seconds = time.monotonic() - begun
            if saves or leaving:
                watch.look(*pending, progress)
                pending = None
            clock.end()
            if config.profile and step == config.profile[-1]:
                jax.profiler.stop_trace()
            if evaluates:
                results = dict(evaluate(state, step))
                writer.metrics(step, results)
                if metric_shown in results:
                    score = f"{results[metric_shown]:.3f}"
                leaving = leaving or bool(stop.reason)  # heard during the validation
            if saves or leaving:
                waited = time.monotonic()
                save(results if evaluates else None)
                outcome.seconds_waiting_for_saves += time.monotonic() - waited
            if saves:
                clock.pause()
            if step % config.log_every == 0 or step == config.steps:
                seconds = clock.step_seconds()
                writer.timing(
                    step,
                    {
                        "step_seconds": seconds,
                        "examples_per_second": batch_rows / seconds,
                        "flops_per_second": flops / seconds,
                    },
                )
            if watch.recent:
                seconds = clock.step_seconds()
                shown = {
                    "loss": f"{watch.recent['loss']:.4f}",
                    "examples/s": f"{batch_rows / seconds:.0f}",
                }
                if np.isfinite(flops / peak):
                    shown["FLOP/s"] = f"{flops / seconds / peak:.0%}"
                if score:
                    shown[metric_shown] = score
                progress.update(step, shown, left=seconds * (config.steps - step))
            if leaving:
                progress.say(
                    f"{stop.reason}: saved at step {step}; the same command goes on from there"
                )
                break
        outcome.state = state
        outcome.finished = int(state.step) >= config.steps and not stop.reason
        outcome.train_seconds = clock.total
        checkpoints.wait()
    return outcome


class _Clock:
    """Seconds per step: batches and steps, not validations or saves."""

    def __init__(self, window: int):
        self.total, self.since, self.paused = 0.0, time.monotonic(), False
        self.recent: collections.deque[float] = collections.deque(maxlen=max(window, 1))

    def begin(self) -> None:
        if self.paused:  # a validation or save came between
            self.since, self.paused = time.monotonic(), False

    def end(self) -> None:
        now = time.monotonic()
        self.recent.append(now - self.since)
        self.total += now - self.since
        self.since = now

    def pause(self) -> None:
        self.paused = True

    def step_seconds(self) -> float:
        return sum(self.recent) / max(len(self.recent), 1)
