"""The processor of speech that is written down letter by letter: recordings and texts, and back.

* A text is learned as it is said, "Press 1." as "press one" (transforms/spoken.py), in the letters
  that the training texts have, or in those of a checkpoint.
* A batch holds recordings that are alike in length (hearing.py); texts are padded to the longest.

Letters: B batch, T frames or samples, L letters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Mixture, Shape
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.processors import base, hearing
from mmjax.processors.base import Sources
from mmjax.tokenizers import letters
from mmjax.tokenizers.letters import Letters
from mmjax.transforms.spoken import spoken

VOCABULARY = "vocab.json"
ON_PAPER = "abcdefghijklmnopqrstuvwxyz'"


@dataclasses.dataclass(frozen=True)
class Config:
    audio: hearing.Config = hearing.Config()  # how recordings are heard
    english: bool = True  # numerals are English words; False: they are left out of texts
    letters: str = ""  # folder of a checkpoint whose letters are learned; "": those of the texts

    def __post_init__(self) -> None:
        if self.audio.kind == "clap" or self.audio.long != "refuse" or self.audio.repeat:
            raise ConfigError(
                "every letter of a text is in its recording, from the beginning to the end: audio "
                'is of kind "mel", "ast" or "samples", long="refuse" and not repeated'
            )


@dataclasses.dataclass(frozen=True)
class Spell:
    """`text` -> int32 [L]: its letters. Raises CorruptExample for a text without any."""

    letters: Letters
    english: bool
    field: str = "text"  # that it works on
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        ids = self.letters.encode(self.said(example["text"]))
        if not ids:
            raise CorruptExample(f"{example['text']!r} holds no letter that is known")
        return {**example, "text": np.asarray(ids, np.int32)}

    def said(self, text: str | Sequence[str]) -> str:
        """A text, of several the first, as it is to be learned."""
        first = text if isinstance(text, str) else text[0]
        return self.letters.known(spoken(first, english=self.english))


class Processor(base.Processor):
    """Frames [T, M] or samples [T], and letters."""

    ragged = {"audio": 1, "text": 1}

    def __init__(self, config: Config, tokenizer: Letters):
        self.config = config
        self.tokenizer = tokenizer
        self.spell = Spell(tokenizer, config.english)
        of_frames = config.audio.kind != "samples"
        self.arguments = {"audio": "features" if of_frames else "samples", "audio_mask": "mask"}

    @property
    def train(self) -> tuple[Transform, ...]:
        return (*self.config.audio.train, self.spell)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        return (*self.config.audio.evaluate, self.spell)

    @property
    def sizes(self) -> Mapping[str, Any]:
        audio = self.config.audio
        bins = {} if audio.kind == "samples" else {"bins": audio.bins}
        return {
            **bins,
            "letters": self.tokenizer.vocab_size,
            "blank": self.tokenizer.blank,
        }

    def lengths(self, source: Source) -> Mapping[str, np.ndarray]:
        audio = self.config.audio.lengths(source, train=False)
        return {"audio": audio, "text": self._letters(source, audio)}

    def _letters(self, source: Source, audio: np.ndarray) -> np.ndarray:
        """Letters of each row's text; 1 where the recording is refused."""
        counts = [max(1, len(self.spell.said(text))) for text in _texts(source)]
        return np.where(audio > 1, counts, 1).astype(np.int32)

    def plan(self, plan: Mixture, sources: Sequence[Source]) -> BatchPlan:
        longest = max(int(self.lengths(source)["text"].max()) for source in sources)
        plan = dataclasses.replace(plan, shape={**plan.shape, "text": (longest,)})
        return self.config.audio.plan(plan, sources)

    def shape(self, source: Source) -> Shape:
        return {name: (int(rows.max()),) for name, rows in self.lengths(source).items()}

    def said(self, text: str) -> str:
        """A text as the model would write it."""
        return self.spell.said(text)

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The clip, and the words."""
        shown = self.config.audio.shown(arrays, row)
        if "text" in arrays:
            ids = np.asarray(arrays["text"][row])
            if "text_mask" in arrays:
                ids = ids[np.asarray(arrays["text_mask"][row]).astype(bool)]
            shown["text"] = self.tokenizer.decode(ids)
        return shown

    def save(self, folder: Path) -> None:
        """Writes vocab.json and tokenizer_config.json, unless they are there."""
        if not (Path(folder) / VOCABULARY).exists():
            self.tokenizer.save(folder)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor, with the letters that were saved, that the config names, or that the training
    texts have, in this order.

    Raises:
      FileNotFoundError: a folder without letters.
    """
    if saved is not None and (Path(saved) / VOCABULARY).exists():
        return Processor(config, letters.load(saved))
    if config.letters and (sources is not None or Path(config.letters).exists()):
        return Processor(config, letters.load(config.letters))
    if sources is None:
        return Processor(config, letters.train([ON_PAPER]))
    texts = (
        spoken(text if isinstance(text, str) else text[0], english=config.english)
        for source in sources()
        for text in _texts(source)
    )
    return Processor(config, letters.train(texts))


def _texts(source: Source) -> Iterable[Any]:
    """Of all rows, without reading their recordings where the source knows the texts."""
    column = source.column("text")
    return [source[row]["text"] for row in range(len(source))] if column is None else column


def paper(config: Config) -> Example:
    """A recording and a text as long as may be, for plans on paper."""
    seconds = config.audio.longest
    samples = np.zeros(round(seconds * config.audio.rate), np.float32)
    words = "a sound that says so " * max(1, round(seconds * 15 / 21))  # 15 letters a second
    return {"audio": samples, "text": words, "seconds": seconds, "group": 0}
