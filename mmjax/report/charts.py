"""Panels of numbers as figures of an HTML page: no drawing library, colours from the page's CSS.

* Title and legend are HTML, so that long names wrap and the plot has the whole width.
* All panels of a page share one range of steps; ranks have a logarithmic axis.
* Colours are CSS variables (--ink, --muted, --line, --s0 to --s5), so a chart follows the page into
  dark mode; a chart is as wide as its column and its letters stay legible on a telephone.
* A long run is thinned to a few hundred points a line, extremes kept.
"""

import math
from collections.abc import Iterator, Sequence

from mmjax.report.baselines import VALIDATION
from mmjax.report.curves import Panel
from mmjax.report.markup import escaped, explained, spelled
from mmjax.report.units import Real, number

WIDTH = 340
HEIGHT = 176
# margins of the plot
LEFT = 40
RIGHT = 14
TOP = 8
BOTTOM = 24
COLOURS = 6
FEW_POINTS = 20  # of a line whose points are drawn


def chart(panel: Panel, steps: Real) -> str:
    """One `<figure>`; steps: where the horizontal axis ends, which begins at 0."""
    plot = _Plot(panel, steps)
    drawn = "".join([*_grid(plot), *_lines(panel, plot)])
    title, note = _title(panel)
    return (
        f"<figure class=chart><figcaption><b>{title}</b> <small>{note}</small>"
        f"<div class=legend>{_legend(panel)}</div></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escaped(_described(panel, plot))}">{drawn}</svg></figure>'
    )


class _Plot:
    """The axes of a panel: from steps and values to places on the page."""

    def __init__(self, panel: Panel, steps: Real):
        values = [value for _, ys in panel.lines.values() for value in ys]
        for baselines in panel.baselines.values():
            values.extend(baselines.values())
        self.logarithmic = panel.logarithmic and min(values) > 0
        if self.logarithmic:
            self.low, self.high, self.marks = _ranks(min(values), max(values))
        else:
            self.low, self.high, self.marks = _scale(min(values), max(values))
        seen = max(step for xs, _ in panel.lines.values() for step in xs)
        self.last = max(steps, seen, 1)
        self.stops = _stops(self.last)

    def x(self, step: Real) -> float:
        return LEFT + step / self.last * (WIDTH - LEFT - RIGHT)

    def y(self, value: Real) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _title(panel: Panel) -> tuple[str, str]:
    """The path that tells the panel from all others, and on what it was measured."""
    first, _, rest = panel.title.partition("/")
    if first == VALIDATION and rest:
        return spelled(rest), VALIDATION
    if first == "train" and rest:
        return spelled(rest), "training"
    return spelled(panel.title), ""


def _legend(panel: Panel) -> str:
    """The lines' colours, names and last values, and what is dashed."""
    entries = []
    for place, (name, (_, ys)) in enumerate(panel.lines.items()):
        shown = f" {escaped(explained(name)[0])}" if len(panel.lines) > 1 else ""
        colour = f"var(--s{place % COLOURS})"
        entries.append(f'<span><i style="background:{colour}"></i>{shown} {number(ys[-1])}</span>')
    baselines = {name for several in panel.baselines.values() for name in several}
    if baselines:
        named = ", ".join(sorted(baselines)).replace("_", " ")
        entries.append(f"<span><i class=dashes></i> {escaped(named)}</span>")
    return "".join(entries)


def _described(panel: Panel, plot: _Plot) -> str:
    """What is seen, in words."""
    lines = []
    for name, (xs, ys) in panel.lines.items():
        lines.append(
            f"{explained(name)[0]} from {number(ys[0])} at step {number(xs[0])} to "
            f"{number(ys[-1])} at step {number(xs[-1])}"
        )
        for baseline, value in panel.baselines.get(name, {}).items():
            lines.append(f"its {baseline.replace('_', ' ')} is {number(value)}")
    kind = "Logarithmic chart" if plot.logarithmic else "Chart"
    title = panel.title.replace("/", ", ").replace("_", " ")
    return f"{kind} of {title}: {'; '.join(lines)}"


def _grid(plot: _Plot) -> Iterator[str]:
    for mark, label in zip(plot.marks, _labels(plot.marks), strict=True):
        place = f"{plot.y(mark):.1f}"
        where = f'x="{LEFT - 6}" y="{place}" dy=".35em"'
        yield f'<path class="grid" d="M{LEFT} {place}H{WIDTH - RIGHT}"/>'
        yield f'<text class="end" {where}>{label}</text>'
    for stop, label in zip(plot.stops, _labels(plot.stops), strict=True):
        x = plot.x(stop)
        anchor = "middle"
        if stop == plot.last and len(label) > 4:  # it would leave the page
            x = WIDTH
            anchor = "end"
        yield f'<text class="{anchor}" x="{x:.1f}" y="{HEIGHT - 6}">{label}</text>'


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


def _scale(low: Real, high: Real) -> tuple[Real, Real, list[Real]]:
    """Ends of an axis that holds low to high, and three to five round marks on it."""
    if high <= low:
        low -= (abs(low) or 1) / 2
        high += (abs(high) or 1) / 2
    step = _round_step((high - low) / 4)
    air = 0.04 * (high - low)
    low -= air
    high += air
    return low, high, _multiples(step, low, high)


def _ranks(low: Real, high: Real) -> tuple[Real, Real, list[Real]]:
    """The same of a logarithmic axis: 1, 2, 5, 10, ... or every tenth power where they are many."""
    bottom = 10.0 ** math.floor(math.log10(low))
    top = 10.0 ** math.ceil(math.log10(max(high, 1.001 * bottom)))
    factors = (1, 2, 5) if top / bottom <= 100 else (1,)
    marks = []
    power = bottom
    while power <= 1.001 * top:
        marks += [power * factor for factor in factors if power * factor <= 1.001 * top]
        power *= 10
    while len(marks) > 2 and marks[-2] >= high:
        marks.pop()
    return bottom / 1.08, marks[-1] * 1.08, marks


def _stops(last: Real) -> list[Real]:
    """0, some round numbers of steps, and the last step, which comes alone where it is near one."""
    step = max(1, math.ceil(_round_step(last / 4)))
    stops = [stop for stop in _multiples(step, 0, last) if stop <= last - 0.6 * step]
    return [*stops, last]


def _round_step(rough: Real) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)


def _multiples(step: Real, low: Real, high: Real) -> list[Real]:
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [mark * step for mark in range(first, last + 1)]


def _labels(marks: Sequence[Real]) -> list[str]:
    """The marks in words, with as many digits as tell them apart."""
    labels = [number(mark) for mark in marks]
    digits = 4
    while len(set(labels)) < len(labels) and digits < 17:
        labels = [f"{mark:,.{digits}g}" for mark in marks]
        digits += 1
    return labels


def _thin(xs: Sequence[Real], ys: Sequence[Real], most: int = 300) -> list[tuple[Real, Real]]:
    points = list(zip(xs, ys, strict=True))
    size = -(-len(points) // (most // 2))  # of a group that leaves its least and greatest
    if len(points) <= most:
        return points
    thinned = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        ends = {min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])}
        thinned += sorted(ends)
    return thinned if thinned[-1] == points[-1] else [*thinned, points[-1]]
