"""What was heard, with times."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Word:
    """A word with its punctuation."""

    text: str  # with the space before it
    start: float  # seconds
    end: float
    probability: float  # mean over its tokens


@dataclasses.dataclass(frozen=True)
class Segment:
    """What the model put between two times."""

    start: float  # seconds
    end: float
    text: str
    tokens: tuple[int, ...] = dataclasses.field(repr=False)  # times included
    temperature: float  # that the window's text was drawn at
    log_prob: float  # mean over the tokens of its window
    compression: float  # how many times shorter zlib makes the window's text
    no_speech: float  # probability that the window holds none
    words: tuple[Word, ...] = dataclasses.field(default=(), repr=False)  # where they were asked for


@dataclasses.dataclass(frozen=True)
class Transcript:
    """A recording, written down."""

    language: str  # "en"
    probability: float  # of the language; 1 where it was given
    seconds: float  # of the recording
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, where they were asked for."""
        return tuple(word for segment in self.segments for word in segment.words)
