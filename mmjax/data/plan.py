"""Which rows make up the batch of a step: a pure function of (seed, step) and stored columns.

* `plan(step)` gives the rows of the whole global batch, the same on every host, without touching
  an example: a run continues at step N in no time, and no worker count can change a batch.
* Shuffling is a keyed permutation with random access (a Feistel network): no list of N numbers is
  ever made, each epoch has an order of its own, and every row comes exactly once per epoch. A batch
  may hold the end of one epoch and the start of the next.
* Mixing is exact: a fixed table says which source each row of the batch comes from, so after any
  number of whole tables every source has had exactly its share.
* Length buckets and packing change no batch: buckets choose the shape that it is padded to, packing
  lays several short examples one behind the other in a row.

How what comes later fits. A curriculum is a plan whose rows come from the first n(step) rows in
order of a stored difficulty column; n is constant within a stage, and a position within a stage is
integer arithmetic, as here (what was planned is in the checkpoint, so a schedule may change
mid-run). Letters: B examples of a batch.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

Shape = Mapping[str, tuple[int, ...]]  # field -> leading dimensions that it is padded to
LARGEST_TABLE = 10_000  # slots; shares are exact to one part in it
_ROUNDS = 8


class Rows(NamedTuple):
    """The examples of one global batch."""

    source: np.ndarray  # int32 [B], which source
    index: np.ndarray  # int64 [B], row of that source; -1: nothing, a row of weight 0
    visit: np.ndarray  # int64 [B], how many times the row came before (its epoch)
    shape: Shape  # variable-length fields and what they are padded to; packed: (rows, length)
    row: np.ndarray | None = None  # int32 [B], the row of its pack that an example is laid in


@runtime_checkable
class BatchPlan(Protocol):
    batch: int  # B, examples of the global batch
    steps: int | None  # how many there are; None: no end
    pack: int  # so many neighbouring examples share rows; 0: one example a row
    largest_shape: Shape  # that any step asks for

    def __call__(self, step: int) -> Rows: ...


@dataclasses.dataclass(frozen=True)
class Shuffled:
    """One source, in a new random order every epoch."""

    size: int  # rows of the source
    batch: int
    seed: int = 0
    shape: Shape = dataclasses.field(default_factory=dict)
    steps: int | None = None
    pack: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _check_sizes((self.size,), (self.batch,))

    @property
    def largest_shape(self) -> Shape:
        return self.shape

    def __call__(self, step: int) -> Rows:
        positions = step * self.batch + np.arange(self.batch)
        index, visit = shuffled(positions, self.size, (self.seed, 0))
        source = np.zeros(self.batch, np.int32)
        return Rows(source, index, visit, self.shape)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Several sources in fixed shares, each in a new random order every epoch of its own."""

    sizes: tuple[int, ...]  # rows of each source
    batch: int
    weights: tuple[float, ...] = ()  # shares of the batch; (): in proportion to the sizes
    seed: int = 0
    shape: Shape = dataclasses.field(default_factory=dict)
    steps: int | None = None
    pack: ClassVar[int] = 0
    table: np.ndarray = dataclasses.field(init=False, repr=False, compare=False)  # int32 [slots]

    def __post_init__(self) -> None:
        weights = self.weights or self.sizes
        if len(weights) != len(self.sizes):
            raise ValueError(f"{len(weights)} weights for {len(self.sizes)} sources")
        object.__setattr__(self, "table", interleaved(weights))
        # Of any `batch` slots in a row, a source has at most so many.
        shares = np.bincount(self.table, minlength=len(self.sizes)) / len(self.table)
        _check_sizes(self.sizes, np.ceil(shares * self.batch - 1e-6).astype(int).tolist())

    @property
    def largest_shape(self) -> Shape:
        return self.shape

    def __call__(self, step: int) -> Rows:
        positions = step * self.batch + np.arange(self.batch)
        turn, slot = np.divmod(positions, len(self.table))
        source = self.table[slot]
        index = np.empty(self.batch, np.int64)
        visit = np.empty(self.batch, np.int64)
        for number, size in enumerate(self.sizes):
            mine = self.table == number
            before = np.cumsum(mine) - mine  # slots of this source before each slot
            chosen = source == number
            place = turn[chosen] * mine.sum() + before[slot[chosen]]
            index[chosen], visit[chosen] = shuffled(place, size, (self.seed, number))
        return Rows(source, index, visit, self.shape)


