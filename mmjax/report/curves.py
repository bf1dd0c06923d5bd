"""The rows of metrics.jsonl, sorted into the panels that a person wants to see.

* One panel per family: all losses together, then one per evaluated path ("validation/.../r1, r5,
  r10") and one for the ranks of an evaluation, then what else training logged.
* A baseline ("chance/...") is no panel of its own but a dashed line in that of its number.
* Only reads and sorts; report/charts.py draws.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.report.baselines import Names
from mmjax.report.units import Real

Series = tuple[list[Real], list[Real]]  # steps, values


@dataclasses.dataclass
class Panel:
    title: str  # the path the lines share
    lines: dict[str, Series]  # by name, finite values only
    baselines: dict[str, dict[str, Real]]  # line name -> {"chance": value}, the latest one

    @property
    def logarithmic(self) -> bool:
        """Whether the values are ranks: the way from 10 to 1 is as long as that from 100 to 10."""
        return _is_rank(self.title.rpartition("/")[2])


def panels(
    rows: Sequence[Mapping[str, Any]], optimizer_groups: Mapping[str, str] | None = None
) -> list[Panel]:
    """Panels of rows {"step": 10, "train/loss": 0.3, ...}; a row may hold any subset of names.

    Args:
      optimizer_groups: what to call those that have a number for a name.
    """
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
    drawn = [_panel(title, groups[title], series, known, latest) for title in order]
    for panel in drawn:
        if panel.title == "train/learning_rate":
            called = optimizer_groups or {}
            panel.lines = {called.get(name, name): line for name, line in panel.lines.items()}
    return drawn


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
    if _is_rank(leaf) and parent.count("/") > 1:  # both directions of a retrieval
        return f"{parent.rpartition('/')[0]}/{leaf}"
    return key  # a temperature has a scale of its own


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(leaf: str) -> bool:
    """Whether it is a share of right answers: "r5", "top1", ..."""
    return leaf[:1] == "r" and leaf[1:].isdigit() or leaf in ("top1", "top5", "per_class")


def _is_rank(leaf: str) -> bool:
    return leaf == "rank" or leaf.endswith("_rank")


def _names(title: str, keys: Sequence[str]) -> dict[str, str]:
    """What a line is called beside it: the shortest that tells the lines of a panel apart."""
    if title != "loss":
        leaf = title.rpartition("/")[2]
        several = len(keys) > 1 and _is_rank(leaf)  # they differ before the leaf, not in it
        return {key: key.removesuffix(f"/{leaf}" * several).rpartition("/")[2] for key in keys}
    parents = {key: key.rpartition("/")[0] or "loss" for key in keys}
    short = {key: parent.rpartition("/")[2] for key, parent in parents.items()}
    return short if len(set(short.values())) == len(keys) else parents


def _natural(key: str) -> tuple:
    leaf = key.rpartition("/")[2]
    number = int(leaf[1:]) if leaf[1:].isdigit() else 0  # r5 before r10
    return key.rpartition("/")[0], number, leaf
