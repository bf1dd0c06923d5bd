"""Tables that a terminal shows; results stand beside what a model without understanding would
get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmjax.report.baselines import VALIDATION, Names
from mmjax.terminal import printable


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell; those in `right` are flushed right.

    Control characters of a cell, of a caption perhaps, are shown as escapes.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
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
    held_out = [key for key in values if not key.startswith(f"{VALIDATION}/")]
    names = Names(held_out)
    rows = []
    for key in held_out:
        if "/" not in key or names.split(key).baseline:
            continue
        against = [values.get(f"{name}/{key}") for name in names.baselines]
        rows.append((key, _shown(values[key]), *(_shown(value) for value in against)))
    if not rows:
        return "(no held-out numbers: the config names no test)"
    head = ("held out", "model", *(name.replace("_", " ") for name in names.baselines))
    return aligned(head, rows, right=range(1, len(head)))


def _shown(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
