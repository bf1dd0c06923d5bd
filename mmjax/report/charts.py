"""Panels of numbers as SVG text for an HTML page: no drawing library, colours from the page's CSS.

* Colours are CSS variables (--ink, --muted, --line, --s0 to --s5), so a chart follows the page into
  dark mode; a chart is as wide as its column and its letters stay legible on a telephone.
* A long run is thinned to a few hundred points a line, extremes kept.
"""

import math
from collections.abc import Iterator, Sequence

from mmjax.evaluation.pictures import number, spread
from mmjax.report.curves import Panel, Real
from mmjax.report.markup import escaped

WIDTH = 340
HEIGHT = 214
# margins of the plot
LEFT = 42
RIGHT = 92
TOP = 44
BOTTOM = 26
COLOURS = 6
FEW_POINTS = 20  # of a line whose points are drawn


def chart(panel: Panel) -> str:
    """One `<svg>` element."""
    plot = _Plot(panel)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escaped(panel.title)}">',
        *_titles(panel),
        *_grid(plot),
        *_lines(panel, plot),
        *_end_labels(panel, plot),
    ]
    return "".join(parts) + "</svg>"


class _Plot:
    """The axes of a panel: from steps and values to places on the page."""

    def __init__(self, panel: Panel):
        values = [value for _, ys in panel.lines.values() for value in ys]
        for baselines in panel.baselines.values():
            values.extend(baselines.values())
        steps = [step for xs, _ in panel.lines.values() for step in xs]
        self.low, self.high, self.marks = _scale(min(values), max(values))
        self.first, self.last, self.stops = _scale(min(steps), max(steps), tight=True)

    def x(self, step: Real) -> float:
        return LEFT + (step - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: Real) -> float:
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _titles(panel: Panel) -> Iterator[str]:
    """The last part of the panel's path large, what comes before it small; what is dashed."""
    parent, _, leaf = panel.title.rpartition("/")
    yield f'<text class="title" x="0" y="13">{escaped(leaf.replace("_", " "))}</text>'
    yield f'<text class="small" x="0" y="28">{escaped(parent.replace("_", " "))}</text>'
    baselines = sorted({name for several in panel.baselines.values() for name in several})
    if baselines:
        named = ", ".join(baselines).replace("_", " ")
        note = _short(f"dashed: {named}", 36 - len(leaf))
        yield f'<text class="small end" x="{WIDTH}" y="13">{escaped(note)}</text>'


def _grid(plot: _Plot) -> Iterator[str]:
    for mark in plot.marks:
        place = f"{plot.y(mark):.1f}"
        where = f'x="{LEFT - 6}" y="{place}" dy=".35em"'
        yield f'<path class="grid" d="M{LEFT} {place}H{WIDTH - RIGHT}"/>'
        yield f'<text class="small end" {where}>{number(mark)}</text>'
    for stop in plot.stops:
        where = f'x="{plot.x(stop):.1f}" y="{HEIGHT - 8}"'
        yield f'<text class="small middle" {where}>{number(stop)}</text>'


def _lines(panel: Panel, plot: _Plot) -> Iterator[str]:
    """Each line over its dashed baselines; a short one has points that tell their values."""
    for place, (name, (xs, ys)) in enumerate(panel.lines.items()):
        colour = f"var(--s{place % COLOURS})"
        for baseline, value in panel.baselines.get(name, {}).items():
            title = f"<title>{escaped(baseline)}: {number(value)}</title>"
            path = f'd="M{LEFT} {plot.y(value):.1f}H{WIDTH - RIGHT}"'
            yield f'<path class="line dashed" stroke="{colour}" {path}>{title}</path>'
        points = [f"{plot.x(step):.1f} {plot.y(value):.1f}" for step, value in _thin(xs, ys)]
        yield f'<path class="line" stroke="{colour}" d="M{"L".join(points)}"/>'
        if len(xs) > FEW_POINTS:
            continue
        for step, value in zip(xs, ys, strict=True):
            title = f"<title>{escaped(name)} at step {number(step)}: {number(value)}</title>"
            centre = f'cx="{plot.x(step):.1f}" cy="{plot.y(value):.1f}"'
            yield f'<circle {centre} r="2.5" fill="{colour}">{title}</circle>'


def _end_labels(panel: Panel, plot: _Plot) -> Iterator[str]:
    """Beside the end of each line its last value, and its name if there are several."""
    height = HEIGHT - TOP - BOTTOM
    ends = [(HEIGHT - BOTTOM - plot.y(ys[-1])) / height for _, ys in panel.lines.values()]
    places = spread(ends, 14 / height)
    for i, (place, name) in enumerate(zip(places, panel.lines, strict=True)):
        label = number(panel.lines[name][1][-1])
        if len(panel.lines) > 1:
            label = f"{_short(name.replace('_', ' '), 13 - len(label))} {label}"
        where = f'x="{WIDTH - RIGHT + 8}" y="{HEIGHT - BOTTOM - place * height:.1f}" dy=".35em"'
        fill = f'fill="var(--s{i % COLOURS})"'
        yield f'<text class="label" {where} {fill}>{escaped(label)}</text>'


def _scale(low: Real, high: Real, *, tight: bool = False) -> tuple[Real, Real, list[Real]]:
    """Ends of an axis that holds low to high, and three to five round marks on it."""
    if high <= low:
        low -= (abs(low) or 1) / 2
        high += (abs(high) or 1) / 2
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    if not tight:  # a little air, but a share of zero stays on the axis
        air = 0.04 * (high - low)
        low -= air
        high += air
    marks = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return low, high, [mark * step for mark in marks]


def _thin(xs: Sequence[Real], ys: Sequence[Real], most: int = 300) -> list[tuple[Real, Real]]:
    points = list(zip(xs, ys, strict=True))
    size = -(-len(points) // (most // 2))  # of a group that leaves its least and greatest
    if len(points) <= most:
        return points
    out = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        ends = {min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])}
        out += sorted(ends)
    return out if out[-1] == points[-1] else [*out, points[-1]]


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(1, length - 1)].rstrip() + "…"
