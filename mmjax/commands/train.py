"""Train: from a config to a work directory that holds the result, the pictures and the way back.

* The same command continues a run that was stopped or killed, from its last complete checkpoint.
* Choices are made on `validation`; `test` is computed once, with the best checkpoint, at the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mmjax import tree
from mmjax.config import ConfigError, build
from mmjax.data.prefetch import to_device
from mmjax.report import table
from mmjax.run import workdir
from mmjax.run.assembly import Run, on_device
from mmjax.run.evaluations import EvaluationRun, build_evaluations, evaluate
from mmjax.run.options import Options
from mmjax.run.runtime import prepare
from mmjax.run.warm_start import begin
from mmjax.run.warm_start import checkpoints as checkpoints_of
from mmjax.training import flops, loop, sharding
from mmjax.training.checkpoint import CheckpointError, Checkpoints
from mmjax.training.program import Program
from mmjax.training.state import State
from mmjax.training.step import make_step
from mmjax.training.writer import Writer, read


class Trained(NamedTuple):
    """What `train` gives back."""

    workdir: Path
    result: Mapping[str, float]  # result.json; empty if the run was stopped before its end
    finished: bool


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
    options = build(Options, config)
    folder = Path(folder).expanduser().absolute()
    prepare(options.execution)
    with workdir.locked(folder):
        workdir.claim(folder, options, command or workdir.command_line())
        run = Run(options, folder)
        with jax.set_mesh(run.mesh):
            return _train(run, folder, started)


def _train(run: Run, folder: Path, started: float) -> Trained:
    options, spec = run.options, run.spec
    validation = build_evaluations(run, options.validation)
    test = build_evaluations(run, options.test)
    _check(options, validation, test)
    checkpoints = checkpoints_of(run, folder)
    step = make_step(spec, options.optimizer.accumulate, tuple(run.sources))
    program = Program(step, spec, run.shapes, run.mesh).start()
    state, note = _start(run, checkpoints)
    done = int(state.step)
    if done >= options.train.steps and (folder / "result.json").exists():
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        print(f"{folder} is finished\n{table.results(result)}")
        return Trained(folder, result, True)
    writer = Writer(folder, done if note else -1, tensorboard=options.execution.tensorboard)
    if jax.process_index() == 0:
        print(
            f"{tree.count(spec.shapes.params):,} parameters, "
            f"{sum(map(len, run.sources.values())):,} training examples, "
            f"{jax.device_count()} device(s); {note or 'from the beginning'}"
        )

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
        "examples": _sizes(run),
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
            peak=flops.peak(),
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
    return Trained(folder, result, outcome.finished)


def _check(
    options: Options, validation: Mapping[str, EvaluationRun], test: Mapping[str, EvaluationRun]
) -> None:
    """Finds before the first step what would stop the run at its first validation, or its end."""
    for room, which in (("validation", validation), ("test", test)):
        for name, evaluator in which.items():
            evaluator.check(f"{room}.{name}")
    metric, names = options.checkpoint.metric, [f"validation/{name}/" for name in validation]
    if metric and not metric.startswith(tuple(names)):
        raise ConfigError(
            f"checkpoint.metric={metric!r} is measured by no validation; its name begins with "
            f"{' or '.join(names) or 'that of a validation, and the config has none'}"
        )


def _start(run: Run, checkpoints: Checkpoints) -> tuple[State, str]:
    """The state to go on from, and where it came from ("": freshly made)."""
    spec = run.spec
    if checkpoints.steps():
        latest = checkpoints.latest()
        saved = checkpoints.about(latest)
        if saved.get("data") != run.pipeline.fingerprint:
            raise CheckpointError(
                f"the data is not what step {latest} was trained on: it had "
                f"{saved.get('examples')} examples, now there are {_sizes(run)} (or others of the "
                "same number). Restore the data, or start anew in another --workdir with "
                "warm_start set to this one"
            )
        state = checkpoints.restore(spec.shapes, spec.shardings, latest)
        return state, f"going on from step {latest}"
    return begin(run), ""


def _sizes(run: Run) -> list[int]:
    return [len(source) for source in run.sources.values()]


def _batches(run: Run, start: int, writer: Writer) -> Iterator[tuple[Any, Any]]:
    """(batch on the devices, names of its examples); corrupt examples go to corrupt.jsonl."""
    names, where = list(run.sources), sharding.batch_sharding(run.mesh)
    before = len(read(writer.folder / writer.corrupt_file))  # corrupt ones, of the steps before
    with run.batches(run.pipeline, start, run.options.train.steps, before) as batches:
        hosted = (batch._replace(arrays=on_device(batch.arrays)) for batch in batches)
        step = start
        for batch, (ids, corrupt) in _paired(hosted, where, run.options.execution.ahead):
            step += 1
            if corrupt:
                writer.corrupt(step, [_row(one, names) for one in corrupt])
            if step == start + 10 and jax.process_index() == 0:
                for field, share in batches.statistics.truncated.items():
                    if share:
                        print(f"note: {share:.1%} of {field} is longer than max_length and is cut")
            yield batch, [f"{names[s]}:{i}" for s, i in ids]


def _row(one: Any, names: list[str]) -> dict[str, Any]:
    place = {"source": names[one.source], "index": int(one.index), "where": one.where}
    return {**place, "reason": one.reason}


def _paired(batches: Any, where: Any, ahead: int) -> Iterator[tuple[Any, Any]]:
    """Device batches with what the host keeps of each: row names and corrupt examples."""
    kept: list[Any] = []

    def remember() -> Iterator[Any]:
        for batch in batches:
            kept.append(
                (
                    list(zip(batch.arrays["source"], batch.arrays["index"], strict=True)),
                    batch.corrupt,
                )
            )
            yield batch

    for batch in to_device(remember(), where, ahead):
        yield batch.arrays, kept.pop(0)


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
    values = evaluate(
        run, test, state, "", lambda name, medium: pictures.media(step, f"test/{name}", medium)
    )
    for evaluator in test.values():
        values |= evaluator.baseline()
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
