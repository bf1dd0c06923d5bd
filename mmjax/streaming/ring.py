"""The last seconds of an endless stream, in memory that never grows.

    ring = Ring(80_000)
    ring.append(samples)
    ring.read(ring.end - 16_000, ring.end)  # the last second

* Samples are named by their place in the stream: `start` is the oldest that is still there, `end`
  the one that comes next. What no longer fits is forgotten, oldest first.

Letters: T samples.
"""

from __future__ import annotations

import numpy as np

from mmjax.typing import Float


class Ring:
    """So many samples at most, float32."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a ring holds 1 sample or more, not {capacity}")
        self._samples = np.zeros(capacity, np.float32)
        self.start = 0
        self.end = 0

    @property
    def capacity(self) -> int:
        """Samples that it can hold."""
        return len(self._samples)

    def append(self, samples: Float[np.ndarray, " T"]) -> None:
        """Samples that follow the last ones."""
        kept = samples[-self.capacity :]
        place = (self.end + len(samples) - len(kept)) % self.capacity
        head = min(len(kept), self.capacity - place)
        self._samples[place : place + head] = kept[:head]
        self._samples[: len(kept) - head] = kept[head:]
        self.end += len(samples)
        self.start = max(self.start, self.end - self.capacity)

    def read(self, start: int, end: int) -> Float[np.ndarray, " T"]:
        """A copy of the samples from `start` to before `end`.

        Raises:
          IndexError: some that are forgotten, or have not come yet.
        """
        if not self.start <= start <= end <= self.end:
            raise IndexError(
                f"samples {start} to {end} are asked for; {self.start} to {self.end} are here"
            )
        place = start % self.capacity
        length = end - start
        head = self._samples[place : place + length]
        return np.concatenate([head, self._samples[: length - len(head)]])

    def restart(self, place: int) -> None:
        """Forgets everything; the next sample is at this place."""
        self.start = place
        self.end = place
