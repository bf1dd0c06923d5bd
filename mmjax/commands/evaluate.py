"""Evaluate: the numbers of a finished or running work directory, from any of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from mmjax import config as configs
from mmjax.commands import table, workdir
from mmjax.commands.evaluations import Evaluator, evaluators, measured
from mmjax.commands.restore import restore


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
    restored = restore(folder, step, weights="raw")
    run = restored.run
    which = evaluators(run, getattr(run.options, split))
    if not which:
        raise configs.ConfigError(f"the run in {folder} names no {split} evaluations")
    values: dict[str, Any] = {}
    for name, evaluator in which.items():
        values |= _one(folder, name, evaluator, restored.step)
    if jax.process_index() == 0:
        print(f"step {restored.step}, {split}")
        print(table.results(values))
        out = folder / "evaluations"
        out.mkdir(exist_ok=True)
        workdir.write_json(out / f"{restored.step:08d}-{split}.json", values)
    return values


def _one(folder: Path, name: str, evaluator: Evaluator, step: int) -> dict[str, float]:
    restored = restore(folder, step, evaluator.options.weights)
    with jax.set_mesh(restored.run.mesh):
        return measured(name, evaluator(restored.variables)) | evaluator.baseline()
