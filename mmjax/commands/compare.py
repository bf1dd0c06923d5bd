"""Compare: two groups of runs, such as three seeds of two recipes, on the same held-out queries.

    python -m mmjax.main --mode=compare --workdir=runs/a0,runs/a1 --against=runs/b0,runs/b1 \\
        --split=test

* Of each run the best checkpoint is asked, as `--mode=evaluate` does. Means are over queries and
  runs; "mrr" is the mean of 1 / rank.
* A difference is paired by query. Its interval draws queries and runs (evaluation/bootstrap.py),
  and examples of one group together: two drawings of a thing are one observation.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from mmjax.commands.evaluate import answers
from mmjax.config import ConfigError
from mmjax.evaluation import bootstrap
from mmjax.evaluation.base import Rows
from mmjax.report import table

ASKED = ("index", "group", "label")  # of a query, where the other arrays are of its answer


@dataclasses.dataclass(frozen=True)
class Options:
    workdir: tuple[str, ...] = ()  # runs of one system, commas between
    against: tuple[str, ...] = ()  # the other runs
    split: Literal["validation", "test"] = "validation"  # of the evaluations
    out: str = ""  # a JSON file for the same


def run(options: Options) -> None:
    """Compares two groups of work directories."""
    if not options.workdir or not options.against:
        raise ConfigError("--mode=compare needs runs: --workdir=A,B --against=C,D")
    compare(options.workdir, options.against, split=options.split, out=options.out or None)


def compare(
    ours: Sequence[str | Path],
    theirs: Sequence[str | Path],
    *,
    split: str = "test",
    out: str | Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Prints a table, and returns by metric "ours", "theirs" (means) and "difference".

    Args:
      ours, theirs: work directories; each group is one system.
      split: "validation" or "test".
      out: a JSON file for the same.

    Raises:
      ConfigError: no such run, or runs that were not asked the same. CheckpointError.
    """
    groups = [[_answers(folder, split) for folder in group] for group in (ours, theirs)]
    first, found = groups[0][0], {}
    for name in first:
        path, _, metric = name.rpartition("/")
        everyone = [one.get(name) for group in groups for one in group]
        if any(one is None for one in everyone):
            continue  # an evaluation that they do not have in common
        if metric in ASKED:
            if not all(np.array_equal(one, first[name]) for one in everyone):
                raise ConfigError(f"the runs were not asked the same: {name} differs")
        else:
            values = [np.stack([one[name] for one in group]) for group in groups]
            difference = bootstrap.paired(*values, cluster=first.get(f"{path}/group"))
            means = dict(
                zip(("ours", "theirs"), (float(one.mean()) for one in values), strict=True)
            )
            found[name] = {**means, "difference": difference}
    if not found:
        raise ConfigError(f"the runs have no {split} evaluation in common")
    if jax.process_index() != 0:
        return found
    rows = [
        (name, f"{one['ours']:.3f}", f"{one['theirs']:.3f}", str(one["difference"]))
        for name, one in found.items()
    ]
    head = (f"{split}, mean over queries and runs", str(len(ours)), str(len(theirs)), "difference")
    print(table.aligned(head, rows, right=(1, 2, 3)))
    if out is not None:
        written = {k: {**v, "difference": v["difference"]._asdict()} for k, v in found.items()}
        Path(out).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return found


def _answers(folder: str | Path, split: str) -> Rows:
    """By evaluation, kind of query and metric: a value for each query of a run."""
    step, results = answers(folder, split)
    print(f"{folder}: step {step}", flush=True)
    out: Rows = {}
    for name, (evaluator, result) in results.items():
        for path, values in result.queries.items():
            kind, _, metric = path.rpartition("/")
            if metric == "rank":
                metric, values = "mrr", 1 / values
            out[f"{name}/{kind}/{metric}"] = values
            group = evaluator.columns.get("group")
            if metric == "index" and group is not None:
                out[f"{name}/{kind}/group"] = group[values]
    return out
