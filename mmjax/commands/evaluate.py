"""Evaluate: the numbers of a work directory, from any of its checkpoints; or of a model that
`mmjax.load` opens, on the evaluations of a config or those that are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from mmjax import config as configs
from mmjax.config import ConfigError
from mmjax.evaluation.base import Result
from mmjax.report import table
from mmjax.run import options as run_options
from mmjax.run import workdir
from mmjax.run.assembly import Run
from mmjax.run.embedded import Embedded
from mmjax.run.encoder import Encoder
from mmjax.run.evaluations import EvaluationRun, located, named
from mmjax.run.load import Loaded, load
from mmjax.run.options import Evaluation, Execution
from mmjax.run.restore import restore
from mmjax.run.runtime import prepare


@dataclasses.dataclass(frozen=True)
class Options:
    workdir: str = ""  # of a run
    split: Literal["validation", "test"] = "validation"  # of its evaluations
    step: int | None = None  # of the checkpoint; by default the best
    model: str = ""  # a folder (of a run, too), a name, or an id of the hub, instead of a run
    config: str = ""  # whose evaluations a model is asked; by default those of its run
    changes: tuple[str, ...] = ()  # of the config, "test={}": --config.test={}


def run(options: Options) -> None:
    """Evaluates the checkpoint of a run, or a loaded model on the evaluations of a config."""
    if options.model:
        run = options.model if workdir.holds_run(options.model) else ""
        config = workdir.asked(options.config, run, options.changes)
        evaluate_model(options.model, config=config, split=options.split)
        return
    if not options.workdir and not options.config:
        raise ConfigError("--mode=evaluate needs the --workdir of a run")
    folder = run_options.workdir_of(options.config, options.workdir)
    evaluate(folder, split=options.split, step=options.step)


def evaluate(
    folder: str | Path, *, split: str = "validation", step: int | None = None
) -> dict[str, float]:
    """Evaluates a checkpoint, prints the table, and keeps it in evaluations/<step>-<split>.json.

    Args:
      split: "validation" or "test".
      step: of the checkpoint; None: the best.

    Raises:
      ConfigError: no work directory, or a config without that split.
    """
    folder = Path(folder).expanduser().absolute()
    step, results = answers(folder, split, step)
    values: dict[str, float] = {}
    for name, (evaluation, result) in results.items():
        values |= named(name, result)
        values |= evaluation.baseline()
    if jax.process_index() == 0:
        print(f"step {step}, {split}")
        print(table.results(values))
        out = folder / "evaluations"
        out.mkdir(exist_ok=True)
        workdir.write_json(out / f"{step:08d}-{split}.json", values)
    return values


def answers(
    folder: str | Path, split: str, step: int | None = None
) -> tuple[int, dict[str, tuple[EvaluationRun, Result]]]:
    """The step of a run's checkpoint (None: the best) and what each evaluation of it found."""
    folder = Path(folder).expanduser().absolute()
    which = getattr(workdir.options_of(folder), split)
    if not which:
        raise ConfigError(f"the run in {folder} names no {split} evaluations")
    weights = sorted({options.weights for options in which.values()})
    restored = {name: restore(folder, step, name) for name in weights}
    results = {}
    for name, options in which.items():
        trained = restored[options.weights]
        evaluation = EvaluationRun(name, trained.run, options)
        with jax.set_mesh(trained.run.mesh):
            results[name] = evaluation, evaluation(trained.variables)
    return trained.step, results


def evaluate_model(
    model: Loaded | str | Path,
    evaluations: Mapping[str, Any] | None = None,
    *,
    config: Any = None,
    split: str = "test",
) -> dict[str, float]:
    """Evaluates a CLIP or SigLIP as its checkpoint says that inputs are prepared.

    Prints the table; the same numbers whatever the batch size.

    Args:
      model: what `mmjax.load` returns or takes.
      evaluations: by name, each dict(source=dict(name=...), evaluator=dict(name="zero_shot", ...)),
        with "retrieval" and "linear_probe" as the other evaluators. None: those of the config.
      config: Options, or the ConfigDict of a config file. split: of it, "validation" or "test".

    Raises:
      ConfigError, DataError: a model of another kind, no such data, an evaluation that cannot be.
    """
    options = None if config is None else configs.build(run_options.Options, config)
    if evaluations is None:
        evaluations = getattr(options, split) if options else {}
    if not evaluations:
        raise ConfigError(f"no evaluations are given, and the config has no {split}")
    prepare(options.execution if options else Execution())
    loaded = model if isinstance(model, Loaded) else load(model)
    encoder = Encoder(loaded, refuse_unknown=False)
    run = options and Run(options)
    values: dict[str, float] = {}
    for name, asked in evaluations.items():
        if not isinstance(asked, Evaluation):
            asked = configs.build(Evaluation, asked, where=name)
        evaluation = Embedded(name, run, asked, encoder=encoder)
        evaluation.check_data(name)  # before anything is embedded
        with located(name):
            values |= named(name, evaluation({}))
        values |= evaluation.baseline()
    print(table.results(values))
    return values
