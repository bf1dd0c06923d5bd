"""Panels of numbers as SVG text for an HTML page: no drawing library, colours from the page's CSS.

* Colours are CSS variables (--ink, --muted, --line, --s0 to --s5), so a chart follows the page into
  dark mode; a chart is as wide as its column and its letters stay legible on a telephone.
* A long run is thinned to a few hundred points a line, extremes kept.
"""

import html
import math
from collections.abc import Sequence

from mmjax.evaluation.pictures import number, spread
from mmjax.report.curves import Panel, Real

WIDTH, HEIGHT = 340, 214
LEFT, RIGHT, TOP, BOTTOM = 42, 92, 44, 26  # margins of the plot
COLOURS = 6


def chart(panel: Panel) -> str:
    """One `<svg>` element."""
    values = [v for _, ys in panel.lines.values() for v in ys]
    values += [v for kinds in panel.baselines.values() for v in kinds.values()]
    steps = [step for xs, _ in panel.lines.values() for step in xs]
    low, high, marks = _scale(min(values), max(values))
    first, last, stops = _scale(min(steps), max(steps), tight=True)

    def x(step):
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value):
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_safe(panel.title)}">']
    parent, _, leaf = panel.title.rpartition("/")
    out.append(f'<text class="title" x="0" y="13">{_safe(leaf.replace("_", " "))}</text>')
    out.append(f'<text class="small" x="0" y="28">{_safe(parent.replace("_", " "))}</text>')
    for mark in marks:
        place = f"{y(mark):.1f}"
        out.append(f'<path class="grid" d="M{LEFT} {place}H{WIDTH - RIGHT}"/>')
        where = f'x="{LEFT - 6}" y="{place}" dy=".35em"'
        out.append(f'<text class="small end" {where}>{number(mark)}</text>')
    for stop in stops:
        place = f'x="{x(stop):.1f}" y="{HEIGHT - 8}"'
        out.append(f'<text class="small middle" {place}>{number(stop)}</text>')
    kinds = set()
    for i, (name, (xs, ys)) in enumerate(panel.lines.items()):
        colour = f"var(--s{i % COLOURS})"
        for kind, value in panel.baselines.get(name, {}).items():
            kinds.add(kind)
            title = f"<title>{_safe(kind)}: {number(value)}</title>"
            path = f'd="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"'
            out.append(f'<path class="line dashed" stroke="{colour}" {path}>{title}</path>')
        points = [f"{x(a):.1f} {y(b):.1f}" for a, b in _thin(xs, ys)]
        out.append(f'<path class="line" stroke="{colour}" d="M{"L".join(points)}"/>')
        if len(xs) <= 20:
            for step, value in zip(xs, ys, strict=True):
                title = f"<title>{_safe(name)} at step {number(step)}: {number(value)}</title>"
                centre = f'cx="{x(step):.1f}" cy="{y(value):.1f}"'
                out.append(f'<circle {centre} r="2.5" fill="{colour}">{title}</circle>')
    height = HEIGHT - TOP - BOTTOM
    ends = [(HEIGHT - BOTTOM - y(ys[-1])) / height for _, ys in panel.lines.values()]
    for i, (place, name) in enumerate(zip(spread(ends, 14 / height), panel.lines, strict=True)):
        label = number(panel.lines[name][1][-1])
        if len(panel.lines) > 1:
            label = f"{_short(name.replace('_', ' '), 13 - len(label))} {label}"
        where = f'x="{WIDTH - RIGHT + 8}" y="{HEIGHT - BOTTOM - place * height:.1f}" dy=".35em"'
        where += f' fill="var(--s{i % COLOURS})"'
        out.append(f'<text class="label" {where}>{_safe(label)}</text>')
    if kinds:
        note = _short("dashed: " + ", ".join(sorted(kinds)).replace("_", " "), 36 - len(leaf))
        out.append(f'<text class="small end" x="{WIDTH}" y="13">{_safe(note)}</text>')
    return "".join(out) + "</svg>"


def _scale(low: Real, high: Real, *, tight: bool = False) -> tuple[Real, Real, list[Real]]:
    """Ends of an axis that holds low to high, and three to five round marks on it."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    if not tight:  # a little air, but a share of zero stays on the axis
        air = 0.04 * (high - low)
        low, high = low - air, high + air
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


def _safe(text: str) -> str:
    return html.escape(text)