@dataclasses.dataclass(frozen=True)
class Sequential:
    """Every row once, in order: evaluation. The last batch is filled with rows of weight 0."""

    size: int  # rows of the source
    batch: int
    shape: Shape = dataclasses.field(default_factory=dict)
    pack: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _check_sizes((self.size,), (min(self.batch, self.size),))

    @property
    def steps(self) -> int:
        return -(-self.size // self.batch)

    @property
    def largest_shape(self) -> Shape:
        return self.shape

    def __call__(self, step: int) -> Rows:
        index = step * self.batch + np.arange(self.batch)
        index[index >= self.size] = -1
        source, visit = np.zeros(self.batch, np.int32), np.zeros(self.batch, np.int64)
        return Rows(source, index, visit, self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Bucketed:
    """The same batches, with one field padded to the batch's longest row, rounded up to a bucket.

    Every bucket is one compilation of the train step. Raises ValueError when a row is longer than
    the last bucket.
    """

    plan: BatchPlan
    lengths: Sequence[np.ndarray] = dataclasses.field(repr=False)  # of each source, int [rows]
    buckets: tuple[int, ...]  # rising, see `buckets`
    field: str = "text"
    pack: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if list(self.buckets) != sorted(set(self.buckets)) or not self.buckets:
            raise ValueError(f"buckets are rising lengths, not {self.buckets}")
        longest = max(int(np.max(lengths)) for lengths in self.lengths)
        if longest > self.buckets[-1]:
            raise ValueError(
                f"a row of {self.field!r} has length {longest}, the last bucket is "
                f"{self.buckets[-1]}: add a bucket or cut the rows (max_length)"
            )

    @property
    def batch(self) -> int:
        return self.plan.batch

    @property
    def steps(self) -> int | None:
        return self.plan.steps

    @property
    def largest_shape(self) -> Shape:
        return self._shape(self.plan.largest_shape, self.buckets[-1])

    def __call__(self, step: int) -> Rows:
        rows = self.plan(step)
        longest = int(lengths_of(rows, self.lengths).max(initial=1))
        bucket = self.buckets[int(np.searchsorted(self.buckets, longest))]
        return rows._replace(shape=self._shape(rows.shape, bucket))

    def _shape(self, shape: Shape, bucket: int) -> Shape:
        before = shape.get(self.field, (0,))[:-1]  # the number of captions, if it has one
        return {**shape, self.field: (*before, bucket)}


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """The same batches, with the short examples of one field laid behind each other in long rows.

    `pack` neighbouring examples share rows, so that hosts, threads and devices that hold whole
    packs need nothing of the others. First fit, longest first; all packs of a batch get as many
    rows as the fullest one needs, rounded up to an eighth of a pack: a few compilations, no more.
    Raises ValueError when a batch does not divide into packs, or an example is longer than a row.
    """

    plan: BatchPlan
    lengths: Sequence[np.ndarray] = dataclasses.field(repr=False)  # of each source, int [rows]
    length: int  # of a row
    pack: int = 64  # examples
    field: str = "text"

    def __post_init__(self) -> None:
        if self.pack < 2 or self.plan.batch % self.pack:
            raise ValueError(
                f"a batch of {self.plan.batch} examples does not divide into packs of {self.pack}: "
                "a pack has 2 examples or more, and the batch is a multiple of it"
            )
        longest = max(int(np.max(lengths)) for lengths in self.lengths)
        if longest > self.length:
            raise ValueError(
                f"an example of {self.field!r} has length {longest}, a row has {self.length}"
            )

    @property
    def batch(self) -> int:
        return self.plan.batch

    @property
    def steps(self) -> int | None:
        return self.plan.steps

    @property
    def largest_shape(self) -> Shape:
        return {**self.plan.largest_shape, self.field: (self.pack, self.length)}

    def __call__(self, step: int) -> Rows:
        rows = self.plan(step)
        packs = lengths_of(rows, self.lengths).reshape(-1, self.pack)
        row = np.stack([first_fit(lengths, self.length) for lengths in packs])
        unit = max(1, self.pack // 8)
        height = min(self.pack, unit * -(-(int(row.max()) + 1) // unit))
        shape = {**rows.shape, self.field: (height, self.length)}
        return rows._replace(shape=shape, row=row.reshape(-1))


def lengths_of(rows: Rows, lengths: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [B]: the stored length of each example of a batch, 0 where there is none."""
    out = np.zeros(len(rows.index), np.int64)
    for number, column in enumerate(lengths):
        mine = (rows.source == number) & (rows.index >= 0)
        out[mine] = column[rows.index[mine]]
    return out


def first_fit(lengths: np.ndarray, room: int) -> np.ndarray:
    """int32 [n]: a row for each length, so that no row holds more than `room`."""
    row, free = np.zeros(len(lengths), np.int32), np.empty(0, np.int64)
    for place in np.argsort(-lengths, kind="stable"):
        fits = np.flatnonzero(free >= lengths[place])
        if not fits.size:
            free, fits = np.append(free, room), np.array([len(free)])
        row[place] = fits[0]
        free[fits[0]] -= lengths[place]
    return row


def buckets(longest: int, multiple: int = 4, most: int = 8) -> tuple[int, ...]:
    """Even steps up to at least `longest`: multiples of `multiple`, and no more than `most`."""
    step = multiple * -(-longest // (multiple * most))
    return tuple(range(step, longest + step, step))


def interleaved(weights: Sequence[int | float]) -> np.ndarray:
    """int32 [slots]: source of each slot, spread evenly; the shortest table with these shares."""
    shares = np.asarray(weights, np.float64)
    if not len(shares) or not np.all(np.isfinite(shares) & (shares > 0)):
        raise ValueError(f"weights are positive numbers, not {tuple(weights)}")
    shares = shares / shares.sum()
    slots = np.arange(1, LARGEST_TABLE + 1)
    error = np.abs(np.outer(slots, shares) - np.rint(np.outer(slots, shares))).max(axis=1)
    exact = np.flatnonzero(error < 1e-9 * slots)
    size = int(slots[exact[0]] if exact.size else LARGEST_TABLE)
    counts = np.floor(shares * size + 1e-6).astype(int)
    most_missing = np.argsort(counts - shares * size, kind="stable")
    counts[most_missing[: size - counts.sum()]] += 1
    if not counts.all():
        smallest = float(shares.min())
        raise ValueError(f"a weight of {smallest:.2g} of the whole is below 1/{LARGEST_TABLE}")
    source = np.repeat(np.arange(len(shares), dtype=np.int32), counts)
    when = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    return source[np.argsort(when, kind="stable")]


def shuffled(
    positions: np.ndarray, size: int, key: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """(row, epoch), int64 [n] each, of the given places in the endless shuffled repetition."""
    epochs, place = np.divmod(np.asarray(positions, np.int64), size)
    rows = np.empty_like(place)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        rows[chosen] = permuted(place[chosen], size, (*key, int(epoch)))
    return rows, epochs


def permuted(place: np.ndarray, size: int, key: tuple[int, ...]) -> np.ndarray:
    """Entries `place` (int64 [n], below size) of a random order of range(size), given by `key`.

    A Feistel network permutes the next power of two; a value outside is sent through again until
    it falls inside (cycle walking), which leaves a permutation of range(size).
    """
    bits = max(4, (size - 1).bit_length())  # fewer would leave few permutations to choose from
    low = bits // 2
    low_mask, high_mask = np.uint64((1 << low) - 1), np.uint64((1 << (bits - low)) - 1)
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64)
    values = place.astype(np.uint64)
    outside = np.arange(len(values))
    while outside.size:
        high, rest = values[outside] >> np.uint64(low), values[outside] & low_mask
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


def _check_sizes(sizes: Sequence[int], wanted: Sequence[int]) -> None:
    for number, (size, count) in enumerate(zip(sizes, wanted, strict=True)):
        name = "the data" if len(sizes) == 1 else f"source {number}"
        if size < 1:
            raise ValueError(f"{name} has no rows")
        if count < 1 and len(sizes) == 1:
            raise ValueError(f"the batch has {count} rows; it needs at least 1")
        if count > size:
            raise ValueError(
                f"a batch takes {count} rows of {name}, which has only {size}: a row would come "
                f"twice in one batch. Make the batch smaller (data.batch_size)"
                + (", lower the weight," if len(sizes) > 1 else "")
                + " or add data"
            )
