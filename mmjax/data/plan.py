"""Which rows make up the batch of a step: a pure function of (seed, step) and stored columns.

* `plan(step)` gives the rows of the whole global batch, the same on every host, without touching
  an example: a run continues at step N in no time, and no worker count can change a batch.
* Mixing is exact: a fixed table says which source each row of the batch comes from, so after any
  number of whole tables every source has had exactly its share. A batch may hold the end of one
  epoch and the start of the next.
* The rows of each source come in an order of its own (orders.py): shuffled, or a curriculum.
* Length buckets and packing change no batch: buckets choose the shape that it is padded to, packing
  lays several short examples one behind the other in a row.
* A plan's repr says everything that decides it but the lengths of rows; it is part of the
  pipeline's fingerprint, which checkpoints hold: a run goes on with the schedule that it began
  with, and another one is refused. (To change it, start anew with a warm start.)

Letters: B examples of a batch.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.orders import Curriculum, Order, Shuffle, Stage

Shape = Mapping[str, tuple[int, ...]]  # field -> leading dimensions that it is padded to
LARGEST_TABLE = 10_000  # slots; shares are exact to one part in it


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
    packed: tuple[str, ...]  # fields that are packed; all others have one example a row
    follows: Mapping[str, str]  # field -> the field whose lengths and layout are its own as well
    largest_shape: Shape  # that any step asks for

    def __call__(self, step: int) -> Rows: ...


class _OneExampleARow:
    """What a plan that packs nothing says, and its repr."""

    pack: ClassVar[int] = 0
    packed: ClassVar[tuple[str, ...]] = ()
    follows: ClassVar[Mapping[str, str]] = {}


@dataclasses.dataclass(frozen=True)
class Mixture(_OneExampleARow):
    """Several sources in fixed shares, each in an order of its own."""

    sizes: tuple[int, ...]  # rows of each source
    batch: int
    weights: tuple[float, ...] = ()  # shares of the batch; (): in proportion to the sizes
    seed: int = 0
    shape: Shape = dataclasses.field(default_factory=dict)
    steps: int | None = None
    orders: tuple[Order, ...] = ()  # of each source; (): shuffled, anew every epoch
    table: np.ndarray = dataclasses.field(init=False, repr=False, compare=False)  # int32 [slots]

    def __post_init__(self) -> None:
        """
        Raises:
          ConfigError: weights that are no shares of these sources, or a batch that takes more rows
            of a source than it has.
        """
        weights = self.weights or self.sizes
        if len(weights) != len(self.sizes):
            raise ConfigError(f"{len(weights)} weights for {len(self.sizes)} sources")
        if self.orders and [order.size for order in self.orders] != list(self.sizes):
            raise ValueError("orders are of sources with other numbers of rows")
        object.__setattr__(self, "table", interleaved(weights))
        # Of any `batch` slots in a row, a source has at most so many.
        shares = np.bincount(self.table, minlength=len(self.sizes)) / len(self.table)
        most = np.ceil(shares * self.batch - 1e-6).astype(int).tolist()
        fewest = [order.fewest for order in self.orders] or self.sizes
        _check_sizes(self.sizes, fewest, most)

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
            slots = self.table == number
            before = np.cumsum(slots) - slots  # slots of this source before each slot
            chosen = source == number
            places = turn[chosen] * slots.sum() + before[slot[chosen]]
            order = self.orders[number] if self.orders else Shuffle(size)
            index[chosen], visit[chosen] = order(places, (self.seed, number))
        return Rows(source, index, visit, self.shape)

    def taken(self, step: int) -> np.ndarray:
        """int64 [sources]: how many rows of each source the steps before this one take."""
        turns, slots = divmod(step * self.batch, len(self.table))
        count = len(self.sizes)
        whole = np.bincount(self.table, minlength=count)
        return turns * whole + np.bincount(self.table[:slots], minlength=count)

    def __repr__(self) -> str:
        return _described(self, later=("orders",))


def curriculum(
    plan: Mixture, source: int, difficulty: np.ndarray, stages: Sequence[Stage]
) -> Mixture:
    """The same mixture, with the rows of one source in order of difficulty.

    Args:
      source: its number.
      difficulty: [rows], a column of the source.
      stages: in order; each but the last says at which step of the run it ends.

    Raises:
      ConfigError: stages that do not follow each other, or are too small for the batch.
      DataError: a difficulty that is not a number.
    """
    if not stages or any(not 0 < stage.share <= 1 for stage in stages):
        raise ConfigError(f"a curriculum has stages with shares above 0, up to 1, not {stages}")
    if any(stage.until is None for stage in stages[:-1]) or stages[-1].until is not None:
        raise ConfigError("every stage of a curriculum but the last says until which step it lasts")
    size = plan.sizes[source]
    order = Curriculum(
        difficulty,
        counts=tuple(max(1, round(stage.share * size)) for stage in stages),
        ends=tuple(int(plan.taken(stage.until)[source]) for stage in stages[:-1]),
    )
    orders = list(plan.orders) or [Shuffle(size) for size in plan.sizes]
    orders[source] = order
    return dataclasses.replace(plan, orders=tuple(orders))


@dataclasses.dataclass(frozen=True)
class Sequential(_OneExampleARow):
    """Every row once, in order: evaluation. The last batch is filled with rows of weight 0."""

    size: int  # rows of the source
    batch: int
    shape: Shape = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_sizes((self.size,), (self.size,), (min(self.batch, self.size),))

    @property
    def steps(self) -> int:
        return -(-self.size // self.batch)

    @property
    def largest_shape(self) -> Shape:
        return self.shape

    def __call__(self, step: int) -> Rows:
        index = step * self.batch + np.arange(self.batch)
        index[index >= self.size] = -1
        source = np.zeros(self.batch, np.int32)
        visit = np.zeros(self.batch, np.int64)
        return Rows(source, index, visit, self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class _Laid:
    """Another plan's batches, with one field (and what has its lengths) laid out in its own way."""

    plan: BatchPlan

    @property
    def batch(self) -> int:
        return self.plan.batch

    @property
    def steps(self) -> int | None:
        return self.plan.steps

    @property
    def follows(self) -> Mapping[str, str]:
        return {**self.plan.follows, **{name: self.field for name in self.also}}

    def __repr__(self) -> str:
        return _described(self, later=("also",))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Bucketed(_Laid):
    """The same batches, with one field padded to the batch's longest row, rounded up to a bucket.

    Any field with an axis that varies: tokens, audio frames, the images of a row. Several such
    fields: one plan around the other. Every bucket is one compilation of the train step.

    Raises:
      ConfigError: a row is longer than the last bucket, or buckets that do not rise.
    """

    lengths: Sequence[np.ndarray] = dataclasses.field(repr=False)  # of each source, int [rows]
    buckets: tuple[int, ...]  # rising, see `buckets`
    field: str = "text"
    also: tuple[str, ...] = ()  # fields of the very same lengths: weights of its tokens

    def __post_init__(self) -> None:
        if list(self.buckets) != sorted(set(self.buckets)) or not self.buckets:
            raise ConfigError(f"buckets are rising lengths, not {self.buckets}")
        longest = max(int(np.max(lengths)) for lengths in self.lengths)
        if longest > self.buckets[-1]:
            raise ConfigError(
                f"a row of {self.field!r} has length {longest}, the last bucket is "
                f"{self.buckets[-1]}: add a bucket or cut the rows (max_length)"
            )

    @property
    def pack(self) -> int:
        return self.plan.pack

    @property
    def packed(self) -> tuple[str, ...]:
        return self.plan.packed

    @property
    def largest_shape(self) -> Shape:
        return self._shape(self.plan.largest_shape, self.buckets[-1])

    def __call__(self, step: int) -> Rows:
        rows = self.plan(step)
        longest = int(lengths_of(rows, self.lengths).max(initial=1))
        bucket = self.buckets[int(np.searchsorted(self.buckets, longest))]
        return rows._replace(shape=self._shape(rows.shape, bucket))

    def _shape(self, shape: Shape, bucket: int) -> Shape:
        out = dict(shape)
        for name in (self.field, *self.also):
            before = shape.get(name, (0,))[:-1]  # the number of captions, if it has one
            out[name] = (*before, bucket)
        return out


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Packed(_Laid):
    """The same batches, with the short examples of one field laid behind each other in long rows.

    `pack` neighbouring examples share rows, so that hosts, threads and devices that hold whole
    packs need nothing of the others. First fit, longest first; all packs of a batch get as many
    rows as the fullest one needs, rounded up to an eighth of a pack: a few compilations, no more.

    Raises:
      ConfigError: a batch does not divide into packs, or an example is longer than a row.
      ValueError: around a plan that packs already.
    """

    lengths: Sequence[np.ndarray] = dataclasses.field(repr=False)  # of each source, int [rows]
    length: int  # of a row
    pack: int = 64  # examples
    field: str = "text"
    also: tuple[str, ...] = ()  # fields of the very same lengths, laid out in the same places

    def __post_init__(self) -> None:
        if self.plan.pack:
            raise ValueError("one field of a plan is packed, and another cannot be: use `also`")
        if self.pack < 2 or self.plan.batch % self.pack:
            raise ConfigError(
                f"a batch of {self.plan.batch} examples does not divide into packs of {self.pack}: "
                "a pack has 2 examples or more, and the batch is a multiple of it"
            )
        longest = max(int(np.max(lengths)) for lengths in self.lengths)
        if longest > self.length:
            raise ConfigError(
                f"an example of {self.field!r} has length {longest}, a row has {self.length}"
            )

    @property
    def packed(self) -> tuple[str, ...]:
        return (self.field, *self.also)

    @property
    def largest_shape(self) -> Shape:
        return self._shape(self.plan.largest_shape, self.pack)

    def __call__(self, step: int) -> Rows:
        rows = self.plan(step)
        packs = lengths_of(rows, self.lengths).reshape(-1, self.pack)
        row = np.stack([first_fit(lengths, self.length) for lengths in packs])
        unit = max(1, self.pack // 8)
        height = min(self.pack, unit * -(-(int(row.max()) + 1) // unit))
        return rows._replace(shape=self._shape(rows.shape, height), row=row.reshape(-1))

    def _shape(self, shape: Shape, height: int) -> Shape:
        return {**shape, **{name: (height, self.length) for name in self.packed}}


def lengths_of(rows: Rows, lengths: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [B]: the stored length of each example of a batch, 0 where there is none."""
    out = np.zeros(len(rows.index), np.int64)
    for number, column in enumerate(lengths):
        chosen = (rows.source == number) & (rows.index >= 0)
        out[chosen] = column[rows.index[chosen]]
    return out


def first_fit(lengths: np.ndarray, room: int) -> np.ndarray:
    """int32 [n]: a row for each length, so that no row holds more than `room`."""
    row = np.zeros(len(lengths), np.int32)
    free = np.empty(0, np.int64)  # what is left in each row so far
    for place in np.argsort(-lengths, kind="stable"):
        fits = np.flatnonzero(free >= lengths[place])
        if not fits.size:
            fits = np.array([len(free)])
            free = np.append(free, room)
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
        raise ConfigError(f"weights are positive numbers, not {tuple(weights)}")
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
        raise ConfigError(f"a weight of {smallest:.2g} of the whole is below 1/{LARGEST_TABLE}")
    source = np.repeat(np.arange(len(shares), dtype=np.int32), counts)
    when = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    return source[np.argsort(when, kind="stable")]


def _described(plan: Any, later: Sequence[str]) -> str:
    """The repr of a plan, without the fields `later` where they are empty: they were added later,
    and the fingerprints of runs that began before stay what they were."""
    shown = []
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        if field.repr and (value or field.name not in later):
            shown.append(f"{field.name}={value!r}")
    return f"{type(plan).__qualname__}({', '.join(shown)})"


def _check_sizes(sizes: Sequence[int], fewest: Sequence[int], wanted: Sequence[int]) -> None:
    """fewest: rows that each source draws from at any time. wanted: rows of it that a batch takes,
    at most.

    Raises:
      ConfigError: a source without rows, or a batch that would hold a row twice.
    """
    for number, (size, least, count) in enumerate(zip(sizes, fewest, wanted, strict=True)):
        name = "the data" if len(sizes) == 1 else f"source {number}"
        if size < 1:
            raise ConfigError(f"{name} has no rows")
        if count < 1 and len(sizes) == 1:
            raise ConfigError(f"the batch has {count} rows; it needs at least 1")
        if count > size:
            limit = f"{size} rows at most" if len(sizes) == 1 else "smaller"
            raise ConfigError(
                f"a batch takes {count} rows of {name}, which has only {size}: a row would come "
                f"twice in one batch. Make the batch {limit} (data.batch_size)"
                + (", lower the weight," if len(sizes) > 1 else "")
                + " or add data"
            )
        if count > least:
            raise ConfigError(
                f"a batch takes {count} rows of {name}, and a stage of its curriculum has only "
                f"{least}: a row would come twice in one batch. Make the batch smaller "
                "(data.batch_size) or the stage's share larger"
            )
