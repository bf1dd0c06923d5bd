"""The tokens of a window -> segments, and where the next window starts.

* Words between two times are a segment. Behind the last pair of times the words are unfinished: the
  next window starts there. A single time at the end says that nothing follows.
* Frames of the encoder's input are 10 ms, the model's times 20 ms apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

STEP = 2  # frames of a step of time
FRAMES = 100  # of a second


class Span(NamedTuple):
    """A segment of a window, in seconds from the start of the window."""

    start: float
    end: float
    tokens: tuple[int, ...]  # times included


class Split(NamedTuple):
    """The segments of a window."""

    spans: tuple[Span, ...]
    frames: int  # to the start of the next window
    complete: bool  # the window's text ends with a single time


def split(tokens: Sequence[int], first_time: int | None, frames: int) -> Split:
    """Cuts the text of a window.

    Args:
      tokens: what was said, without the end.
      first_time: id of <|0.00|>; None: the model knows no times.
      frames: of sound in the window.
    """
    tokens = tuple(tokens)
    seconds = frames / FRAMES
    if first_time is None:
        return Split((Span(0.0, seconds, tokens),), frames, False)
    is_time = [token >= first_time for token in tokens]
    pairs = [i for i in range(1, len(tokens)) if is_time[i] and is_time[i - 1]]
    complete = is_time[-2:] == [False, True]
    if not pairs:
        times = [token for token in tokens if token > first_time]
        end = _seconds(times[-1], first_time) if times else seconds
        return Split((Span(0.0, end, tokens),), frames, complete)
    edges = [0, *pairs]
    if complete:
        edges.append(len(tokens))
    spans = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        part = tokens[start:end]
        spans.append(Span(_seconds(part[0], first_time), _seconds(part[-1], first_time), part))
    if complete:
        return Split(tuple(spans), frames, True)
    last = tokens[edges[-1] - 1]
    return Split(tuple(spans), (last - first_time) * STEP, False)


def _seconds(token: int, first_time: int) -> float:
    return (token - first_time) * STEP / FRAMES
