"""Retrieval sheets: what a model finds for a few fixed queries, right answers marked green.

* The queries are drawn once from the number of items, so the sheets of two evaluations, or of two
  models on the same data, can be laid side by side.
* Several retrievals (one per style) take turns in giving a query, each with its own candidates.
* A query whose right answer is not among the five best shows it with its rank.
* A sound is drawn as its spectrogram, and can be listened to beside the sheet: `played`. A clip is
  drawn as its middle frame.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmjax.evaluation.drawing import pictures
from mmjax.evaluation.drawing.letters import fit, width_of
from mmjax.evaluation.drawing.page import GREEN, INK, LINE, MARGIN, MUTED, WIDTH, Page
from mmjax.evaluation.measures.ranking import Items
from mmjax.transforms.audio import DecodeAudio, Sound
from mmjax.transforms.mel import spectrogram
from mmjax.transforms.video import MIDDLE

Example = Callable[[int], Mapping[str, Any]]
BEST = 5  # candidates shown
TOP = 56  # where the first query begins, below the title
SIDE = 160  # pixels along the edges of a drawn spectrogram
PLAYED = 3  # candidates that are played one behind the other
SECONDS = 4.0  # of each of them, at most
DECODE = DecodeAudio()


def drawable(shown: Any) -> bool:
    """Whether a sheet can show it: a text, several, a picture uint8 [H, W, C], a clip uint8
    [T, H, W, C] or a sound."""
    if isinstance(shown, bytes | Sound):
        return True
    if isinstance(shown, tuple | list):
        return bool(shown) and drawable(shown[0])
    if isinstance(shown, np.ndarray):
        return shown.dtype == np.uint8 and shown.ndim in (3, 4)
    return isinstance(shown, str)


class Answer(NamedTuple):
    query: Any  # text or image
    truth: Any  # its best right candidate
    rank: int  # of that one, from 1, ties in the order of the data
    found: list[tuple[Any, float, bool]]  # the best candidates: item, score, right


def answers(
    parts: Sequence[tuple[Items, Items]], query: str, candidate: str, example: Example, count: int
) -> list[Answer]:
    """What is found for `count` queries; parts: (queries, candidates) of each separate
    retrieval."""
    chosen = []
    for number in range(count):
        queries, candidates = parts[number % len(parts)]
        order = np.random.default_rng(number % len(parts)).permutation(len(queries.group))
        place = number // len(parts)
        if place < len(order) and (candidates.group == queries.group[order[place]]).any():
            chosen.append(_answer(queries, candidates, order[place], query, candidate, example))
    return chosen


def draw(
    chosen: Sequence[Answer], sizes: Sequence[int], query: str, candidate: str
) -> Image.Image:
    """The sheet of some queries; sizes: how many candidates there are in each retrieval."""
    among = " or ".join(f"{size:,}" for size in sorted(set(sizes)))
    title = f"{query.capitalize()} to {candidate}: the best {BEST} of {among}"
    texts = bool(chosen) and isinstance(chosen[0].truth, str)
    draw_sheet = _text_sheet if texts else _image_sheet
    return draw_sheet(chosen, title)


def played(chosen: Sequence[Answer]) -> dict[str, Sound]:
    """The sounds of a sheet, to be listened to, by the number of the query and its text: the query
    itself, or the best candidates, one behind the other."""
    out = {}
    for number, answer in enumerate(chosen, 1):
        if isinstance(answer.query, Sound):
            text, sounds = answer.truth, [answer.query]
        else:
            text, sounds = answer.query, [item for item, _, _ in answer.found[:PLAYED]]
        if isinstance(text, str) and all(isinstance(sound, Sound) for sound in sounds):
            name = re.sub(r"\W+", "_", text)[:40].strip("_")
            out[f"{number}_{name}"] = joined(sounds)
    return out


def joined(sounds: Sequence[Sound]) -> Sound:
    """Sounds of one rate one behind the other, half a second between them."""
    rate = sounds[0].rate
    parts = [np.zeros(rate // 2, np.float32)] * (2 * len(sounds) - 1)
    parts[::2] = [sound.samples[: round(SECONDS * rate)] for sound in sounds]
    return Sound(np.concatenate(parts), rate)


def heard(shown: Any) -> Any:
    """An item as it is seen or heard: the bytes of a sound decoded. Raises CorruptExample."""
    if isinstance(shown, bytes):
        return Sound(DECODE({"audio": shown})["audio"], DECODE.rate)
    return shown


def pixels(shown: Any) -> Any:
    """What is drawn of an item: of a sound its spectrogram, square."""
    if not isinstance(shown, Sound):
        return shown
    picture = Image.fromarray(spectrogram(shown))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


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
        [pixels(_show(example, row, rows, place)) for place in order],
        [pixels(_show(example, column, columns, place)) for place in others],
        f"Similarity of {len(order)} {row}s (rows) and their {column}s (columns)",
    )


def hits(
    query: Any, found: Sequence[Any], names: Sequence[str], scores: Sequence[float]
) -> Image.Image:
    """What a search found, the best first: pictures with their names, or lines of text.

    Args:
      query: a text, an image uint8 [H, W, 3] or a sound.
    """
    columns = 6
    gap = 12
    side = (WIDTH - 2 * MARGIN - gap * (columns - 1)) / columns
    row = side + 48  # height of a picture with its score and name
    top = 52 if isinstance(query, str) else 2 * MARGIN + side
    texts = all(isinstance(item, str) for item in found)
    lines = 20 * len(found) if texts else row * -(-len(found) // columns)
    page = Page(WIDTH, top + lines + MARGIN)
    if isinstance(query, str):
        title = fit(query, WIDTH - 2 * MARGIN, size=15, bold=True)
        page.text(MARGIN, 28, title, size=15, bold=True)
    else:
        page.image(MARGIN, MARGIN, side, pixels(query))
        page.box(MARGIN, MARGIN, side, side, edge=INK)
    for number, (item, name, score) in enumerate(zip(found, names, scores, strict=True)):
        if texts:
            middle = top + 20 * number + 10
            page.text(MARGIN, middle, f"{score:.2f}", size=11, color=MUTED)
            page.text(MARGIN + 40, middle, fit(name, WIDTH - 2 * MARGIN - 40))
            continue
        x = MARGIN + (side + gap) * (number % columns)
        y = top + row * (number // columns)
        page.image(x, y, side, pixels(item))
        page.box(x, y, side, side, edge=LINE)
        page.text(x, y + side + 13, f"{score:.2f}", size=11, color=MUTED)
        page.text(x, y + side + 28, fit(name, side, size=10, lines=2), size=10)
    asked = query if isinstance(query, str) else "a picture"
    asked = "a sound" if isinstance(query, Sound) else asked
    return page.render(f"The best {len(found)} for {asked}: {', '.join(names)}")


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
    row = example(int(items.index[place]))
    if side == MIDDLE.field:
        return MIDDLE(row)["video"][0]
    shown = row[side]
    several = isinstance(shown, tuple | list) and not isinstance(shown, Sound)
    return shown[items.number[place]] if several else heard(shown)


def _header(page: Page, title: str) -> None:
    page.text(MARGIN, 28, title, size=15, bold=True)
    page.text(WIDTH - MARGIN, 28, "right answer", color=MUTED, align="right")
    page.mark(WIDTH - MARGIN - 88, 28, right=True)


def _described(answers: Sequence[Answer], title: str) -> str:
    """The sheet in words."""
    ranks = []
    for answer in answers:
        texts = [side for side in (answer.query, answer.truth) if isinstance(side, str)]
        name = texts[0] if texts else "a picture"
        ranks.append(f"{name}: rank {answer.rank:,}")
    return f"{title}. Place of the right answer: {'; '.join(ranks)}"


def _text_sheet(answers: Sequence[Answer], title: str) -> Image.Image:
    """Two columns of queries (images, or texts of another kind); candidates as lines of text."""
    between = 28  # the two columns
    card = (WIDTH - 2 * MARGIN - between) / 2  # width of a query with its candidates
    height = 116
    step = height + 24
    rows = -(-len(answers) // 2)
    page = Page(WIDTH, TOP + step * rows)
    _header(page, title)
    for number, answer in enumerate(answers):
        x = MARGIN + (card + between) * (number % 2)
        y = TOP + step * (number // 2)
        _text_card(page, x, y, card, height, answer)
    return page.render(_described(answers, title))


def _text_card(page: Page, x, y, card, side, answer: Answer) -> None:
    """One query, its right answer with the rank, and the best candidates."""
    if isinstance(answer.query, str):
        page.text(x, y + 10, fit(answer.query, side, lines=7))
    else:
        page.image(x, y, side, pixels(answer.query))
        page.box(x, y, side, side, edge=LINE)
    left = x + side + 12
    width = card - side - 12
    rank = f"rank {answer.rank:,}"
    page.text(left, y + 7, fit(answer.truth, width - 60, bold=True), bold=True)
    page.text(left + width, y + 7, rank, size=11, color=MUTED, align="right")
    for line, (text, score, right) in enumerate(answer.found):
        middle = y + 29 + 20 * line
        page.text(left, middle, f"{score:.2f}", size=11, color=MUTED)
        if right:
            page.mark(left + 38, middle, right=True)
        color = GREEN if right else INK
        page.text(left + 52, middle, fit(text, width - 52), color=color)


def _image_sheet(answers: Sequence[Answer], title: str) -> Image.Image:
    """One query a row; candidates as framed images, the right one behind a line if not found."""
    first = 196  # where candidates begin
    gap = 12
    missed = any(answer.rank > len(answer.found) for answer in answers)
    columns = BEST + 1 if missed else BEST
    side = (WIDTH - MARGIN - first - gap * (columns - 1)) / columns
    step = side + 40  # from a row to the next
    page = Page(WIDTH, TOP + step * len(answers) + 4)
    _header(page, title)
    for row, answer in enumerate(answers):
        y = TOP + step * row
        if isinstance(answer.query, str):
            lines = fit(answer.query, first - MARGIN - 20, size=13, bold=True, lines=4)
            page.text(MARGIN, y + 8, lines, size=13, bold=True)
            below = y + 10 + 16.25 * len(lines)
        else:
            page.image(MARGIN, y, side, pixels(answer.query))
            page.box(MARGIN, y, side, side, edge=LINE)
            below = y + side + 14
        page.text(MARGIN, below, f"rank {answer.rank:,}", size=11, color=MUTED)
        for place, (image, score, right) in enumerate(answer.found):
            x = first + (side + gap) * place
            _candidate(page, x, y, side, image, f"{score:.2f}", right)
        if answer.rank > len(answer.found):
            x = first + (side + gap) * BEST
            page.box(x - gap / 2, y, 0, side, edge=LINE)
            _candidate(page, x, y, side, answer.truth, f"rank {answer.rank:,}", True)
    return page.render(_described(answers, title))


def _candidate(page: Page, x, y, side, image, label: str, right: bool) -> None:
    page.image(x, y, side, pixels(image))
    page.box(x, y, side, side, edge=GREEN if right else LINE, line=2.5 if right else 1)
    page.text(x + side / 2, y + side + 14, label, size=11, color=MUTED, align="center")
    if right:
        page.mark(x + side / 2 - width_of(label, 11) / 2 - 13, y + side + 14, right=True)
