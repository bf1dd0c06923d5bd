"""Train: from a config to a work directory that holds the result, the pictures and the way back.

* The same command continues a run that was stopped or killed, from its last complete checkpoint.
* A finished run is made longer by a higher `train.steps`: it goes on with the learning rate that a
  run of so many steps has at this step.
* Choices are made on `validation`; `test` is computed once, with the best checkpoint, at the end.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mmjax import tree
from mmjax.config import ConfigError, build
from mmjax.data.pipeline import changes, same_batches
from mmjax.data.prefetch import to_device
from mmjax.evaluation.base import Result
from mmjax.evaluation.measures.bootstrap import Interval
from mmjax.report import table
from mmjax.run import options as run_options
from mmjax.run import runtime, workdir
from mmjax.run.assembly import Run, on_device
from mmjax.run.evaluations import EvaluationRun, build_evaluations, evaluate
from mmjax.run.intervals import intervals
from mmjax.run.runtime import prepare
from mmjax.run.warm_start import begin
from mmjax.run.warm_start import checkpoints as checkpoints_of
from mmjax.training import flops, loop, sharding, weights_and_biases
from mmjax.training.checkpoint import CheckpointError, Checkpoints
from mmjax.training.program import Program
from mmjax.training.state import State
from mmjax.training.step import make_step
from mmjax.training.stop import exit_status
from mmjax.training.writer import Writer, read


@dataclasses.dataclass(frozen=True)
class Options:
    config: str = ""  # config file, with :variant,key=value after it
    workdir: str = ""  # folder of the run; by default runs/<name of the config>
    changes: tuple[str, ...] = ()  # of the config, "train.steps=20": --config.train.steps=20


LONGEST_CHANGE = 300  # letters that are shown of what changed in the data
TOKENIZER = re.compile(r"Tokenizer\([^()]*\)")  # in the description of a pipeline


class Trained(NamedTuple):
    """A run after `train`: where it lies, its numbers and whether it reached its end."""

    workdir: Path
    result: Mapping[str, float]  # result.json; empty if the run was stopped before its end
    finished: bool
    signal: int = 0  # number of the signal that stopped it; 0: none did


def run(options: Options) -> int:
    """Trains the run of a config file; the exit status, 128 + the number of a signal that stopped
    it."""
    config = run_options.read(options.config, options.changes)
    folder = run_options.workdir_of(options.config, options.workdir)
    trained = train(config, folder, started=runtime.started())
    return exit_status(trained.signal)


def train(
    config: Any, folder: str | Path, *, command: str | None = None, started: float | None = None
) -> Trained:
    """Trains, or goes on training, in the work directory `folder`.

    Args:
      config: Options, or the ConfigDict of a config file.
      started: time.monotonic() at the start of the program, for `first_step_seconds`.

    Raises:
      ConfigError: a config that cannot be used, or a work directory of another run, or in use.
    """
    started = time.monotonic() if started is None else started
    options = build(run_options.Options, config)
    folder = Path(folder).expanduser().absolute()
    prepare(options.execution)
    with workdir.locked(folder):
        shorter = workdir.claim(folder, options, command or workdir.command_line())
        if jax.process_index() == 0:  # before anything that takes its time
            steps = options.train.steps
            print(f"{folder}: {steps:,} steps; opening the data, compiling ...", flush=True)
        run = Run(options, folder)
        with jax.set_mesh(run.mesh):
            return _train(run, folder, started, shorter)


def _train(run: Run, folder: Path, started: float, shorter: int) -> Trained:
    options, spec = run.options, run.spec
    validation = build_evaluations(run, options.validation)
    test = build_evaluations(run, options.test)
    _check(options, validation, test)
    checkpoints = checkpoints_of(run, folder)
    step = make_step(spec, options.optimizer.accumulate, run.sources, run.pack)
    program = Program(step, spec, run.shapes, run.mesh).start()
    state, note = _start(run, checkpoints)
    done = int(state.step)
    if done >= options.train.steps and (folder / "result.json").exists():
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        print(f"{folder} is finished; a higher train.steps goes on\n{table.results(result)}")
        return Trained(folder, result, True)
    boards = dict(tensorboard=options.execution.tensorboard, wandb=options.execution.wandb)
    writer = Writer(folder, done if note else -1, **boards)
    if jax.process_index() == 0:
        print(
            f"{tree.count(spec.shapes.params):,} parameters, "
            f"{sum(run.examples):,} training examples, "
            f"{jax.device_count()} device(s); {note or 'from the beginning'}"
        )
        if shorter:
            print(spec.optimizer.made_longer(shorter, options.train.steps, done))

    def validate(state: State, step: int) -> dict[str, float]:
        begun = time.monotonic()
        metrics = evaluate(
            run,
            validation,
            state,
            "validation/",
            lambda name, medium: writer.media(step, name, medium),
        )
        writer.timing(step, {"validation_seconds": time.monotonic() - begun})
        return metrics

    about = {
        "data": run.pipeline.fingerprint,
        "data_description": run.pipeline.description,
        "examples": run.examples,
    }
    batches = _batches(run, done, writer)
    try:
        outcome = loop.fit(
            state,
            program,
            batches,
            options.train,
            checkpoints,
            writer,
            save_every=options.checkpoint.every,
            evaluate=validate if validation else None,
            about=about,
            flops=program.flops,
            peak=flops.stated(),
            started=started,
            folder=folder,
            metric_shown=options.checkpoint.metric,
        )
    finally:
        batches.close()
        writer.close()
    result: dict[str, float] = {}
    if outcome.finished:
        times = {
            "train_seconds": outcome.train_seconds,
            "first_step_seconds": outcome.first_step_seconds,
        }
        result = _finish(run, folder, checkpoints, test, outcome.state, times)
    checkpoints.close()
    if jax.process_index() == 0:
        from mmjax.report import document as report

        path = report.write(folder)
        print(f"report: {path}")
    return Trained(folder, result, outcome.finished, outcome.signal)


def _check(
    options: run_options.Options,
    validation: Mapping[str, EvaluationRun],
    test: Mapping[str, EvaluationRun],
) -> None:
    """Finds before the first step what would stop the run at its first validation, or its end."""
    if options.execution.wandb:
        weights_and_biases.package()
    for room, which in (("validation", validation), ("test", test)):
        for name, evaluator in which.items():
            evaluator.check(f"{room}.{name}")
    metric, names = options.checkpoint.metric, [f"validation/{name}/" for name in validation]
    if metric and not metric.startswith(tuple(names)):
        raise ConfigError(
            f"checkpoint.metric={metric!r} is measured by no validation; its name begins with "
            f"{' or '.join(names) or 'that of a validation, and the config has none'}"
            "; checkpoint.metric='' takes the latest"
        )


def _start(run: Run, checkpoints: Checkpoints) -> tuple[State, str]:
    """The state to go on from, and where it came from ("": freshly made)."""
    spec = run.spec
    if checkpoints.steps():
        latest = checkpoints.latest()
        saved = checkpoints.about(latest)
        same = same_batches(saved.get("data_description", {}), run.pipeline.description)
        if saved.get("data") != run.pipeline.fingerprint and not same:
            raise CheckpointError(_other_data(run, saved, latest))
        state = checkpoints.restore(spec.shapes, spec.shardings, latest)
        return state, f"going on from step {latest}"
    return begin(run), ""


def _other_data(run: Run, saved: Mapping[str, Any], step: int) -> str:
    """What to say where a checkpoint was trained on other data, or in another order."""
    before = saved.get("data_description", {})
    now = run.pipeline.description
    lines = [f"\n  {textwrap.shorten(line, LONGEST_CHANGE)}" for line in changes(before, now)]
    kept = [part.folder / "tokenizer.json" for part in run.parts.values()]
    there = [str(path) for path in kept if path.exists()]
    if there and _without_tokenizers(before) == _without_tokenizers(now):
        return (
            f"{' or '.join(there)} is not the one that step {step} was trained with: texts get "
            "other ids. Put the old file back; one that was trained on the captions is made again "
            "if you remove the file"
        )
    return (
        f"the data is not what step {step} was trained on: it had {saved.get('examples')} "
        f"examples, now there are {run.examples} (or others of the same number). Restore the data, "
        "or start anew in another --workdir with warm_start set to this one" + "".join(lines)
    )


def _without_tokenizers(description: Mapping[str, Any]) -> dict[str, str]:
    """What a pipeline says of itself, whatever its tokenizer makes of the texts: other ids, and
    other lengths in the plan."""
    return {
        name: TOKENIZER.sub("", str(value))
        for name, value in description.items()
        if not name.endswith("plan")
    }


def _batches(run: Run, start: int, writer: Writer) -> Iterator[tuple[Any, Any]]:
    """(batch on the devices, names of its examples); corrupt examples go to corrupt.jsonl."""
    names = _names(run)
    where = sharding.batch_sharding(run.mesh)
    before = _corrupt_before(read(writer.folder / writer.corrupt_file), run)
    with run.batches(run.pipeline, start, run.options.train.steps, before) as batches:
        step = start
        ahead = run.options.execution.ahead
        for batch, (rows, corrupt) in _with_rows(batches, where, ahead, names):
            step += 1
            if corrupt:
                writer.corrupt(step, [_row(one, names) for one in corrupt])
            if step == start + 10 and jax.process_index() == 0:
                for field, share in batches.statistics.truncated.items():
                    if share:
                        print(f"note: {share:.1%} of {field} is longer than max_length and is cut")
            yield batch, rows


def _names(run: Run) -> dict[str, list[str]]:
    """By part, its training sets in the order of the numbers in a batch."""
    return {
        part: [f"{part}/{name}" if part else name for name in one.sources]
        for part, one in run.parts.items()
    }


def _corrupt_before(rows: Sequence[Mapping[str, Any]], run: Run) -> Any:
    """How many corrupt examples earlier attempts have met; by part, where there are several."""
    if "" in run.parts:
        return len(rows)
    return {
        part: sum(row["source"].startswith(f"{part}/") for row in rows) for part in run.parts
    }


def _row(one: Any, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    source = names[one.part][one.source]
    return {"source": source, "index": int(one.index), "where": one.where, "reason": one.reason}


def _with_rows(
    batches: Any, where: Any, ahead: int, names: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Any, Any]]:
    """Device batches with what the host keeps of each: its rows' names and corrupt examples."""
    kept: collections.deque[Any] = collections.deque()

    def remember() -> Iterator[Any]:
        for batch in batches:
            rows: list[str] = []
            for part, sources in names.items():
                arrays = batch.arrays[part] if part else batch.arrays
                for source, index in zip(arrays["source"], arrays["index"], strict=True):
                    rows.append(f"{sources[source]}:{index}")
            kept.append((rows, batch.corrupt))
            yield batch._replace(arrays=on_device(batch.arrays))

    for batch in to_device(remember(), where, ahead):
        yield batch.arrays, kept.popleft()


