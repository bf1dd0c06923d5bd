"""Retrieval sheets: what a model finds for a few fixed queries, right ones green, wrong ones red.

* The queries are drawn once from the number of items, so the sheets of two evaluations, or of two
  models on the same data, can be laid side by side.
* Several retrievals (one per style) take turns in giving a query, each with its own candidates.
* A query whose right answer is not among the five best shows it with its rank.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmjax.evaluation import pictures
from mmjax.evaluation.page import (
    GREEN,
    GREEN_TINT,
    INK,
    LINE,
    MUTED,
    RED,
    RED_TINT,
    WIDTH,
    Page,
    fit,
)
from mmjax.evaluation.ranking import Items

Example = Callable[[int], Mapping[str, Any]]
BEST = 5  # candidates shown


def drawable(shown: Any) -> bool:
    """Whether a sheet can show it: a text, several, or a picture uint8 [H, W, C]."""
    if isinstance(shown, tuple | list):
        return bool(shown) and drawable(shown[0])
    if isinstance(shown, np.ndarray):
        return shown.dtype == np.uint8 and shown.ndim == 3
    return isinstance(shown, str)


class Answer(NamedTuple):
    query: Any  # text or image
    truth: Any  # its best right candidate
    rank: int  # of that one, from 1, ties in the order of the data
    found: list[tuple[Any, float, bool]]  # the best candidates: item, score, right


def draw(
    parts: Sequence[tuple[Items, Items]], query: str, candidate: str, example: Example, count: int
) -> Image.Image:
    """The sheet of `count` queries; parts: (queries, candidates) of each separate retrieval."""
    chosen = []
    for number in range(count):
        queries, candidates = parts[number % len(parts)]
        order = np.random.default_rng(number % len(parts)).permutation(len(queries.group))
        place = number // len(parts)
        if place < len(order) and (candidates.group == queries.group[order[place]]).any():
            chosen.append(_answer(queries, candidates, order[place], query, candidate, example))
    sizes = sorted({len(candidates.group) for _, candidates in parts})
    among = " or ".join(f"{size:,}" for size in sizes)
    title = f"{query.capitalize()} to {candidate}: the best {BEST} of {among}"
    texts = bool(chosen) and isinstance(chosen[0].truth, str)
    draw_sheet = _text_sheet if texts else _image_sheet
    return draw_sheet(chosen, title)


def similarity(
    rows: Items, columns: Items, row: str, column: str, example: Example, count: int
) -> Image.Image:
    """Scores of `count` fixed items and one right answer each, sorted by group."""
    order = np.random.default_rng(0).permutation(len(rows.group))
    first = {group: place for place, group in reversed(list(enumerate(columns.group)))}
    order = [place for place in order if rows.group[place] in first][:count]
    order = sorted(order, key=lambda place: (rows.group[place], place))
    others = [first[rows.group[place]] for place in order]
    return pictures.matrix(
        rows.vectors[order] @ columns.vectors[others].T,
        [_show(example, row, rows, place) for place in order],
        [_show(example, column, columns, place) for place in others],
        f"Similarity of {len(order)} {row}s (rows) and their {column}s (columns)",
    )


def hits(
    query: Any, found: Sequence[Any], names: Sequence[str], scores: Sequence[float]
) -> Image.Image:
    """What a search found, the best first: pictures with their names, or lines of text.

    Args:
      query: a text, or an image uint8 [H, W, 3].
    """
    columns = 6
    side = 112
    top = 44 if isinstance(query, str) else 148
    step = (WIDTH - 32) / columns
    texts = all(isinstance(item, str) for item in found)
    page = Page(WIDTH, top + (20 * len(found) if texts else 168 * -(-len(found) // columns)) + 12)
    if isinstance(query, str):
        page.text(16, 22, fit(query, WIDTH - 32, size=15, bold=True), size=15, bold=True)
    else:
        page.image(16, 12, side, query)
        page.box(16, 12, side, side, edge=INK)
    for number, (item, name, score) in enumerate(zip(found, names, scores, strict=True)):
        if texts:
            middle = top + 20 * number + 10
            page.text(16, middle, f"{score:.2f}", size=11, color=MUTED)
            page.text(56, middle, fit(name, WIDTH - 72))
            continue
        x = 16 + step * (number % columns)
        y = top + 168 * (number // columns)
        page.image(x, y, side, item)
        page.box(x, y, side, side, edge=LINE)
        page.text(x, y + side + 13, f"{score:.2f}", size=11, color=MUTED)
        page.text(x, y + side + 28, fit(name, side, size=10, lines=2), size=10)
    return page.render()


def _answer(queries, candidates, place, query, candidate, example) -> Answer:
    scores = candidates.vectors @ queries.vectors[place]
    right = candidates.group == queries.group[place]
    order = np.argsort(-scores, kind="stable")
    rank = int(np.flatnonzero(right[order])[0])
    found = [
        (_show(example, candidate, candidates, other), float(scores[other]), bool(right[other]))
        for other in order[:BEST]
    ]
    truth = _show(example, candidate, candidates, order[rank])
    return Answer(_show(example, query, queries, place), truth, rank + 1, found)


def _show(example, side, items, place):
    shown = example(int(items.index[place]))[side]
    return shown[items.number[place]] if isinstance(shown, tuple | list) else shown


def _header(page: Page, title: str) -> None:
    page.text(16, 24, title, size=15, bold=True)
    x = WIDTH - 122
    for right in (True, False):
        _mark(page, x, 24, right)
        page.text(x + 13, 24, "right" if right else "wrong", color=MUTED)
        x += 64


def _mark(page: Page, x, y, right: bool) -> None:
    page.box(x - 8, y - 8, 16, 16, fill=GREEN_TINT if right else RED_TINT)
    page.text(x, y, "✓" if right else "✗", size=11, color=GREEN if right else RED, align="center")


def _text_sheet(answers: Sequence[Answer], title: str) -> Image.Image:
    """Two columns of queries (images, or texts of another kind); candidates as lines of text."""
    card = (WIDTH - 48) / 2  # width of a query with its candidates
    height = 148
    side = 116
    page = Page(WIDTH, 52 + height * -(-len(answers) // 2))
    _header(page, title)
    for number, answer in enumerate(answers):
        x = 16 + (card + 16) * (number % 2)
        y = 52 + height * (number // 2)
        if isinstance(answer.query, str):
            page.text(x, y + 20, fit(answer.query, side, lines=6))
        else:
            page.image(x, y + 4, side, answer.query)
            page.box(x, y + 4, side, side, edge=LINE)
        left = x + side + 12
        width = card - side - 12
        rank = f"rank {answer.rank:,}"
        page.text(left, y + 11, fit(answer.truth, width - 52, bold=True), bold=True)
        page.text(left + width, y + 11, rank, size=11, color=MUTED, align="right")
        for line, (text, score, right) in enumerate(answer.found):
            middle = y + 33 + 20 * line
            _mark(page, left + 8, middle, right)
            page.text(left + 22, middle, f"{score:.2f}", size=11, color=MUTED)
            page.text(left + 54, middle, fit(text, width - 54), color=GREEN if right else INK)
    return page.render()


def _image_sheet(answers: Sequence[Answer], title: str) -> Image.Image:
    """One query a row; candidates as framed images, the right one behind a line if not found."""
    height = 134  # of a row
    side = 98  # edge of an image
    first = 204  # where candidates begin
    step = 108  # from one to the next
    page = Page(WIDTH, 52 + height * len(answers))
    _header(page, title)
    for row, answer in enumerate(answers):
        y = 56 + height * row
        if isinstance(answer.query, str):
            lines = fit(answer.query, first - 40, size=13, bold=True, lines=4)
            page.text(16, y + 14, lines, size=13, bold=True)
            below = y + 16 + 16.25 * len(lines)
        else:
            page.image(16, y, side, answer.query)
            below = y + side + 12
        page.text(16, below, f"rank {answer.rank:,}", size=11, color=MUTED)
        for place, (image, score, right) in enumerate(answer.found):
            _candidate(page, first + step * place, y, side, image, f"{score:.2f}", right)
        if answer.rank > len(answer.found):
            x = first + step * BEST
            page.box(x - (step - side) / 2, y, 0, side + 20, edge=LINE)
            _candidate(page, x, y, side - 8, answer.truth, f"right: rank {answer.rank:,}", None)
    return page.render()


def _candidate(page, x, y, side, image, label, right):
    color = LINE if right is None else GREEN if right else RED
    page.image(x, y, side, image)
    page.box(x, y, side, side, edge=color, line=1 if right is None else 2.5)
    if right is None:
        page.text(x + side / 2, y + side + 13, label, size=11, color=MUTED, align="center")
        return
    _mark(page, x + side / 2 - 18, y + side + 14, right)
    page.text(x + side / 2 - 4, y + side + 14, label, size=11, color=MUTED)
