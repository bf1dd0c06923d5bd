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


@dataclasses.dataclass
class Panel:
    title: str  # the path the lines share
    lines: dict[str, tuple[list[Real], list[Real]]]  # name -> (steps, values), finite only
    baselines: dict[str, dict[str, Real]]  # line name -> {"chance": value}, the latest one


def panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Panels of rows {"step": 10, "train/loss": 0.3, ...}; a row may hold any subset of names."""
    known = Names(key for row in rows for key in row)
    series: dict[str, tuple[list[Real], list[Real]]] = {}
    latest: dict[str, Real] = {}
    for row in rows:
        for key, value in row.items():
            if key == "step" or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not math.isfinite(value):
                continue
            latest[key] = value
            if not known.split(key).baseline:
                steps, values = series.setdefault(key, ([], []))
                steps.append(row.get("step", len(steps)))
                values.append(value)
    groups: dict[str, list[str]] = {}
    for key in series:
        parent, _, leaf = key.rpartition("/")
        if leaf == "loss":
            groups.setdefault("loss", []).append(key)
        elif key.startswith("train/"):  # learning_rate, learning_rate/image, ... are one panel
            groups.setdefault("/".join(key.split("/")[:2]), []).append(key)
        elif parent and _is_share(leaf):
            groups.setdefault(parent, []).append(key)
        else:  # a median rank or a temperature has a scale of its own
            groups.setdefault(key, []).append(key)
    order = sorted(groups, key=lambda title: (title != "loss", title.startswith("train"), title))
    out = []
    for title in order:
        names = _names(title, groups[title])
        lines = {names[key]: series[key] for key in sorted(groups[title], key=_natural)}
        baselines = {names[key]: known.of(key, latest) for key in groups[title]}
        out.append(Panel(title, lines, {name: base for name, base in baselines.items() if base}))
    return out


def _is_share(leaf: str) -> bool:
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
    return (key.rpartition("/")[0], int(leaf[1:]) if leaf[1:].isdigit() else 0, leaf)
