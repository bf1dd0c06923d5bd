"""One self-contained report.html of a work directory, from its files alone.

* No model and no device: it works on a run in progress, a dead one, or a copied folder; what is
  missing or half written is left out.
* Nothing is fetched: pictures and sounds are inside, charts as SVG, no script. It follows the
  browser's light or dark mode, prints, and is read on a telephone.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmjax.evaluation.pictures import number
from mmjax.report import charts, curves
from mmjax.report.baselines import Names
from mmjax.report.markup import escaped, explained, fact_table, section, spelled
from mmjax.report.media import media
from mmjax.report.style import STYLE

CORRUPT = 100  # rows of the table of corrupt examples


def write(workdir: str | Path) -> Path:
    """Writes and returns `workdir`/report.html; an earlier one is replaced in one move."""
    workdir = Path(workdir)
    files = _Files(workdir)
    sections = [
        _result(files), _curves(files), media(workdir / "pictures"), _corrupt(files),
        _time(files), _command(files), _details("Config", files.config),
        _details("Environment", files.environment),
    ]
    body = "\n".join(section for section in sections if section)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(files.title)}</title><style>{STYLE}</style></head><body><main>\n"
        f"<header><h1>{escaped(files.title)}</h1><p>{escaped(_status(files))}</p></header>\n"
        f"{body or '<p>Nothing has been written to this work directory yet.</p>'}\n"
        "</main></body></html>\n"
    )
    path = workdir / "report.html"
    part = workdir / ".report.html.part"
    part.write_text(page, encoding="utf-8", errors="backslashreplace")
    os.replace(part, path)
    return path


class _Files:
    """What can be read of the work directory; absent or broken files are empty."""

    def __init__(self, workdir: Path):
        self.config = _json(workdir / "config.json")
        self.environment = _json(workdir / "environment.json")
        self.result = _json(workdir / "result.json")
        self.metrics = _rows(workdir / "metrics.jsonl")
        self.timing = _rows(workdir / "timing.jsonl")
        self.corrupt = _rows(workdir / "corrupt.jsonl")
        self.command = _text(workdir / "command.txt").strip()
        self.title = str(self.config.get("name") or workdir.resolve().name)
        self.step = max((row.get("step", 0) for row in self.metrics), default=0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in _text(path).splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a run that is writing, or was killed
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _status(files: _Files) -> str:
    train = files.config.get("train")
    total = train.get("steps") if isinstance(train, dict) else None
    of = f" of {total:,}" if isinstance(total, int) else ""
    parts = ["finished" if files.result else "not finished", f"step {files.step:,}{of}"]
    seconds = files.result.get("train_seconds")
    if isinstance(seconds, int | float):
        parts.append(f"{_duration(seconds)} of training")
    return " · ".join(parts)


def _result(files: _Files) -> str:
    metrics = files.result
    title = "Result"
    if not metrics:  # the newest value of everything that was evaluated
        latest: dict[str, Any] = {}
        for row in files.metrics:
            latest |= row
        kept = (key for key in latest if key != "step" and not key.startswith("train/"))
        metrics = {key: latest[key] for key in kept}
        title = f"So far, at step {files.step:,}"
    names = Names(metrics)
    groups: dict[str, list[str]] = {}
    for key in metrics:
        if _is_number(metrics[key]) and not names.split(key).baseline and not _is_time(key):
            groups.setdefault(key.rpartition("/")[0], []).append(key)
    if not groups:
        return ""
    chosen = [parent for parent in groups if parent.startswith("validation/")]
    other = [parent for parent in groups if parent and parent not in chosen]
    if not other:  # a run in progress has nothing but its validation
        other = chosen
        chosen = []
    facts = {k: number(metrics[k]) for k in groups.get("", ())}
    facts |= {k: v for k, v in metrics.items() if isinstance(v, str | bool)}
    content = _numbers(other, groups, metrics)
    if chosen:
        title_of_rest = "Validation, on which the checkpoint was chosen"
        rest = _numbers(chosen, groups, metrics)
        content += f"<details class=rest><summary>{title_of_rest}</summary>{rest}</details>"
    return section(title, content + fact_table(facts))


def _numbers(parents: list[str], groups: Mapping[str, list[str]], metrics: Mapping) -> str:
    names = Names(metrics)
    rows = []
    for parent in parents:
        rows.append(f'<tr class="group"><th colspan="3">{spelled(parent)}</th></tr>')
        rows += [_number_row(key, metrics, names) for key in groups[parent]]
    head = "<tr><th></th><th class=value>value</th><th>to be read against</th></tr>"
    return f"<table class=result>{head}{''.join(rows)}</table>" if rows else ""


def _number_row(key: str, metrics: Mapping[str, Any], names: Names) -> str:
    value = metrics[key]
    leaf = key.rpartition("/")[2]
    baselines = {k: v for k, v in names.of(key, metrics).items() if _is_number(v)}
    share = baselines and all(0 <= x <= 1 for x in (value, *baselines.values()))
    shown = "{:.3f}".format if share else number
    name, meaning = explained(leaf)
    against = "".join(
        f"<span class=baseline><i>{escaped(kind.replace('_', ' '))}</i> {shown(base)}</span>"
        for kind, base in baselines.items()
    )
    bar = ""
    if share:
        ticks = "".join(f'<b style="left:{100 * x:.1f}%"></b>' for x in baselines.values())
        bar = f'<div class=bar><div style="width:{100 * value:.1f}%"></div>{ticks}</div>'
    return (
        f"<tr><td>{escaped(name)}<small>{escaped(meaning)}</small></td>"
        f"<td class=value>{shown(value)}</td><td>{bar}{against}</td></tr>"
    )


def _curves(files: _Files) -> str:
    panels = curves.panels(files.metrics)
    drawn = "".join(f"<figure>{charts.chart(panel)}</figure>" for panel in panels)
    return section("Curves", f"<div class=charts>{drawn}</div>") if drawn else ""


def _corrupt(files: _Files) -> str:
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
    return section("Corrupt examples", f"<p>{note}</p><div class=wide>{table}</div>")


def _time(files: _Files) -> str:
    spent = {k: v for k, v in files.result.items() if _is_time(k) and _is_number(v)}
    for row in files.timing:  # the latest of each
        spent |= {k: v for k, v in row.items() if _is_number(v) and k != "step"}
    shown = {
        key.removesuffix("_seconds"): _duration(value) if _is_time(key) else number(value)
        for key, value in spent.items()
    }
    return section("Time", fact_table(shown)) if shown else ""


def _command(files: _Files) -> str:
    if not files.command:
        return ""
    return section("To run it again", f"<pre>{escaped(files.command)}</pre>")


def _details(title: str, tree: Mapping[str, Any]) -> str:
    if not tree:
        return ""
    lines = "\n".join(_lines(tree))
    return f"<details class=tree><summary>{title}</summary><pre>{escaped(lines)}</pre></details>"


def _lines(tree: Mapping[str, Any], depth: int = 0) -> Iterable[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield f"{'  ' * depth}{key}:"
            yield from _lines(value, depth + 1)
        else:
            yield f"{'  ' * depth}{key}: {value if isinstance(value, str) else json.dumps(value)}"


def _duration(seconds: float | int) -> str:
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _is_time(key: str) -> bool:
    return key == "seconds" or key.endswith("_seconds")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
