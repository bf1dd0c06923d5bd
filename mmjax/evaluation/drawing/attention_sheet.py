"""A sheet of where a model looked when it chose each word: its attention, laid over the pictures.

* Light and warm is where it looked most. Each word's map has its own scale; the number below says
  how much of all attention was on the pictures (a prompt's words, and learned tokens, have the
  rest).
* Maps are generation/attention.py's; those of a word's tokens are averaged.

Letters: N tokens, W words, M pictures, G patches along an edge.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mmjax.evaluation.drawing.letters import Pixels, fit
from mmjax.evaluation.drawing.page import LINE, MARGIN, MUTED, SCALE, WIDTH, Page

TOP = 56  # where the first row begins, below the title
FIRST = 136  # width of the picture itself, with what stands below it
SIDE = 104  # of a picture under a map
GAP = 12
BETWEEN = 28  # two rows that stand side by side, where all have few words
BELOW = 44  # height of a word and its number
WORDS = 12  # of a text, at most
STRENGTH = 0.8  # of the colours over the picture, where the model looked most


class Looked(NamedTuple):
    """A text about pictures, and where its words were looked for."""

    picture: UInt8[np.ndarray, "H W 3"]  # as the model sees it; several stand side by side
    maps: Float[np.ndarray, "W M G G"]  # of each word, over the patches of each picture
    words: Sequence[str]
    question: str = ""  # "": there is none


def by_word(
    maps: Float[np.ndarray, "N M G G"], count: int, text: Callable[[int], str]
) -> tuple[list[str], Float[np.ndarray, "W M G G"]]:
    """Words and their maps, from those of their tokens.

    Args:
      count: tokens that were said; those behind are padding.
      text: what the first so many tokens say.
    """
    words = text(count).split()
    tokens: list[list[int]] = [[] for _ in words]
    for token in range(count):
        number = len(text(token + 1).split()) - 1  # the word that this token belongs to
        if 0 <= number < len(words):
            tokens[number].append(token)
    kept = [number for number, own in enumerate(tokens) if own]
    averages = [maps[tokens[number]].mean(0) for number in kept]
    found = np.stack(averages) if averages else np.zeros((0, *maps.shape[1:]), np.float32)
    return [words[number] for number in kept], found


def draw(rows: Sequence[Looked], title: str) -> Image.Image:
    """The sheet: a row for each text, its picture and then its words."""
    room = WIDTH - 2 * MARGIN
    half = (room - BETWEEN) / 2
    across = 2 if all(_width(row) <= half for row in rows) else 1
    width = half if across == 2 else room
    lines = [rows[start : start + across] for start in range(0, len(rows), across)]
    heights = [max(_height(row, width) for row in line) for line in lines]
    page = Page(WIDTH, TOP + sum(heights))
    page.text(MARGIN, 28, fit(title, room, size=15, bold=True), size=15, bold=True)
    y = TOP
    for line, height in zip(lines, heights, strict=True):
        for place, row in enumerate(line):
            _draw_row(page, MARGIN + (width + BETWEEN) * place, y, width, row)
        y += height
    said = "; ".join(_described(row) for row in rows)
    return page.render(f"{title}. {said}")


def overlay(
    picture: UInt8[np.ndarray, "H W 3"], maps: Float[np.ndarray, "M G G"], width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Attention as colours over a picture without colours, `width` pixels wide."""
    from matplotlib import colormaps

    size = (width, round(width * picture.shape[0] / picture.shape[1]))
    grey = Image.fromarray(picture).convert("L").resize(size, Image.Resampling.BICUBIC)
    side_by_side = np.concatenate(list(maps), axis=1)
    share = side_by_side / max(float(side_by_side.max()), 1e-12)
    smooth = Image.fromarray(share.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    strength = np.asarray(smooth)[..., None]
    colours = colormaps["plasma"](0.2 + 0.8 * strength[..., 0])[..., :3]
    below = np.asarray(grey, np.float32)[..., None] / 255
    alpha = STRENGTH * (0.15 + 0.85 * strength)
    return ((below * (1 - alpha) + colours * alpha) * 255).round().astype(np.uint8)


def _columns(row: Looked, room: Pixels) -> tuple[int, Pixels]:
    """How many words stand side by side in a row so wide, and how wide each is."""
    room = room - FIRST
    width = min(room, SIDE * row.maps.shape[1])
    return max(1, int((room + GAP) // (width + GAP))), width


def _width(row: Looked) -> Pixels:
    """Of a row whose words stand in one line."""
    words = min(len(row.words), WORDS)
    return FIRST + words * (SIDE * row.maps.shape[1] + GAP) - GAP


def _height(row: Looked, room: Pixels) -> Pixels:
    columns, width = _columns(row, room)
    lines = -(-min(len(row.words), WORDS) // columns)
    of_words = lines * (_picture_height(row, width) + BELOW)
    return max(of_words, _picture_height(row, SIDE) + BELOW + 12) + 8


def _picture_height(row: Looked, width: Pixels) -> Pixels:
    return width * row.picture.shape[0] / row.picture.shape[1]


def _draw_row(page: Page, left: Pixels, y: Pixels, room: Pixels, row: Looked) -> None:
    _place(page, left, y, SIDE, row.picture)
    asked = fit(row.question, FIRST - 16, size=11, lines=4) if row.question else []
    page.text(left, y + _picture_height(row, SIDE) + 13, asked, size=11)
    columns, width = _columns(row, room)
    height = _picture_height(row, width)
    for number, word in enumerate(row.words[:WORDS]):
        x = left + FIRST + (width + GAP) * (number % columns)
        top = y + (height + BELOW) * (number // columns)
        maps = row.maps[number]
        _place(page, x, top, width, overlay(row.picture, maps, round(width * SCALE)))
        page.text(x, top + height + 12, fit(word, width - 34, bold=True), bold=True)
        share = f"{maps.sum():.0%}"
        page.text(x + width, top + height + 12, share, size=10, color=MUTED, align="right")


def _place(page: Page, x: Pixels, y: Pixels, width: Pixels, picture: np.ndarray) -> None:
    """A picture of any shape, `width` wide, with its upper left corner at (x, y)."""
    height = width * picture.shape[0] / picture.shape[1]
    side = max(width, height)
    page.image(x - (side - width) / 2, y - (side - height) / 2, side, picture)
    page.box(x, y, width, height, edge=LINE)


def _described(row: Looked) -> str:
    """A row in words: where each word's map is largest."""
    parts = []
    for word, maps in zip(row.words[:WORDS], row.maps, strict=False):
        picture, line, column = np.unravel_index(maps.argmax(), maps.shape)
        where = f"line {line + 1}, column {column + 1} of {maps.shape[-1]}"
        if len(maps) > 1:
            where += f" in picture {picture + 1}"
        parts.append(f"{word}: {where}")
    return f"{row.question} {', '.join(parts)}".strip()
