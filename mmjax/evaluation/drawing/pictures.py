"""Matrices and image grids, in the style of evaluation/drawing/page.py. All return PIL images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Num
from PIL import Image

from mmjax.evaluation.drawing.letters import Pixels, elided, fit, width_of
from mmjax.evaluation.drawing.page import INK, LINE, MARGIN, MUTED, WIDTH, Page

TOP = 56  # where a matrix begins, below the title
FEW = 20  # classes whose counts are written into their cells


def matrix(
    values: Num[np.ndarray, "R C"], rows: Sequence[Any], columns: Sequence[Any], title: str
) -> Image.Image:
    """A matrix as colours. Rows and columns are named by texts or by small images."""
    scale = 64  # width of the colours' scale with its numbers
    longest = 142  # of a name
    height = min(22.0, (WIDTH - 2 * MARGIN - scale) / max(len(rows), 1))  # of a cell
    letters = min(11, height * 0.62)
    row_names = [elided(name, longest, size=letters) for name in rows if isinstance(name, str)]
    left = MARGIN + (_widest(row_names, letters) + 8 if row_names else height + 6)
    width = (WIDTH - MARGIN - scale - left) / max(len(columns), 1)
    small = min(letters, width * 0.62)
    column_names = [elided(name, longest, size=small) for name in columns if isinstance(name, str)]
    below = _widest(column_names, small) if column_names else min(width, height)
    top = TOP
    bottom = top + height * len(rows)
    page = Page(WIDTH, bottom + 6 + below + MARGIN)
    page.text(MARGIN, 28, title, size=15, bold=True)
    axes = page.axes(left, top, width * len(columns), height * len(rows))
    # The ends of the scale leave out a few values, so that one of them does not pale all others.
    low, high = np.percentile(values, [1, 99.5]) if values.size else (0, 1)
    shown = axes.imshow(values, cmap="Blues", vmin=low, vmax=max(high, low + 1e-6), aspect="auto")
    axes.set(xticks=[], yticks=[])
    for row, name in enumerate(rows):
        middle = top + height * (row + 0.5)
        if row_names:
            page.text(left - 8, middle, row_names[row], size=letters, align="right")
        else:
            page.image(MARGIN, middle - height / 2 + 0.5, height - 1, name)
    for column, name in enumerate(columns):
        middle = left + width * (column + 0.5)
        if column_names:
            page.rising(middle, bottom + 6, column_names[column], size=small)
        else:
            edge = min(width, height) - 1
            page.image(middle - edge / 2, bottom + 6, edge, name)
    bar = page.axes(WIDTH - MARGIN - scale + 16, top, 10, min(120, height * len(rows)))
    page.figure.colorbar(shown, cax=bar)
    bar.tick_params(labelsize=10, labelcolor=MUTED, color=LINE)
    bar.spines["outline"].set_visible(False)
    return page.render(f"{title}. {_diagonal(values)}")


def _widest(lines: Sequence[str], size: Pixels) -> float:
    """Of several lines; 0 of none."""
    return max((width_of(line, size) for line in lines), default=0.0)


def _diagonal(values: Num[np.ndarray, "R C"]) -> str:
    """How a matrix's diagonal compares with the rest of it, in words."""
    pairs = np.eye(*values.shape, dtype=bool)
    if not values.size or pairs.all():
        return ""
    return (
        f"Mean on the diagonal {values[pairs].mean():.2f}, beside it {values[~pairs].mean():.2f}"
    )


def confusion(counts: Num[np.ndarray, "R R"], names: Sequence[str]) -> Image.Image:
    """Shares of the predictions (columns) for each true class (rows), with the counts if few."""
    classes = len(names)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    few = classes <= FEW
    letters = 11 if few else min(11, (WIDTH - 2 * MARGIN) / classes * 0.62)
    legible = letters >= 5
    row_names = [elided(name, 160, size=letters) for name in names if legible]
    left = MARGIN + (_widest(row_names, letters) + 8 if legible else 0)
    width = (WIDTH - MARGIN - left) / classes  # of a cell
    height = 40 if few else width
    across = width >= 64  # columns are named in level lines
    column_names = [fit(name, width - 8, size=10, lines=3) for name in names if across]
    below = _widest(row_names, letters)
    if across:
        below = 12.5 * max(len(lines) for lines in column_names)
    top = 76
    page = Page(WIDTH, top + height * classes + 6 + below + MARGIN)
    right = np.trace(counts) / max(counts.sum(), 1)
    title = f"Confusion of {classes} classes"
    page.text(MARGIN, 28, title, size=15, bold=True)
    note = f"{right:.1%} of {counts.sum():,} right; rows: the true class, columns: the answer"
    page.text(MARGIN, 52, note, size=11, color=MUTED)
    axes = page.axes(left, top, width * classes, height * classes)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xticks=[], yticks=[])
    bottom = top + height * classes
    for place, line in enumerate(row_names):
        page.text(left - 8, top + height * (place + 0.5), line, size=letters, align="right")
        middle = left + width * (place + 0.5)
        if across:
            page.text(middle, bottom + 14, column_names[place], size=10, align="center")
        else:
            page.rising(middle, bottom + 6, line, size=letters)
    for row, column in np.argwhere(counts > 0) if few else ():
        color = "white" if share[row, column] > 0.55 else INK
        page.text(left + width * (column + 0.5), top + height * (row + 0.5),
                  f"{counts[row, column]:,}", size=11, color=color, align="center")
    return page.render(f"{title}: {note}. {_taken_for(counts, names)}")


def _taken_for(counts: Num[np.ndarray, "R R"], names: Sequence[str]) -> str:
    """The most common mistake, in words."""
    wrong = counts * ~np.eye(len(names), dtype=bool)
    if not wrong.any():
        return "No mistake"
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    times = f"{wrong[row, column]:,} times"
    return f"The most common mistake: {names[row]!r} taken for {names[column]!r}, {times}"


def grid(
    images: Num[np.ndarray, "N H W C"],
    captions: Sequence[str],
    *,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    columns: int = 8,
    title: str = "",
) -> Image.Image:
    """Images as the model sees them, pixel by pixel, with their captions below.

    Float images are (x / 255 - mean) / std and turned back; uint8 images are shown as they are.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = images.astype(np.float32) * np.asarray(std) + np.asarray(mean)
        images = (np.clip(np.nan_to_num(images), 0, 1) * 255).round().astype(np.uint8)
    columns = max(1, min(columns, len(images)))
    gap = 12
    side = min((WIDTH - 2 * MARGIN - gap * (columns - 1)) / columns, 200)
    text = 46  # height of a caption
    top = TOP if title else MARGIN
    page = Page(WIDTH, top + -(-len(images) // columns) * (side + text))
    if title:
        lines = fit(title, WIDTH - 2 * MARGIN, size=15, bold=True)
        page.text(MARGIN, 28, lines, size=15, bold=True)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x = MARGIN + (side + gap) * (place % columns)
        y = top + (side + text) * (place // columns)
        page.image(x, y, side, image, sharp=True)
        page.box(x, y, side, side, edge=LINE)
        page.text(x, y + side + 11, fit(caption, side, size=10, lines=2), size=10, color=INK)
    return page.render(f"{title or 'Pictures'}: {'; '.join(captions)}")
