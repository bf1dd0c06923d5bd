"""A sheet of what a model said about pictures: each with the question where there is one, what was
said, what should have been said, and a tick or a cross.

* Wrong rows come first; as far as there are so many of both, half of the rows are wrong. So the
  sheet shows what goes wrong even where nearly all is right; its title says how much is.
* Pictures of one prompt stand side by side, in their order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from mmjax.evaluation.drawing.letters import Pixels, fit
from mmjax.evaluation.drawing.page import INK, LINE, MARGIN, MUTED, WIDTH, Page

TOP = 56  # where the first row begins, below the title
BETWEEN = 28  # the two columns
CARD = (WIDTH - 2 * MARGIN - BETWEEN) / 2  # width of a row with its pictures
SIDE = 116  # of a picture, at most
GAP = 8  # between pictures that stand side by side
LABEL = 58  # width of "reference"
LINES = 3  # of each text, at most
STEP = 17  # from line to line


class Row(NamedTuple):
    """What one row of the sheet shows."""

    pictures: Sequence[UInt8[np.ndarray, "H W 3"]]  # none: a row of text alone
    question: str  # "": there is none
    reference: str  # what should have been said
    output: str  # what was said
    right: bool
    note: str = ""  # a number of this row, "CIDEr-D 0.31"


def chosen(right: Bool[np.ndarray, " R"], count: int) -> Int[np.ndarray, " K"]:
    """At most `count` rows to be shown, wrong ones first; always the same for the same answers."""
    order = np.random.default_rng(0).permutation(len(right))
    wrong = order[~right[order]]
    correct = order[right[order]]
    half = -(-count // 2)
    few = min(len(wrong), max(half, count - len(correct)))
    return np.concatenate([wrong[:few], correct[: count - few]])


def draw(rows: Sequence[Row], title: str) -> Image.Image:
    """The sheet, two rows of the data side by side."""
    most = max(len(row.pictures) for row in rows)
    side = min(SIDE, (CARD - GAP * (most - 1)) / max(most, 1))
    above = most > 1  # several pictures: the texts stand below them
    left = 0 if above else side + 12  # where the texts begin in a card
    texts = [_texts(row, CARD - left) for row in rows]
    longest = STEP * max(len(lines) for lines in texts)
    height = side + 12 + longest if above else max(side, longest)
    page = Page(WIDTH, TOP + (height + 24) * -(-len(rows) // 2))
    heading = fit(title, WIDTH - 2 * MARGIN, size=15, bold=True)
    page.text(MARGIN, 28, heading, size=15, bold=True)
    for number, (row, lines) in enumerate(zip(rows, texts, strict=True)):
        x = MARGIN + (CARD + BETWEEN) * (number % 2)
        y = TOP + (height + 24) * (number // 2)
        for place, picture in enumerate(row.pictures):
            at = x + (side + GAP) * place
            page.image(at, y, side, picture)
            page.box(at, y, side, side, edge=LINE)
        _write(page, x + left, y + (side + 12 if above else 0), lines)
    return page.render(f"{title}. {'; '.join(map(_described, rows))}")


class _Line(NamedTuple):
    label: str  # muted, at the left; "": none
    text: str
    bold: bool = False
    muted: bool = False
    right: bool | None = None  # marked with a tick or a cross
    indented: bool = True  # it stands behind the place of the labels


def _texts(row: Row, width: Pixels) -> list[_Line]:
    """The lines of a row, at most `width` wide."""
    lines = []
    if row.question:
        asked = fit(row.question, width, bold=True, lines=LINES)
        lines += [_Line("", line, bold=True, indented=False) for line in asked]
    room = width - LABEL - 22  # the mark stands before what was said
    said = fit(row.output or "(nothing)", room, lines=LINES)
    lines.append(_Line("output", said[0], right=row.right))
    lines += [_Line("", line) for line in said[1:]]
    wanted = fit(row.reference, room, lines=LINES)
    lines.append(_Line("reference", wanted[0]))
    lines += [_Line("", line) for line in wanted[1:]]
    if row.note:
        lines.append(_Line("", row.note, muted=True))
    return lines


def _write(page: Page, x: Pixels, y: Pixels, lines: Sequence[_Line]) -> None:
    for number, line in enumerate(lines):
        middle = y + STEP * number + STEP / 2
        if line.label:
            page.text(x, middle, line.label, size=11, color=MUTED)
        if line.right is not None:
            page.mark(x + LABEL + 10, middle, line.right)
        at = x + LABEL + 22 if line.indented else x
        color = MUTED if line.muted else INK
        page.text(at, middle, line.text, bold=line.bold, color=color)


def _described(row: Row) -> str:
    """A row in words."""
    asked = f"{row.question!r}: " if row.question else ""
    verdict = "right" if row.right else "wrong"
    return f"{asked}{row.output!r} for {row.reference!r}, {verdict}"
