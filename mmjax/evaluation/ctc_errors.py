"""Word or letter errors of a CTC model, read greedily, or by beams with a language model.

* The task gives the logits of every frame; they are decoded here, because the language model is
  made of the training texts.
* Texts are compared as the processor writes them, numerals as words: nothing else could be said.
* The language model counts the processor's own letters, by their ids.
* Of some recordings people see the spectrogram, each letter of the greedy reading below its frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image

from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample, Source
from mmjax.evaluation.base import Ask, Context, Result
from mmjax.evaluation.drawing.letters import fit
from mmjax.evaluation.drawing.page import INK, MARGIN, MUTED, RED, SCALE, WIDTH, Page
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.word_errors import WordErrors
from mmjax.generation import ctc, ngram
from mmjax.typing import Natural, Positive, UInt8

AT_ONCE = 32  # rows that are decoded together
SHOWN = 4  # recordings whose spectrogram is shown
TOP = 48  # pixels above the first row of a sheet
HEIGHT = 72  # of a spectrogram
BELOW = 50  # its letters and what should be there
SPACE = "_"  # stands for the space between words


@dataclasses.dataclass(frozen=True)
class CtcErrors(WordErrors):
    """Fields: word_errors.py, texts.py."""

    predict: str = "logits"  # the task's predict function
    blank: Natural = 0  # letter that a frame says for nothing
    beams: Positive = 1  # texts that are followed; 1: the greedy reading
    order: Natural = 0  # letters of an n-gram of the training texts; 0: no language model
    weight: float = 0.5  # of the language model's log-probability
    bonus: float = 0.5  # nats for each letter, with a language model

    def check(self, context: Context) -> None:
        super().check(context)
        if not self.order:
            return
        if self.beams == 1:
            raise ConfigError("a language model needs beams to choose among: beams=16")
        if not context.training():
            raise ConfigError("order: no training set has the evaluated set's name")

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        out = predict(variables, batch)
        if "logits" not in out:
            raise ConfigError(f"predict gave no 'logits', only {', '.join(out)}")
        kept = {name: out[name] for name in ("logits", "logits_mask")}
        seen = {name: batch[name] for name in ("audio", "audio_mask") if name in batch}
        return {**kept, "media": seen}

    def finish(self, rows: Rows, context: Context) -> Result:
        result = super().finish(rows, context)
        heard = [self._heard(rows, place, context) for place in range(self._drawn(rows))]
        heard = [one for one in heard if one is not None]
        if heard:
            title = "Each letter where it is heard, and what should have been said"
            result.media["letters"] = sheet(heard, title)
        return result

    def illustrate(self, rows: Rows, context: Context, ask: Ask) -> dict[str, Any]:
        """Nothing more: there is no attention to pictures."""
        return {}

    def _drawn(self, rows: Rows) -> int:
        """How many recordings are shown."""
        return min(SHOWN, len(rows.get("media", {}).get("index", ())))

    def _heard(self, rows: Rows, place: int, context: Context) -> Heard | None:
        """The greedy reading of one recording; None where it has no picture."""
        media = rows["media"]
        picture = context.show({"audio": media["audio"], "audio_mask": media["audio_mask"]}, place)
        if "audio" not in picture:
            return None
        row = int(np.flatnonzero(rows["index"] == media["index"][place])[0])
        logits = jnp.asarray(rows["logits"][row : row + 1])
        mask = jnp.asarray(rows["logits_mask"][row : row + 1])
        best, begins = (np.asarray(one)[0] for one in ctc.spoken_frames(logits, mask, self.blank))
        frames = np.flatnonzero(begins)
        letters = []
        for frame in frames.tolist():
            letter = context.show(_text(best[frame : frame + 1]), 0)[self.text]
            letters.append((letter, (frame + 0.5) / int(mask.sum())))
        said = context.show(_text(best[frames]), 0)[self.text]
        only = {"index": rows["index"][row : row + 1]}
        return Heard(picture["audio"], tuple(letters), said, self.references(only, context)[0][0])

    def references(self, rows: Rows, context: Context) -> list[list[str]]:
        texts = super().references(rows, context)
        return [[written(context, text) for text in several] for several in texts]

    def predictions(self, rows: Rows, context: Context) -> list[str]:
        language = None
        if self.order:
            model = ngram.train(identities(context, context.training()), self.order)
            names = identities_of(rows["logits"].shape[-1], self.blank)
            language = ngram.automaton(model, names)
        texts: list[str] = []
        for first in range(0, len(rows["index"]), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            found = self._read(rows["logits"][part], rows["logits_mask"][part], language)
            arrays = {self.text: np.asarray(found.text), self._fields[1]: np.asarray(found.mask)}
            count = len(arrays[self.text])
            texts += [context.show(arrays, row)[self.text] for row in range(count)]
        return texts

    def _read(
        self, logits: np.ndarray, mask: np.ndarray, language: ngram.Automaton | None
    ) -> ctc.Read:
        logits = jnp.asarray(logits)
        mask = jnp.asarray(mask)
        if self.beams == 1:
            return ctc.greedy(logits, mask, self.blank)
        bonus = self.bonus if language is not None else 0.0
        found = ctc.search(
            logits, mask, self.blank, beams=self.beams, language=language, weight=self.weight,
            bonus=bonus,
        )  # fmt: skip
        return ctc.Read(found.text[:, 0], found.mask[:, 0])


def _text(ids: np.ndarray) -> dict[str, np.ndarray]:
    """A batch of one text."""
    return {"text": ids[None], "text_mask": np.ones((1, len(ids)), bool)}


def written(context: Context, text: str) -> str:
    """A text as the processor writes it; "" where nothing of it is left."""
    try:
        return context.show(context.encode([{"text": text}]), 0)["text"]
    except CorruptExample:
        return ""


def identities(context: Context, sources: Iterable[Source]) -> list[list[str]]:
    """The ids of the letters of training texts, as tokens of a language model."""
    out = []
    for source in sources:
        for row in range(len(source)):
            try:
                ids = context.encode([{"text": source[row]["text"]}])["text"][0]
            except CorruptExample:
                continue
            out.append([str(one) for one in ids.tolist()])
    return out


def identities_of(vocabulary: int, blank: int) -> Sequence[str]:
    """The tokens of all ids; of the blank none."""
    return ["" if one == blank else str(one) for one in range(vocabulary)]


class Heard(NamedTuple):
    """One recording."""

    picture: UInt8[np.ndarray, "M T 3"]  # low frequencies below
    letters: tuple[tuple[str, float], ...]  # each with the share of the time that is over by then
    said: str  # what is read of them
    wanted: str  # what should have been said


def sheet(rows: Sequence[Heard], title: str) -> Image.Image:
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


Config = CtcErrors  # what a config's sub-tree of this evaluator is turned into
