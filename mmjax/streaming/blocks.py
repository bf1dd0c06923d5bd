"""Chunks of any size and time -> blocks of one hop, so that all behind sees one rhythm.

* However a sound is chunked, its blocks are the same, and so is everything that is made of them.
* A chunk may bear a time stamp, on the clock of its source. A stamp that is later than the samples
  before it say is a gap: its samples are missing, marked and never taken for silence that was
  heard. Blocks of which nothing is there are left out: their number is skipped. A stamp that is
  earlier is sound that was here already, and is dropped; one that is much earlier is a clock that
  was set back.
* Two clocks never agree. What a stamp differs by, less than `jitter`, moves the offset between
  samples and clock slowly: a drift of 1,000 parts per million is followed 10 ms behind, and is no
  gap however long it lasts.
* NaN and infinity are missing samples too.

Letters: T samples, H samples of a hop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmjax.typing import Bool, Float

SETTLE = 10.0  # seconds in which the offset follows the clock
OVERLAP = 1.0  # seconds that may come twice; a clock that goes back farther was set back


class Chunk(NamedTuple):
    """What a source gives at a time."""

    samples: Float[np.ndarray, " T"]
    time: float | None = None  # seconds of the first sample; None: it follows the last chunk


class Block(NamedTuple):
    """One hop of sound."""

    samples: Float[np.ndarray, " H"]  # float32, zeros where they are missing
    there: Bool[np.ndarray, " H"]  # False: missing
    start: int  # place in the stream, a multiple of the hop


class Lost(NamedTuple):
    """A span of the stream that is not as it should be; seconds of the stream."""

    start: float
    end: float
    why: str


class Blocks:
    """Puts a stream into blocks.

    Args:
      rate: samples per second.
      hop: samples of a block.
      jitter: seconds that a stamp may be off.
    """

    def __init__(self, rate: int, hop: int, jitter: float = 0.1) -> None:
        self.rate = rate
        self.hop = hop
        self.offset = 0.0  # seconds of the clock at sample 0
        self._jitter = jitter
        self._begun = False
        self._place = 0  # of the next sample
        self._samples = np.zeros(hop, np.float32)  # the block that is being filled
        self._there = np.zeros(hop, bool)

    def push(self, chunk: Chunk) -> Iterator[Block | Lost]:
        """The blocks that a chunk completes, and what is wrong with it, in their order."""
        samples = np.asarray(chunk.samples, np.float32)
        if chunk.time is not None:
            jump = chunk.time - self._clock()
            if not self._begun:
                self.offset = chunk.time
            elif jump > self._jitter:
                yield from self._skip(round(jump * self.rate))
            elif jump < -self._jitter:
                again, why = self._again(jump, len(samples))
                yield Lost(self._clock(), self._clock(), why)
                samples = samples[again:]
            else:
                share = min(1.0, len(samples) / self.rate / SETTLE)
                self.offset += share * jump
        self._begun = True
        finite = np.isfinite(samples)
        if not finite.all():
            bad = int(len(samples) - finite.sum())
            end = self._clock() + len(samples) / self.rate
            yield Lost(self._clock(), end, f"{bad} samples are NaN or infinite")
            samples = np.where(finite, samples, 0)
        yield from self._fill(samples, finite)

    def flush(self) -> Iterator[Block]:
        """The last block, its end missing."""
        rest = -self._place % self.hop
        if rest:
            yield from self._fill(np.zeros(rest, np.float32), np.zeros(rest, bool))

    def seconds(self, place: int) -> float:
        """The clock's time of a place in the stream."""
        return place / self.rate + self.offset

    def _clock(self) -> float:
        return self.seconds(self._place)

    def _again(self, jump: float, length: int) -> tuple[int, str]:
        """How many samples are dropped for a stamp that is early, and what is said of it."""
        if jump < -OVERLAP:
            self.offset += jump
            return 0, f"the clock was set back by {-jump:.2f} seconds"
        again = min(length, round(-jump * self.rate))
        return again, f"{again / self.rate:.2f} seconds came twice, and are dropped"

    def _skip(self, missing: int) -> Iterator[Block | Lost]:
        """A gap: the block that it begins in is filled up, whole ones are left out."""
        start = self._clock()
        end = start + missing / self.rate
        yield Lost(start, end, f"{missing / self.rate:.2f} seconds are missing")
        first = min(missing, -self._place % self.hop)
        yield from self._fill(np.zeros(first, np.float32), np.zeros(first, bool))
        whole = (missing - first) // self.hop * self.hop
        self._place += whole
        rest = missing - first - whole
        yield from self._fill(np.zeros(rest, np.float32), np.zeros(rest, bool))

    def _fill(
        self, samples: Float[np.ndarray, " T"], there: Bool[np.ndarray, " T"]
    ) -> Iterator[Block]:
        done = 0
        while done < len(samples):
            at = self._place % self.hop
            size = min(self.hop - at, len(samples) - done)
            self._samples[at : at + size] = samples[done : done + size]
            self._there[at : at + size] = there[done : done + size]
            self._place += size
            done += size
            if self._place % self.hop == 0:
                block = Block(self._samples.copy(), self._there.copy(), self._place - self.hop)
                if block.there.any():
                    yield block
