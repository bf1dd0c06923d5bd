"""What a listener tells, in the order in which it becomes known. Times are seconds of the source's
clock."""

from __future__ import annotations

from typing import NamedTuple

from mmjax.streaming.blocks import Lost as Lost
from mmjax.streaming.recognition import Word


class Confirmed(NamedTuple):
    """Words that never change any more; they follow those confirmed before."""

    words: tuple[Word, ...]


class Tentative(NamedTuple):
    """Words behind the confirmed ones as they are heard now; the next ones replace them."""

    words: tuple[Word, ...]


class Utterance(NamedTuple):
    """Everything that was confirmed between two pauses."""

    words: tuple[Word, ...]
    start: float
    end: float

    @property
    def text(self) -> str:
        """Its words."""
        return " ".join(word.text for word in self.words)


class Behind(NamedTuple):
    """More is said than can be recognised in the same time: so many hops are heard at once."""

    hops: int
    seconds: float  # of sound that were waiting


Event = Confirmed | Tentative | Utterance | Lost | Behind
