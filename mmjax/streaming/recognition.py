"""What a recogniser of a live stream is: a window of sound in, words with their times out.

* It is asked again and again about a window that grows at its end and is cut at its beginning. It
  keeps nothing that a window does not say, so that the same windows give the same words.
* Any callable will do: Whisper (run/listening.py), a CTC model (ctc.py), a service, a fake.

Letters: T samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mmjax.typing import Float


class Word(NamedTuple):
    """A word as it is written, with its punctuation and without spaces around it."""

    text: str
    start: float  # seconds: of the window where a recogniser says it, of the stream elsewhere
    end: float

    def moved(self, seconds: float) -> Word:
        """The same word on a clock that is so much ahead."""
        return Word(self.text, self.start + seconds, self.end + seconds)


class Window(NamedTuple):
    """What is to be recognised."""

    samples: Float[np.ndarray, " T"]  # one channel, 16 kHz; missing ones are zeros
    start: int  # place of the first sample in the stream
    before: tuple[str, ...] = ()  # confirmed words before the window, a prompt
    final: bool = False  # the utterance ends with this window


# Words of a window in their order, seconds from its first sample.
Recogniser = Callable[[Window], Sequence[Word]]
