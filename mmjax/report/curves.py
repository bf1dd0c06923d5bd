"""The rows of metrics.jsonl, sorted into the panels that a person wants to see.

* One panel per family: all losses together, then one per evaluated path ("validation/.../r1, r5,
  r10"), then what else training logged.
* A baseline ("chance/...") is no panel of its own but a dashed line in that of its number.
* Only reads and sorts; evaluation/pictures.py and the report draw.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.report.baselines import Names

Real = float | int
Series = tuple[list[Real], list[Real]]  # steps, values


@dataclasses.dataclass
class Panel:
    title: str  # the path the lines share
    lines: dict[str, Series]  # by name, finite values only
    baselines: dict[str, dict[str, Real]]  # line name -> {"chance": value}, the latest one


def panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Panels of rows {"step": 10, "train/loss": 0.3, ...}; a row may hold any subset of names."""
    known = Names(key for row in rows for key in row)
    series: dict[str, Series] = {}
    latest: dict[str, Real] = {}
    for row in rows:
        for key, value in row.items():
            if key == "step" or not _is_number(value):
                continue
            latest[key] = value
            if not known.split(key).baseline:
                steps, values = series.setdefault(key, ([], []))
                steps.append(row.get("step", len(steps)))
                values.append(value)
    groups: dict[str, list[str]] = {}
    for key in series:
        groups.setdefault(_title(key), []).append(key)
    order = sorted(groups, key=lambda title: (title != "loss", title.startswith("train"), title))
    return [_panel(title, groups[title], series, known, latest) for title in order]


def _panel(
    title: str,
    keys: Sequence[str],
    series: Mapping[str, Series],
    known: Names,
    latest: Mapping[str, Real],
) -> Panel:
    names = _names(title, keys)
    lines = {names[key]: series[key] for key in sorted(keys, key=_natural)}
    baselines = {}
    for key in keys:
        of_line = known.of(key, latest)
        if of_line:
            baselines[names[key]] = of_line
    return Panel(title, lines, baselines)


def _title(key: str) -> str:
    """The panel that a metric is drawn in."""
    parent, _, leaf = key.rpartition("/")
    if leaf == "loss":
        return "loss"
    if key.startswith("train/"):  # learning_rate, learning_rate/image, ... are one panel
        return "/".join(key.split("/")[:2])
    if parent and (_is_share(leaf) or parent.endswith("/class")):
        return parent
    return key  # a median rank or a temperature has a scale of its own


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(leaf: str) -> bool:
    """Whether it is a share of right answers: "r5", "top1", ..."""
    return leaf[:1] == "r" and leaf[1:].isdigit() or leaf in ("top1", "top5", "per_class")


def _names(title: str, keys: Sequence[str]) -> dict[str, str]:
    """What a line is called beside it: the shortest that tells the lines of a panel apart."""
    if title != "loss":
        return {key: key.rpartition("/")[2] for key in keys}
    parents = {key: key.rpartition("/")[0] or "loss" for key in keys}
    short = {key: parent.rpartition("/")[2] for key, parent in parents.items()}
    return short if len(set(short.values())) == len(keys) else parents


def _natural(key: str) -> tuple:
    leaf = key.rpartition("/")[2]
    number = int(leaf[1:]) if leaf[1:].isdigit() else 0  # r5 before r10
    return key.rpartition("/")[0], number, leaf
