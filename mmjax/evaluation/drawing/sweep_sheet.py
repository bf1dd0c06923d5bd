"""One setting swept: a line for each request, a column for each value, and the numbers of each
value above its column.

* A clip is shown by a few of its frames, side by side; a picture by itself.

Letters: T frames, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmjax.evaluation.drawing.letters import fit
from mmjax.evaluation.drawing.page import INK, LINE, MARGIN, MUTED, WIDTH, Page

FIRST = 240  # where the columns begin
GAP = 8
REAL = 40  # width of the column of the data's own numbers
TEXT = 17  # height of a line of a request
STRIP = 3  # frames of a clip


class Line(NamedTuple):
    """What one line of the sheet shows."""

    request: str
    made: Sequence[np.ndarray]  # for each value, uint8 [T, H, W] or [H, W, 3]


def draw(
    lines: Sequence[Line],
    numbers: Mapping[float, Mapping[str, float]],
    real: Mapping[str, float],
    title: str = "Guidance",
) -> Image.Image:
    """The sheet.

    Args:
      numbers: of each value, by their names; real: the same of the data's own, as far as known.
    """
    names = list(next(iter(numbers.values())))
    cell = (WIDTH - MARGIN - FIRST - GAP * (len(numbers) - 1)) / len(numbers)
    first = _still(lines[0].made[0])
    height = cell * first.shape[0] / first.shape[1]
    top = 64 + 18 * len(names)
    below = max(height, 2 * TEXT) + 14  # from one line to the next
    page = Page(WIDTH, top + below * len(lines) + MARGIN)
    if real:
        page.text(FIRST - 10, 40, "real", size=10, color=MUTED, align="right")
    page.text(MARGIN, 28, title, size=15, bold=True)
    for row, name in enumerate(names):
        y = 60 + 18 * row
        room = FIRST - MARGIN - REAL
        page.text(MARGIN, y, fit(name.replace("_", " "), room), color=MUTED)
        if name in real:
            page.text(FIRST - 10, y, f"{real[name]:.2f}", size=10, color=MUTED, align="right")
    for column, (value, found) in enumerate(numbers.items()):
        x = FIRST + (cell + GAP) * column
        page.text(x + cell / 2, 40, f"{value:g}", bold=True, align="center")
        for row, name in enumerate(names):
            page.text(x + cell / 2, 60 + 18 * row, f"{found[name]:.3f}", align="center")
    for row, line in enumerate(lines):
        y = top + below * row
        most = int((below - 10) // TEXT)
        page.text(MARGIN, y + 10, fit(line.request, FIRST - MARGIN - 12, lines=most), color=INK)
        for column, made in enumerate(line.made):
            x = FIRST + (cell + GAP) * column
            side = max(cell, height)
            corner = (x - (side - cell) / 2, y - (side - height) / 2)
            page.image(*corner, side, _still(made), sharp=True)
            page.box(x, y, cell, height, edge=LINE)
    parts = [
        f"{value:g}: " + ", ".join(f"{name.replace('_', ' ')} {found[name]:.3f}" for name in names)
        for value, found in numbers.items()
    ]
    return page.render(f"{title}, a column for each value. {'; '.join(parts)}")


def _still(made: np.ndarray) -> Any:
    """A clip's frames side by side, of its second half, where what moves has come."""
    if made.ndim == 3 and made.shape[-1] == 3:
        return made
    places = np.linspace(len(made) / 3, len(made) - 1, STRIP).round().astype(int)
    return np.concatenate(list(made[places]), axis=1)
