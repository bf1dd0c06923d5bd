"""Tables that a terminal shows; results stand beside what a model without understanding would
get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmjax.evaluation.base import BASELINES


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell; those in `right` are flushed right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def results(values: Mapping[str, float | int]) -> str:
    """One line for each held-out number of a result.json, validation left out."""
    baselines = [name for name in BASELINES if any(key.startswith(f"{name}/") for key in values)]
    rows = []
    for key, value in values.items():
        first = key.split("/")[0]
        if "/" not in key or first in (*BASELINES, "validation"):
            continue
        rows.append(
            (key, _shown(value), *(_shown(values.get(f"{name}/{key}")) for name in baselines))
        )
    if not rows:
        return "(no held-out numbers: the config names no test)"
    head = ("held out", "model", *(name.replace("_", " ") for name in baselines))
    return aligned(head, rows, right=range(1, len(head)))


def _shown(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
