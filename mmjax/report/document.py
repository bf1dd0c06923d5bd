"""One self-contained report.html of a work directory, from its files alone.

* No model and no device: it works on a run in progress, a dead one, or a copied folder; what is
  missing or half written is left out.
* Nothing is fetched: pictures and sounds are inside, charts as SVG, no script. It follows the
  browser's light or dark mode, prints, and is read on a telephone.
* What matters comes first: three numbers and one sample; what is long is folded.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmjax.report import charts, curves
from mmjax.report.files import Files
from mmjax.report.markup import contents, escaped, fact_table, section
from mmjax.report.media import Samples
from mmjax.report.numbers import Numbers
from mmjax.report.style import STYLE
from mmjax.report.units import duration, is_number, is_time, with_unit

CORRUPT = 100  # rows of the table of corrupt examples


def write(workdir: str | Path) -> Path:
    """Writes and returns `workdir`/report.html; an earlier one is replaced in one move."""
    workdir = Path(workdir)
    files = Files(workdir)
    numbers = Numbers(files)
    samples = Samples(workdir / "pictures")
    top = numbers.cards() + samples.nearest(numbers.most_important())
    sections = [
        section("At a glance", top, "glance") if top else "",
        numbers.section(),
        _curves(files),
        samples.section(),
        _corrupt(files),
        _time(files),
        _command(files),
        _tree("Config", files.config),
        _tree("Environment", files.environment),
    ]
    sections = [part for part in sections if part]
    body = "\n".join(sections)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(files.title)}</title><style>{STYLE}</style></head><body><main>\n"
        f"<header><h1>{escaped(files.title)}</h1><p>{escaped(_status(files))}</p>"
        f"{contents(sections)}</header>\n"
        f"{body or '<p>Nothing has been written to this work directory yet.</p>'}\n"
        "</main></body></html>\n"
    )
    path = workdir / "report.html"
    part = workdir / ".report.html.part"
    part.write_text(page, encoding="utf-8", errors="backslashreplace")
    os.replace(part, path)
    return path


def _status(files: Files) -> str:
    of = "" if files.steps is None else f" of {files.steps:,}"
    parts = ["finished" if files.result else "not finished", f"step {files.step:,}{of}"]
    seconds = files.result.get("train_seconds")
    if isinstance(seconds, int | float):
        parts.append(f"{duration(seconds)} of training")
    return " · ".join(parts)


def _curves(files: Files) -> str:
    panels = curves.panels(files.metrics, files.optimizer_groups)
    steps = max(files.steps or 0, files.step)
    drawn = "".join(charts.chart(panel, steps) for panel in panels)
    note = f"<p><small>Over {steps:,} steps of training; the number is the last value.</small></p>"
    return section("Curves", f"{note}<div class=charts>{drawn}</div>", "curves") if drawn else ""


def _corrupt(files: Files) -> str:
    if not files.corrupt:
        return ""
    # An example comes again in every epoch, and is reported every time.
    seen = Counter(
        (str(row.get("where") or row.get("index")), str(row.get("reason", "")))
        for row in files.corrupt
    )
    rows = "".join(
        f"<tr><td>{escaped(where)}</td><td>{escaped(reason)}</td></tr>"
        for where, reason in list(seen)[:CORRUPT]
    )
    count = f"{len(seen):,} example{'s' * (len(seen) > 1)} could not be used"
    note = f"{count} ({sum(seen.values()):,} times); each kept its place with weight 0."
    if len(seen) > CORRUPT:
        note += f" The first {CORRUPT}:"
    table = f"<table><tr><th>where</th><th>reason</th></tr>{rows}</table>"
    return section("Corrupt examples", f"<p>{note}</p><div class=wide>{table}</div>", "corrupt")


def _time(files: Files) -> str:
    spent = {k: v for k, v in files.result.items() if is_time(k) and is_number(v)}
    for row in files.timing:  # the latest of each
        spent |= {k: v for k, v in row.items() if is_number(v) and k != "step"}
    shown = {key.removesuffix("_seconds"): with_unit(key, value) for key, value in spent.items()}
    return section("Time", fact_table(shown), "time") if shown else ""


def _command(files: Files) -> str:
    if not files.command:
        return ""
    return section("To run it again", f"<pre>{escaped(files.command)}</pre>", "command")


def _tree(title: str, tree: Mapping[str, Any]) -> str:
    if not tree:
        return ""
    lines = "\n".join(_lines(tree))
    folded = f"<details><summary>show</summary><pre>{escaped(lines)}</pre></details>"
    return section(title, folded, title.lower())


def _lines(tree: Mapping[str, Any], depth: int = 0) -> Iterable[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield f"{'  ' * depth}{key}:"
            yield from _lines(value, depth + 1)
        else:
            yield f"{'  ' * depth}{key}: {value if isinstance(value, str) else json.dumps(value)}"
