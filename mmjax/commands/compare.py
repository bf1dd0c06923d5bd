"""Compare: two groups of runs, such as three seeds of two recipes, on the same held-out queries.

    python -m mmjax.main --mode=compare --workdir=runs/a0,runs/a1 --against=runs/b0,runs/b1 \\
        --split=test

* Of each run the best checkpoint is asked, as `--mode=evaluate` does. Means are over queries and
  runs; "mrr" is the mean of 1 / rank. A ratio (word errors over words) is one of sums.
* A difference is paired by query. Its interval draws queries and runs, and examples of one group
  together (evaluation/measures/bootstrap.py): two drawings of a thing are one observation.
* Numbers that are one for each run (an FID) are compared as they are; their interval draws runs,
  and there is none for a single run.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from mmjax.commands.evaluate import answers
from mmjax.config import ConfigError
from mmjax.evaluation.base import Ratio
from mmjax.evaluation.measures import bootstrap
from mmjax.report import table
from mmjax.run import outputs

ASKED = ("index", "group", "label")  # of a query, where the other arrays are of its answer

Values = np.ndarray | Ratio


class Answers(NamedTuple):
    """What a run answered, by "<evaluation>/<metric>"."""

    queries: Mapping[str, Values]  # a value for each query
    numbers: Mapping[str, float]  # metrics that are no mean or ratio over queries


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
    file = None if out is None else outputs.file(out)
    groups = [[_answers(folder, split) for folder in group] for group in (ours, theirs)]
    compared = _of_queries(*groups) | _of_runs(*groups)
    if not compared:
        raise ConfigError(f"the runs have no {split} evaluation in common")
    if jax.process_index() != 0:
        return compared
    rows = [
        (name, f"{row['ours']:.3f}", f"{row['theirs']:.3f}", str(row["difference"]))
        for name, row in compared.items()
    ]
    names = _names([*ours, *theirs])
    columns = (", ".join(names[: len(ours)]), ", ".join(names[len(ours) :]))
    head = (f"{split}, mean over queries and runs", *columns, "difference")
    print(table.aligned(head, rows, right=(1, 2, 3)))
    if file is not None:
        written = {name: _plain(row) for name, row in compared.items()}
        file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return compared


def _names(folders: Sequence[str | Path]) -> list[str]:
    """Names of runs: the last parts of their paths, as many as tell them apart."""
    paths = [Path(folder).expanduser().absolute().parts[1:] for folder in folders]
    longest = max(len(parts) for parts in paths)
    for count in range(1, longest + 1):
        names = ["/".join(parts[-count:]) for parts in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def _of_queries(ours: Sequence[Answers], theirs: Sequence[Answers]) -> dict[str, dict[str, Any]]:
    """Metrics over queries that all runs have in common.

    Raises:
      ConfigError: the runs were asked different queries.
    """
    first = ours[0].queries
    compared = {}
    for name, values in first.items():
        path, _, metric = name.rpartition("/")
        everyone = [run.queries.get(name) for run in (*ours, *theirs)]
        if any(value is None for value in everyone):
            continue  # an evaluation that they do not have in common
        if metric in ASKED:
            if not all(np.array_equal(value, values) for value in everyone):
                raise ConfigError(f"the runs were not asked the same: {name} differs")
            continue
        mine = _stacked([run.queries[name] for run in ours])
        others = _stacked([run.queries[name] for run in theirs])
        compared[name] = {
            "ours": bootstrap.value(mine),
            "theirs": bootstrap.value(others),
            "difference": bootstrap.paired(mine, others, cluster=first.get(f"{path}/group")),
        }
    return compared


def _of_runs(ours: Sequence[Answers], theirs: Sequence[Answers]) -> dict[str, dict[str, Any]]:
    """Metrics of whole runs that all of them have in common."""
    compared = {}
    for name in ours[0].numbers:
        if not all(name in run.numbers for run in (*ours, *theirs)):
            continue
        mine = [run.numbers[name] for run in ours]
        others = [run.numbers[name] for run in theirs]
        compared[name] = {
            "ours": float(np.mean(mine)),
            "theirs": float(np.mean(others)),
            "difference": bootstrap.runs(mine, others),
        }
    return compared


def _stacked(values: Sequence[Values]) -> Values:
    """[Q] of each run -> [R, Q]."""
    if isinstance(values[0], Ratio):
        return Ratio(*(np.stack(parts) for parts in zip(*values, strict=True)))
    return np.stack(values)


def _answers(folder: str | Path, split: str) -> Answers:
    step, results = answers(folder, split)
    print(f"{folder}: step {step}", flush=True)
    queries: dict[str, Values] = {}
    numbers: dict[str, float] = {}
    for name, (evaluation, result) in results.items():
        for path, values in result.queries.items():
            parent, _, metric = f"{name}/{path}".rpartition("/")
            if metric == "rank":
                metric = "mrr"
                values = 1 / values
            queries[f"{parent}/{metric}"] = values
            group = evaluation.source.column("group")
            if metric == "index" and group is not None:
                queries[f"{parent}/group"] = group[values]
        for metric, value in result.metrics.items():
            if metric not in result.queries:
                numbers[f"{name}/{metric}"] = value
    return Answers(queries, numbers)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON, which has no NaN: bounds that are not known are null."""
    bounds = row["difference"]._asdict()
    known = {name: None if math.isnan(value) else value for name, value in bounds.items()}
    return {**row, "difference": known}
