"""From frames of speech to utterances: where one begins, and when it is over.

* It begins with `onset` of speech at a stretch, `lead` earlier so that soft first sounds are heard.
* It is over after `pause` without speech, and ends `tail` behind the last of it.
* Frame by frame: any blocks of a stream give the same utterances.

Letters: F frames.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from mmjax.streaming.activity import FRAME, RATE
from mmjax.typing import Bool


@dataclasses.dataclass(frozen=True)
class Config:
    onset: float = 0.06  # seconds of speech that begin an utterance
    lead: float = 0.3  # seconds that are heard before it
    pause: float = 0.8  # seconds without speech that end it
    tail: float = 0.3  # seconds of the pause that still belong to it


class Span(NamedTuple):
    """Frames of an utterance."""

    begin: int
    end: int
    speech: int  # behind the last frame of speech


class Endpoint:
    """Follows one stream; `begin` is the first frame of an utterance that is not over, `speech` the
    one behind the last frame of speech."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.begin: int | None = None
        self.frame = 0  # the next one
        self._stretch = 0  # frames of speech without a pause
        self.speech = 0  # behind the last frame of speech
        self._free = 0  # no utterance begins before this frame

    def push(self, speech: Bool[np.ndarray, " F"]) -> list[Span]:
        """Utterances that are over with the next frames."""
        found = (self._next(one) for one in speech.tolist())
        return [span for span in found if span is not None]

    def skip(self, frames: int) -> list[Span]:
        """Frames of which nothing is known: what was said before them is over."""
        over = self.close()
        self._stretch = 0
        self.frame += frames
        self._free = self.frame
        return over

    def close(self) -> list[Span]:
        """The utterance that the end of the stream ends."""
        if self.begin is None:
            return []
        return [self._ended()]

    def _next(self, speech: bool) -> Span | None:
        c = self.config
        self.frame += 1
        self._stretch = self._stretch + 1 if speech else 0
        if speech:
            self.speech = self.frame
        if self.begin is None:
            if self._stretch and self._stretch >= frames(c.onset):
                begin = self.frame - self._stretch - frames(c.lead)
                self.begin = max(begin, self._free)
            return None
        if self.frame - self.speech >= frames(c.pause):
            return self._ended()
        return None

    def _ended(self) -> Span:
        end = min(self.speech + frames(self.config.tail), self.frame)
        span = Span(self.begin, end, self.speech)
        self.begin = None
        self._stretch = 0
        self._free = end
        return span


def frames(seconds: float) -> int:
    """The nearest number of frames."""
    return round(seconds * RATE / FRAME)
