"""Matrices and image grids, in the style of evaluation/page.py. All return PIL images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Num
from PIL import Image

from mmjax.evaluation.page import INK, LINE, MUTED, WIDTH, Page, fit


def number(value: float | int) -> str:
    """Three digits, with an exponent only where zeros would hide them: 0.541, 93, 2.5e-6."""
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def spread(places: Sequence[float | int], gap: float) -> list[float]:
    """`places` in 0 to 1, moved as little as needed so that labels there are `gap` apart."""
    order = np.argsort(places, kind="stable")
    out = np.asarray(places, float)[order]
    for _ in range(50):
        for i in range(1, len(out)):
            short = gap - (out[i] - out[i - 1])
            if short > 1e-9:
                out[i - 1], out[i] = out[i - 1] - short / 2, out[i] + short / 2
        out += max(0.0, -out.min()) - max(0.0, out.max() - 1)
    in_order_given = np.empty_like(out)
    in_order_given[order] = out
    return in_order_given.tolist()


def matrix(
    values: Num[np.ndarray, "R C"], rows: Sequence[Any], columns: Sequence[Any], title: str
) -> Image.Image:
    """A matrix as colours. Rows and columns are named by texts or by small images."""
    size = min(22.0, 704 / max(len(rows), 1))  # edge of a cell
    text_width = 150
    left = 16 + (text_width if rows and isinstance(rows[0], str) else size + 6)
    written = bool(columns) and isinstance(columns[0], str)
    top = 44
    below = text_width if written else size + 8
    page = Page(WIDTH, top + size * len(rows) + below + 8)
    page.text(16, 22, title, size=15, bold=True)
    axes = page.axes(left, top, size * len(columns), size * len(rows))
    # The ends of the scale leave out a few values, so that one of them does not pale all others.
    low, high = np.percentile(values, [1, 99.5]) if values.size else (0, 1)
    shown = axes.imshow(values, cmap="Blues", vmin=low, vmax=max(high, low + 1e-6), aspect="auto")
    axes.set(xticks=[], yticks=[])
    letters = min(11, size * 0.62)
    for row, name in enumerate(rows):
        middle = top + size * (row + 0.5)
        if isinstance(name, str):
            line = fit(name, text_width, size=letters)
            page.text(left - 6, middle, line, size=letters, align="right")
        else:
            page.image(16, middle - size / 2 + 0.5, size - 1, name)
    for column, name in enumerate(columns):
        middle = left + size * (column + 0.5)
        y = top + size * len(rows) + 6
        if isinstance(name, str):
            line = fit(name, text_width - 8, size=letters)[0]
            page.rising(middle, y, line, size=letters)
        else:
            page.image(middle - size / 2 + 0.5, y, size - 1, name)
    bar = page.axes(left + size * len(columns) + 16, top, 10, min(120, size * len(rows)))
    page.figure.colorbar(shown, cax=bar)
    bar.tick_params(labelsize=10, labelcolor=MUTED, color=LINE)
    bar.spines["outline"].set_visible(False)
    return page.render()


def confusion(counts: Num[np.ndarray, "R R"], names: Sequence[str]) -> Image.Image:
    """Shares of the predictions (columns) for each true class (rows), with the counts if few."""
    total = counts.sum(1, keepdims=True)
    share = counts / np.maximum(total, 1)
    few = len(names) <= 20
    if few:
        size = min(52.0, 660 / len(names))  # edge of a cell
        label = 150  # width of the classes' names
        letters = 11
    else:
        size = min(20.0, 640 / len(names))
        label = 130
        letters = size * 0.62
    legible = letters >= 6
    left = 16 + (label if legible else 0)
    top = 68
    page = Page(WIDTH, top + size * len(names) + (label if legible else 0) + 8)
    right = np.trace(counts) / max(counts.sum(), 1)
    page.text(16, 22, f"Confusion of {len(names)} classes", size=15, bold=True)
    note = f"{right:.1%} of {counts.sum():,} right; rows: the true class, columns: the answer"
    page.text(16, 46, note, size=11, color=MUTED)
    axes = page.axes(left, top, size * len(names), size * len(names))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xticks=[], yticks=[])
    for row, name in enumerate(names if legible else ()):
        line = fit(name, label - 8, size=letters)[0]
        middle = size * (row + 0.5)
        page.text(left - 6, top + middle, line, size=letters, align="right")
        page.rising(left + middle, top + size * len(names) + 6, line, size=letters)
    for row, column in np.argwhere(counts > 0) if few else ():
        color = "white" if share[row, column] > 0.55 else INK
        page.text(left + size * (column + 0.5), top + size * (row + 0.5),
                  f"{counts[row, column]:,}", size=10, color=color, align="center")
    return page.render()


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
    step = min((WIDTH - 20) / columns, 210)
    side = step - 12
    text = 46  # height of a caption
    top = 44 if title else 12
    page = Page(WIDTH, top + -(-len(images) // columns) * (side + text) + 4)
    if title:
        page.text(16, 22, fit(title, WIDTH - 32, size=15, bold=True), size=15, bold=True)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x = 16 + step * (number % columns)
        y = top + (side + text) * (number // columns)
        page.image(x, y, side, image, sharp=True)
        page.box(x, y, side, side, edge=LINE)
        page.text(x, y + side + 11, fit(caption, side, size=10, lines=2), size=10, color=INK)
    return page.render()