def _finish(
    run: Run,
    folder: Path,
    checkpoints: Checkpoints,
    test: Mapping[str, EvaluationRun],
    last: State,
    times: Mapping[str, float],
) -> dict:
    """Test numbers of the best checkpoint, their baselines, result.json and the table."""
    spec, options = run.spec, run.options
    best = checkpoints.best() if options.checkpoint.metric else None
    state = last
    if best is not None:
        state = checkpoints.restore(spec.shapes, spec.shardings, best, training=False)
    step = int(state.step)
    pictures = Writer(folder, run.options.train.steps, tensorboard=False)
    bounds: dict[str, tuple[float, float]] = {}
    results: dict[str, Result] = {}
    values = evaluate(
        run,
        test,
        state,
        show=lambda name, medium: pictures.media(step, f"test/{name}", medium),
        examine=results.__setitem__,
    )
    above: dict[str, Interval] = {}
    for name, evaluator in test.items():
        values |= evaluator.baseline()
        bounds |= intervals(name, evaluator.source, results[name])
        above |= evaluator.above_baseline(results[name])
    validation = checkpoints.about(step)["metrics"] if best is not None else {}
    result = {
        **values,
        **validation,
        "best_step": step,
        "steps": options.train.steps,
        "seed": options.seed,
        "parameters": tree.count(spec.shapes.params),
        **_times(folder, times),
    }
    if jax.process_index() == 0:
        workdir.write_json(folder / "intervals.json", bounds)
        if above:
            plain = {metric: interval._asdict() for metric, interval in above.items()}
            workdir.write_json(folder / "above_baseline.json", plain)
            for metric, interval in above.items():
                print(f"above its baseline: {metric} {interval}")
        workdir.write_json(folder / "result.json", result)
        print(table.results(result))
    return result


def _times(folder: Path, times: Mapping[str, float]) -> dict[str, float]:
    """Seconds of training over all attempts: steps times their time, from timing.jsonl."""
    rows = [row for row in read(folder / "timing.jsonl") if "step_seconds" in row]
    seconds, before = 0.0, 0
    for row in rows:
        seconds += (row["step"] - before) * row["step_seconds"]
        before = row["step"]
    return {**times, "train_seconds": seconds or times["train_seconds"]}
