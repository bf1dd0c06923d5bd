"""Words with times, from the times of their tokens.

* The attention of a word before a pause often reaches over the pause. As the reference does
  (whisper/timing.py of https://github.com/openai/whisper), words at the edges of sentences and
  segments are cut to twice the median length of a word.
* A punctuation mark joins its word, but the word keeps its own times.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mmjax.generation.transcription.alignment import Aligned
from mmjax.generation.transcription.transcript import Word
from mmjax.generation.transcription.words import CLOSING, OPENING, Spelled

SENTENCE_ENDS = ".。!！?？"
LONGEST_MEDIAN = 0.7  # seconds
PAUSE = 4  # median words of silence, behind which a word's start is doubtful
FAR = 0.5  # seconds between a word's edge and its segment's that are doubtful


@dataclasses.dataclass
class Timed:
    """A word that is still being moved."""

    text: str  # "" where it joined another
    tokens: int
    start: float  # seconds
    end: float
    probability: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclasses.dataclass
class Timing:
    """The words of a window, and how long one is."""

    words: list[Timed]
    median: float  # seconds of a word, at most LONGEST_MEDIAN

    @property
    def longest(self) -> float:
        return 2 * self.median


def timing(words: Sequence[Spelled], aligned: Aligned) -> Timing:
    """The words of a window's text, in seconds from its start."""
    edges = np.cumsum([0, *(len(word.tokens) for word in words)])
    timed = []
    for word, first, behind in zip(words, edges[:-1], edges[1:], strict=True):
        start, end = aligned.times[[first, behind]].tolist()
        mean = float(np.mean(aligned.probabilities[first:behind]))
        timed.append(Timed(word.text, len(word.tokens), start, end, mean))
    lengths = [word.seconds for word in timed if word.seconds]
    median = min(LONGEST_MEDIAN, float(np.median(lengths))) if lengths else 0.0
    found = Timing(timed, median)
    if lengths:
        _cut_at_sentences(found)
    _join_marks(timed)
    return found


def _cut_at_sentences(found: Timing) -> None:
    for before, word in zip(found.words[:-1], found.words[1:], strict=True):
        if word.seconds <= found.longest:
            continue
        if word.text in SENTENCE_ENDS:
            word.end = word.start + found.longest
        elif before.text in SENTENCE_ENDS:
            word.start = word.end - found.longest


def _join_marks(words: list[Timed]) -> None:
    behind = len(words) - 1
    for i in range(len(words) - 2, -1, -1):
        word = words[i]
        if word.text.startswith(" ") and word.text.strip() in OPENING:
            _join(word, words[behind], word.text + words[behind].text)
        else:
            behind = i
    before = 0
    for i in range(1, len(words)):
        word = words[i]
        if not words[before].text.endswith(" ") and word.text in CLOSING:
            _join(word, words[before], words[before].text + word.text)
        else:
            before = i


def _join(word: Timed, other: Timed, text: str) -> None:
    other.text = text
    other.tokens += word.tokens
    word.text = ""
    word.tokens = 0


@dataclasses.dataclass
class Placed:
    """A segment's words and its edges, which follow them."""

    words: list[Timed]
    start: float  # seconds
    end: float


def placed(
    found: Timing, spans: Sequence[tuple[int, float, float]], offset: float, spoken: float
) -> list[Placed]:
    """The words of a window, segment by segment.

    Args:
      spans: of each segment its number of word tokens, start and end, in seconds of the recording.
      offset: seconds of the recording at which the window starts.
      spoken: end of the last word before the window.
    """
    out = []
    number = 0
    for tokens, start, end in spans:
        words = []
        taken = 0
        while number < len(found.words) and taken < tokens:
            word = found.words[number]
            taken += word.tokens
            number += 1
            if word.text:
                times = [round(offset + word.start, 2), round(offset + word.end, 2)]
                words.append(dataclasses.replace(word, start=times[0], end=times[1]))
        segment = Placed(words, start, end)
        if words:
            _cut_at_pause(found, segment, spoken)
            _edges(found, segment)
            spoken = segment.end
        out.append(segment)
    return out


def _cut_at_pause(found: Timing, segment: Placed, spoken: float) -> None:
    """The first words behind a pause are no longer than others."""
    first = segment.words[0]
    second = segment.words[1] if len(segment.words) > 1 else None
    if first.end - spoken <= found.median * PAUSE:
        return
    pair = second is not None and second.end - first.start > 2 * found.longest
    if first.seconds <= found.longest and not pair:
        return
    if second is not None and second.seconds > found.longest:
        boundary = max(second.end / 2, second.end - found.longest)
        first.end = boundary
        second.start = boundary
    first.start = max(0.0, first.end - found.longest)


def _edges(found: Timing, segment: Placed) -> None:
    """Where words and the model's times are far apart, the model's times; else those of words."""
    first = segment.words[0]
    if segment.start < first.end and segment.start - FAR > first.start:
        first.start = max(0.0, min(first.end - found.median, segment.start))
    else:
        segment.start = first.start
    last = segment.words[-1]
    if segment.end > last.start and segment.end + FAR < last.end:
        last.end = max(last.start + found.median, segment.end)
    else:
        segment.end = last.end


def finished(segment: Placed) -> tuple[Word, ...]:
    """The words of a segment, which move no more."""
    return tuple(
        Word(word.text, word.start, word.end, word.probability) for word in segment.words
    )
