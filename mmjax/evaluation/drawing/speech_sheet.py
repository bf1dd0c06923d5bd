"""A sheet of a recording: its spectrogram with the words on it, and what each token looked at.

* Time runs to the right, a line for every few seconds; low frequencies are below. A word stands
  below the sound between the two marks that it was heard between.
* The attention plot has a row for each token, light where it looked; the path through it gave the
  words their times.

Letters: T frames of 10 ms, M mel bins, L tokens, C steps of 20 ms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from mmjax.evaluation.drawing.letters import Pixels, elided, fit
from mmjax.evaluation.drawing.page import INK, LINE, MARGIN, MUTED, WIDTH, Page

TOP = 56  # where the first line begins, below the title
SECONDS = 6.0  # of a line
SOUND = 110  # height of a spectrogram
BELOW = 74  # of the words, two rows of them, and of the seconds
TOKEN = 15  # height of a token's row in the attention plot
LABELS = 110  # width of the names of tokens
BETWEEN = 30


class Spoken(NamedTuple):
    """A word, and when it was heard."""

    text: str
    start: float  # seconds
    end: float


class Attention(NamedTuple):
    """What the tokens of a window looked at."""

    tokens: Sequence[str]  # L of them; the last row is the end's
    weights: Float[np.ndarray, "L+1 C"]  # normalised over the tokens
    times: Float[np.ndarray, " L+1"]  # seconds at which each begins


def draw(
    spectrogram: Float[np.ndarray, "T M"],
    words: Sequence[Spoken],
    title: str,
    attention: Attention | None = None,
) -> Image.Image:
    """The sheet of one recording.

    Args:
      spectrogram: log-mel, of the whole recording.
    """
    seconds = len(spectrogram) / 100
    lines = max(1, int(np.ceil(seconds / SECONDS)))
    height = TOP + lines * (SOUND + BELOW)
    plot = 0 if attention is None else TOKEN * len(attention.weights) + BETWEEN + 20
    page = Page(WIDTH, height + plot + MARGIN)
    room = WIDTH - 2 * MARGIN
    page.text(MARGIN, 28, fit(title, room, size=15, bold=True), size=15, bold=True)
    for line in range(lines):
        _line(page, TOP + line * (SOUND + BELOW), spectrogram, words, line * SECONDS)
    if attention is not None:
        _attention(page, height + 10, attention)
    said = ", ".join(f"{word.text.strip()} {word.start:.2f}" for word in words)
    return page.render(f"{title}. Words and the seconds at which they begin: {said}")


def _line(
    page: Page, y: Pixels, spectrogram: np.ndarray, words: Sequence[Spoken], first: float
) -> None:
    """A few seconds of sound, and the words that begin in them."""
    width = WIDTH - 2 * MARGIN
    part = spectrogram[round(100 * first) : round(100 * (first + SECONDS))]
    axes = page.axes(MARGIN, y, width, SOUND)
    axes.imshow(
        part.T, origin="lower", aspect="auto", cmap="magma", interpolation="nearest",
        extent=(first, first + len(part) / 100, 0, part.shape[1]),
        vmin=spectrogram.min(), vmax=spectrogram.max(),
    )  # fmt: skip
    axes.set_xlim(first, first + SECONDS)
    axes.set_ylim(0, part.shape[1])
    axes.set_yticks([])
    axes.set_xticks([])
    scale = width / SECONDS  # pixels of a second
    own = [word for word in words if first <= word.start < first + SECONDS]
    for number, word in enumerate(own):
        x = MARGIN + (word.start - first) * scale
        end = min(word.end, first + SECONDS)
        axes.axvline(word.start, color="#ffffff", linewidth=0.7, alpha=0.8)
        row = number % 2
        behind = own[number + 2].start if number + 2 < len(own) else first + SECONDS
        top = y + SOUND + 14 + 17 * row
        page.box(x, y + SOUND + 3, max(1.0, (end - word.start) * scale - 1), 3, fill=INK)
        page.text(x, top, elided(word.text.strip(), (behind - word.start) * scale, size=11),
                  size=11)  # fmt: skip
    for second in range(int(np.ceil(first)), int(first + SECONDS) + 1):
        x = MARGIN + (second - first) * scale
        align = "right" if second == first + SECONDS else "left"
        page.text(x, y + SOUND + 50, f"{second} s", size=10, color=MUTED, align=align)


def _attention(page: Page, y: Pixels, attention: Attention) -> None:
    """The tokens' rows, with the path through them."""
    rows, steps = attention.weights.shape
    axes = page.axes(MARGIN + LABELS, y, WIDTH - 2 * MARGIN - LABELS, TOKEN * rows)
    high = np.percentile(attention.weights, 99.5)
    seconds = steps / 50
    axes.imshow(
        attention.weights, aspect="auto", cmap="viridis", interpolation="nearest",
        extent=(0, seconds, rows, 0), vmin=0, vmax=max(float(high), 1e-6),
    )  # fmt: skip
    ends = [*attention.times[1:].tolist(), seconds]
    for row, (start, end) in enumerate(zip(attention.times, ends, strict=True)):
        axes.plot([start, end], [row + 0.5, row + 0.5], color="#ff5d5d", linewidth=1.4)
        axes.plot([end, end], [row + 0.5, min(row + 1.5, rows)], color="#ff5d5d", linewidth=1.4)
    axes.set_xlim(0, seconds)
    axes.set_yticks([])
    for row, token in enumerate([*attention.tokens, "(the end)"]):
        middle = y + TOKEN * (row + 0.5)
        label = elided(token, LABELS - 10, size=10)
        page.text(MARGIN + LABELS - 8, middle, label, size=10, align="right")
    page.box(MARGIN + LABELS, y, WIDTH - 2 * MARGIN - LABELS, TOKEN * rows, edge=LINE)
