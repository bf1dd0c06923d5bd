"""A sheet of clips: each a strip of its frames, time to the right, with what was said of it.

* A clip may have several strips, one below the other, such as what was hidden and what was made up.
* Bars below a clip say how much of something falls on each stretch of time, such as attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmjax.evaluation.drawing.letters import Pixels, fit
from mmjax.evaluation.drawing.page import GREEN, INK, LINE, MARGIN, MUTED, WIDTH, Page
from mmjax.typing import Float, UInt8

TOP = 52  # where the first clip begins, below the title
HEADING = 24  # height of what is said of a clip
LABEL = 64  # width of a strip's name
GAP = 3  # between frames
BARS = 30  # height of the bars
BETWEEN = 18  # clips
MOST = 16  # frames of a strip; of more every so many
SIDE = 96  # of a frame, at most


class Clip(NamedTuple):
    """One row of the sheet."""

    said: str  # what was said of it, and what is right
    strips: Sequence[UInt8[np.ndarray, "T H W 3"]]  # of one length
    names: Sequence[str] = ()  # of the strips; (): they have none
    right: bool | None = None  # a tick or a cross; None: neither
    shares: Float[np.ndarray, " S"] | None = None  # of S equal stretches of time, sum to 1


def draw(clips: Sequence[Clip], title: str) -> Image.Image:
    """The sheet of some clips, one below the other."""
    page = Page(WIDTH, TOP + sum(_height(clip) for clip in clips) + MARGIN - BETWEEN)
    heading = fit(title, WIDTH - 2 * MARGIN, size=15, bold=True)
    page.text(MARGIN, 28, heading, size=15, bold=True)
    y = float(TOP)
    for clip in clips:
        _draw(page, y, clip)
        y += _height(clip)
    return page.render(f"{title}. {'; '.join(_described(clip) for clip in clips)}")


def _left(clip: Clip) -> Pixels:
    return MARGIN + (LABEL if clip.names or clip.shares is not None else 0)


def _shown(clip: Clip) -> list[int]:
    """Which frames are drawn."""
    count = len(clip.strips[0])
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int)).tolist()


def _side(clip: Clip) -> Pixels:
    count = len(_shown(clip))
    return min(SIDE, (WIDTH - MARGIN - _left(clip) - GAP * (count - 1)) / count)


def _height(clip: Clip) -> Pixels:
    bars = 0 if clip.shares is None else BARS + GAP
    return HEADING + len(clip.strips) * (_side(clip) + GAP) + bars + BETWEEN


def _draw(page: Page, y: Pixels, clip: Clip) -> None:
    if clip.right is not None:
        page.mark(MARGIN + 6, y + 7, clip.right)
    indent = 0 if clip.right is None else 20
    said = fit(clip.said, WIDTH - 2 * MARGIN - indent, size=12)
    page.text(MARGIN + indent, y + 8, said, size=12, color=INK)
    y += HEADING
    side = _side(clip)
    left = _left(clip)
    shown = _shown(clip)
    for number, strip in enumerate(clip.strips):
        if clip.names:
            page.text(MARGIN, y + side / 2, fit(clip.names[number], LABEL - 8, size=11, lines=2),
                      size=11, color=MUTED)  # fmt: skip
        for place, frame in enumerate(shown):
            x = left + place * (side + GAP)
            page.image(x, y, side, strip[frame], sharp=True)
            page.box(x, y, side, side, edge=LINE)
        y += side + GAP
    if clip.shares is not None:
        _draw_bars(page, left, y, len(shown) * (side + GAP) - GAP, clip.shares)


def _draw_bars(page: Page, left: Pixels, y: Pixels, room: Pixels, shares: np.ndarray) -> None:
    page.text(MARGIN, y + BARS / 2, "attention", size=11, color=MUTED)
    width = (room + GAP) / len(shares)
    highest = max(float(np.max(shares)), 1e-9)
    for number, share in enumerate(shares):
        height = BARS * float(share) / highest
        page.box(left + number * width, y + BARS - height, width - GAP, height, fill=GREEN)


def _described(clip: Clip) -> str:
    """A row in words."""
    if clip.shares is None:
        return clip.said
    place = int(np.argmax(clip.shares))
    return f"{clip.said}, looking most at part {place + 1} of {len(clip.shares)}"
