"""What people see of speech that is written down: spectrograms, each letter where it is heard.

Letters: M mel bins, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmjax.evaluation.letters import fit
from mmjax.evaluation.page import INK, MARGIN, MUTED, RED, SCALE, WIDTH, Page
from mmjax.typing import UInt8

TOP = 48  # of the first row
HEIGHT = 72  # of a spectrogram
BELOW = 50  # its letters and what should be there
SPACE = "_"  # stands for the space between words


class Heard(NamedTuple):
    """One recording."""

    picture: UInt8[np.ndarray, "M T 3"]  # low frequencies below
    letters: tuple[tuple[str, float], ...]  # each with the share of the time that is over by then
    said: str  # what is read of them
    wanted: str  # what should have been said


def draw(rows: Sequence[Heard], title: str) -> Image.Image:
    """The sheet: of each recording the picture, the letters below it, and what was wanted."""
    room = WIDTH - 2 * MARGIN
    page = Page(WIDTH, TOP + len(rows) * (HEIGHT + BELOW))
    page.text(MARGIN, 26, fit(title, room, size=15, bold=True), size=15, bold=True)
    for number, row in enumerate(rows):
        y = TOP + number * (HEIGHT + BELOW)
        size = (round(room * SCALE), round(HEIGHT * SCALE))
        picture = Image.fromarray(row.picture).resize(size, Image.Resampling.BILINEAR)
        # it is fitted into a square, whose middle lies at the middle of the row
        page.image(MARGIN, y + HEIGHT / 2 - room / 2, room, np.asarray(picture))
        for letter, share in row.letters:
            x = MARGIN + room * share
            page.box(x, y + HEIGHT, 0.5, 3, fill=MUTED)
            page.text(x, y + HEIGHT + 12, letter.strip() or SPACE, size=10, align="center")
        color = INK if row.said == row.wanted else RED
        wanted = fit(row.wanted, room, size=10)
        page.text(MARGIN, y + HEIGHT + 30, wanted, size=10, color=color)
    described = "; ".join(f"{row.wanted!r} was read as {row.said!r}" for row in rows)
    return page.render(f"{title}. {described}")
