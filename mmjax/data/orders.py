"""In which order the rows of one source come: a pure function with random access.

* An order is asked for places: the n-th row that a mixture takes of this source, for any n. What it
  answers depends on nothing else, so a run continues at any step at once.
* Shuffling is a keyed permutation with random access (a Feistel network): no list of N numbers is
  ever made, each epoch has an order of its own, and every row comes exactly once per epoch.
* A curriculum (https://doi.org/10.1145/1553374.1553380) shuffles the easiest rows alone, more of
  them from stage to stage, and counts exactly how many times a row came before.
"""

import dataclasses
import hashlib
from typing import Protocol, runtime_checkable

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.source import DataError

Key = tuple[int, ...]
_ROUNDS = 8


@runtime_checkable
class Order(Protocol):
    """Of the rows of one source. Its repr says everything that decides the order."""

    size: int  # rows of the source
    fewest: int  # rows that it draws from at any time: all, or those of its smallest stage

    def __call__(self, places: np.ndarray, key: Key) -> tuple[np.ndarray, np.ndarray]:
        """(row, visit), int64 [n] each: visit says how many times the row came before.

        Args:
          places: int64 [n], how many rows of this source were taken before each.
          key: seed of the order.
        """


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """Every row once per epoch, each epoch in a new random order."""

    size: int

    @property
    def fewest(self) -> int:
        return self.size

    def __call__(self, places: np.ndarray, key: Key) -> tuple[np.ndarray, np.ndarray]:
        return shuffled(places, self.size, key)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of training that knows only the easiest rows."""

    share: float  # of the rows, the easiest ones; above 0, to 1
    until: int | None = None  # step of the run at which it ends; None: never, as the last one does


@dataclasses.dataclass(frozen=True, eq=False)
class Curriculum:
    """The easiest rows, more of them from stage to stage; within a stage each row once per epoch.

    `plan.curriculum` makes it from stages that are counted in steps.
    """

    difficulty: np.ndarray  # [rows] of the source, the lowest first; rows of equal value in order
    counts: tuple[int, ...]  # how many rows each stage draws from
    ends: tuple[int, ...]  # places of the source at which each stage but the last ends
    ranked: np.ndarray = dataclasses.field(init=False)  # int64 [rows], the easiest row first
    _visited: dict = dataclasses.field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """
        Raises:
          ConfigError: stages that do not follow each other, or have no rows.
          DataError: a difficulty that is not a number.
        """
        if len(self.ends) != len(self.counts) - 1:
            raise ConfigError(
                f"a curriculum of {len(self.counts)} stages needs an end for each but the last, "
                f"not {len(self.ends)}"
            )
        if list(self.ends) != sorted(set(self.ends)) or any(end < 1 for end in self.ends):
            raise ConfigError(
                f"the stages of a curriculum end one after the other, not at {self.ends}"
            )
        if any(not 1 <= count <= self.size for count in self.counts):
            raise ConfigError(
                f"the stages of a curriculum draw from 1 to {self.size} rows, not {self.counts}"
            )
        missing = np.flatnonzero(~np.isfinite(np.asarray(self.difficulty, np.float64)))
        if missing.size:
            raise DataError(
                f"row {missing[0]} has the difficulty {self.difficulty[missing[0]]}: a curriculum "
                "needs a number for every row"
            )
        object.__setattr__(self, "ranked", np.argsort(self.difficulty, kind="stable"))

    @property
    def size(self) -> int:
        return len(self.difficulty)

    @property
    def fewest(self) -> int:
        return min(self.counts)

    def __call__(self, places: np.ndarray, key: Key) -> tuple[np.ndarray, np.ndarray]:
        places = np.asarray(places, np.int64)
        stages = np.searchsorted(self.ends, places, side="right")
        rank = np.empty_like(places)
        visit = np.empty_like(places)
        for stage in np.unique(stages).tolist():
            chosen = stages == stage
            inside = places[chosen] - self._start(stage)
            rank[chosen], epoch = shuffled(inside, self.counts[stage], (*key, stage))
            visit[chosen] = self._visits_before(stage, key)[rank[chosen]] + epoch
        return self.ranked[rank], visit

    def _start(self, stage: int) -> int:
        """The first place of a stage."""
        return self.ends[stage - 1] if stage else 0

    def _visits_before(self, stage: int, key: Key) -> np.ndarray:
        """int64 [rows], the easiest first: how many times each came in the stages before."""
        if stage == 0:
            return np.zeros(self.size, np.int64)
        known = self._visited.get((stage, key))
        if known is not None:
            return known
        visits = self._visits_before(stage - 1, key).copy()
        count = self.counts[stage - 1]
        places = self.ends[stage - 1] - self._start(stage - 1)
        epochs, rest = divmod(places, count)
        visits[:count] += epochs
        # of the last epoch, which was cut off by the end of the stage, some rows came once more
        visits[permuted(np.arange(rest), count, (*key, stage - 1, epochs))] += 1
        self._visited[(stage, key)] = visits
        return visits

    def __repr__(self) -> str:
        values = np.asarray(self.difficulty, np.float64)
        digest = hashlib.sha256(values.tobytes()).hexdigest()[:16]
        return f"Curriculum(counts={self.counts}, ends={self.ends}, difficulty={digest})"


def shuffled(places: np.ndarray, size: int, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """(row, epoch), int64 [n] each, of the given places in the endless shuffled repetition."""
    epochs, inside = np.divmod(np.asarray(places, np.int64), size)
    rows = np.empty_like(inside)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        rows[chosen] = permuted(inside[chosen], size, (*key, int(epoch)))
    return rows, epochs


def permuted(place: np.ndarray, size: int, key: Key) -> np.ndarray:
    """Entries `place` (int64 [n], below size) of a random order of range(size), given by `key`.

    A Feistel network permutes the next power of two; a value outside is sent through again until
    it falls inside (cycle walking), which leaves a permutation of range(size).
    """
    bits = max(4, (size - 1).bit_length())  # fewer would leave few permutations to choose from
    low = bits // 2
    low_mask = np.uint64((1 << low) - 1)
    high_mask = np.uint64((1 << (bits - low)) - 1)
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64)
    values = place.astype(np.uint64)
    outside = np.arange(len(values))
    while outside.size:
        high = values[outside] >> np.uint64(low)
        rest = values[outside] & low_mask
        for first, second in keys.reshape(-1, 2):
            high ^= _mixed(rest ^ first) & high_mask
            rest ^= _mixed(high ^ second) & low_mask
        values[outside] = high << np.uint64(low) | rest
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (https://doi.org/10.1145/2714064.2660195), upper half."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (values ^ (values >> np.uint64(31))) >> np.uint64(32)
