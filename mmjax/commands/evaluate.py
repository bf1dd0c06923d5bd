"""Evaluate: the numbers of a work directory, from any of its checkpoints; or of a model that
`mmjax.load` opens, on the evaluations of a config or those that are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from mmjax import config as configs
from mmjax.evaluation.base import Result
from mmjax.processors import trained as trained_processor
from mmjax.report import table
from mmjax.run import workdir
from mmjax.run.assembly import Run
from mmjax.run.embedded import Embedded
from mmjax.run.encoder import Encoder
from mmjax.run.evaluations import EvaluationRun, located, named
from mmjax.run.load import Loaded, load
from mmjax.run.options import Evaluation, Execution, Options
from mmjax.run.restore import restore
from mmjax.run.runtime import prepare


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
    which = getattr(workdir.load_options(folder), split)
    if not which:
        raise configs.ConfigError(f"the run in {folder} names no {split} evaluations")
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
    options = None if config is None else configs.build(Options, config)
    if evaluations is None:
        evaluations = getattr(options, split) if options else {}
    if not evaluations:
        raise configs.ConfigError(f"no evaluations are given, and the config has no {split}")
    prepare(options.execution if options else Execution())
    loaded = model if isinstance(model, Loaded) else load(model)
    if isinstance(loaded.processor, trained_processor.Processor):
        processor = dataclasses.replace(loaded.processor, refuse_unknown=False)
        loaded = dataclasses.replace(loaded, processor=processor)
    encoder = Encoder(loaded)
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
