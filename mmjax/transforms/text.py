"""Caption transforms: choose one of several, leave out words, tokenise.

* Training: `ChooseCaption()`, then `Tokenize(tokenizer, max_length)` -> `text` int32 [L].
  Evaluation: `Tokenize` on a tuple of K captions -> `text` int32 [K, L], `text_mask` bool [K, L].
* Nothing is padded to the batch here: the pipeline pads to the shape that the plan gives.
* A cut caption keeps its end token and sets `text_truncated`; the pipeline reports their share.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.captions import captions
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.tokenizers.bpe import Tokenizer

AT_ONCE = 100_000  # captions that are tokenised together
MOST_CAPTIONS = 1_000_000  # rows that a tokenizer is trained on


@dataclasses.dataclass(frozen=True)
class ChooseCaption:
    """Draws one of the example's captions; a single one stays."""

    field: str = "text"

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        choices = captions(example, self.field)
        draw = 0 if len(choices) == 1 else rng.integers(len(choices))
        return {**example, self.field: choices[draw]}


@dataclasses.dataclass(frozen=True)
class DropWords:
    """Leaves out each word of a caption with probability `rate`; one word at least stays.

    Random deletion of https://arxiv.org/abs/1901.11196: no word may be known by its neighbours.
    """

    rate: float  # 0 to 1
    field: str = "text"

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        (caption,) = captions(example, self.field)
        words = caption.split()
        draws = rng.random(len(words))
        draws[rng.integers(len(words))] = 1.0
        kept = [word for word, draw in zip(words, draws, strict=True) if draw >= self.rate]
        return {**example, self.field: " ".join(kept)}


@dataclasses.dataclass(frozen=True)
class Tokenize:
    """str -> int32 [L]; tuple of K str -> int32 [K, L] with "<field>_mask" bool [K, L].

    Adds "<field>_truncated", bool: a caption was cut to max_length. Raises TokenizerError for
    names that the tokenizer lacks.
    """

    tokenizer: Tokenizer
    max_length: int  # tokens, with start and end; longer captions are cut before the end token
    field: str = "text"
    start: str | None = "<start>"  # special token put first; None: nothing
    end: str | None = "<end>"  # special token put last; None: nothing
    pad: str | None = "<pad>"  # special token behind short captions; None: id 0
    deterministic = True  # may be remembered by the pipeline's cache

    def __post_init__(self) -> None:
        if self.room < 1:
            raise ConfigError(
                f"max_length={self.max_length} leaves no room between {self.start} and {self.end}"
            )
        self._ids(self.pad)  # a name that is missing is an error now, not at the first example

    @property
    def padding(self) -> dict[str, int]:
        """The id that the field is padded with, by the field's name."""
        return {self.field: sum(self._ids(self.pad))}

    def _ids(self, name: str | None) -> list[int]:
        return [] if name is None else [self.tokenizer.special[name]]

    @functools.cached_property
    def first(self) -> list[int]:
        return self._ids(self.start)

    @functools.cached_property
    def last(self) -> list[int]:
        return self._ids(self.end)

    @functools.cached_property
    def room(self) -> int:
        return self.max_length - len(self.first) - len(self.last)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        rows = [self.tokenizer.encode(text) for text in captions(example, self.field)]
        cut = np.bool_(any(len(ids) > self.room for ids in rows))
        rows = [self.first + ids[: self.room] + self.last for ids in rows]
        out = {**example, f"{self.field}_truncated": cut}
        if isinstance(example[self.field], (str, bytes)):
            out[self.field] = np.asarray(rows[0], np.int32)
            return out
        lengths = np.asarray([len(ids) for ids in rows])
        mask = np.arange(lengths.max()) < lengths[:, None]  # [K, L]
        padded = np.full(mask.shape, self.padding[self.field], np.int32)
        padded[mask] = np.concatenate(rows)
        return {**out, self.field: padded, f"{self.field}_mask": mask}


def text_lengths(source: Source, tokenize: Tokenize) -> np.ndarray:
    """The bound that length buckets need: int32 [rows], tokens of each row's longest caption.

    All texts are tokenised once, on all cores, so many at a time. A row without a usable caption
    counts 1.
    """
    lengths = np.ones(len(source), np.int32)
    rows: list[int] = []
    texts: list[str] = []

    def measure() -> None:
        counts = [len(ids) for ids in tokenize.tokenizer.encode_batch(texts)]
        bounds = np.minimum(np.asarray(counts, np.int32), tokenize.room)
        bounds += tokenize.max_length - tokenize.room
        np.maximum.at(lengths, np.asarray(rows, np.int64), bounds)
        rows.clear()
        texts.clear()

    for row, found in enumerate(column_of_captions(source, tokenize.field)):
        rows.extend([row] * len(found))
        texts.extend(found)
        if len(texts) >= AT_ONCE:
            measure()
    measure()
    return lengths


def text_shape(source: Source, tokenize: Tokenize) -> tuple[int, ...]:
    """What a plan pads evaluation texts to: (longest,), or (captions, longest) for tuples."""
    longest = int(text_lengths(source, tokenize).max())
    most = max((len(found) for found in column_of_captions(source, tokenize.field)), default=1)
    column = source.column(tokenize.field)
    first = source[0][tokenize.field] if column is None else column[0]
    return (longest,) if isinstance(first, (str, bytes)) else (most, longest)


def all_captions(sources: Sequence[Source], field: str = "text") -> list[str]:
    """The usable captions of the sources, in order: what a tokenizer is trained on.

    Of sources with many rows, evenly spread ones that make up about MOST_CAPTIONS together.
    """
    every = max(1, sum(map(len, sources)) // MOST_CAPTIONS)
    return [
        text
        for source in sources
        for found in itertools.islice(column_of_captions(source, field), 0, None, every)
        for text in found
    ]


def column_of_captions(source: Source, field: str = "text") -> Iterator[tuple[str, ...]]:
    """The captions of each row, () where there is none that can be used.

    From the stored column; a source without it has every example read, images and all.
    """
    column = source.column(field)
    for row in range(len(source)):
        try:
            yield captions(source[row] if column is None else {field: column[row]}, field)
        except CorruptExample:
            yield ()
