"""Pictures that were made, each beside another one: the nearest that was learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmjax.evaluation.drawing.letters import fit
from mmjax.evaluation.drawing.page import LINE, MARGIN, MUTED, WIDTH, Page
from mmjax.typing import UInt8

COLUMNS = 4
SIDE = 88  # of a picture
TOP = 56


class Line(NamedTuple):
    """One pair."""

    request: str
    made: UInt8[np.ndarray, "H W 3"]
    other: UInt8[np.ndarray, "h w 3"]
    name: str  # of the other one
    score: float  # how near it is, 1: the same


def draw(
    pairs: Sequence[Line], title: str = "Made, and the nearest training picture"
) -> Image.Image:
    """The sheet, four pairs in a line."""
    step = (WIDTH - 2 * MARGIN) / COLUMNS
    height = SIDE + 62
    page = Page(WIDTH, TOP + height * -(-len(pairs) // COLUMNS))
    page.text(MARGIN, 28, title, size=15, bold=True)
    for number, pair in enumerate(pairs):
        x = MARGIN + step * (number % COLUMNS)
        y = TOP + height * (number // COLUMNS)
        for place, picture in enumerate((pair.made, pair.other)):
            page.image(x + (SIDE + 6) * place, y, SIDE, picture, sharp=place == 0)
            page.box(x + (SIDE + 6) * place, y, SIDE, SIDE, edge=LINE)
        room = step - 14
        page.text(x, y + SIDE + 11, fit(pair.request, room, size=11, bold=True), size=11, bold=True)
        name = fit(f"{pair.score:.2f}  {pair.name}", room, size=10)
        page.text(x, y + SIDE + 28, name, size=10, color=MUTED)
    said = [f"{pair.request}: {pair.name}, {pair.score:.2f}" for pair in pairs]
    return page.render(f"{title}: {'; '.join(said)}")
