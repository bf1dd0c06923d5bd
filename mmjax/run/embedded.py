"""Evaluations of a checkpoint that `mmjax.load` opens, prepared by its own processor.

* The same evaluators and data sets as in a run, asked of vectors that the checkpoint's towers make:
  retrieval, zero-shot classification, linear probe.
* As in a run: pictures and sounds that cannot be read are left out and named, and a text of unknown
  words alone, which embed and search refuse, is an empty one.

Letters: B rows of a batch, K captions of a row, E embedding.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Corrupt
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.data.storage import Progress
from mmjax.run.encoder import Encoder
from mmjax.run.evaluations import EvaluationRun
from mmjax.transforms.text import column_of_captions

MODALITIES = ("image", "audio", "text")  # what there are vectors of


def embedded(variables: Any, batch: Mapping[str, Any], keys: jax.Array) -> dict[str, Any]:
    """A predict function for batches that hold vectors already: it hands them on."""
    return {name: batch[name] for name in MODALITIES if name in batch}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedded(EvaluationRun):
    """One evaluation of a loaded checkpoint, on the vectors that its towers make."""

    encoder: Encoder

    def encode(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """Raw examples that hold a text alone -> their vectors."""
        size = min(self.options.batch_size, len(examples))
        texts = [example["text"] for example in examples]
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        return {"text": np.concatenate([self.encoder.texts(part, size) for part in parts])}

    def show(self, arrays: Mapping[str, Any], row: int) -> Mapping[str, Any]:
        """The raw row: nobody can read a vector."""
        return self.decode(int(arrays["index"][row]))

    @property
    def share(self) -> tuple[int, int]:
        return jax.process_index(), jax.process_count()

    @functools.cached_property
    def predict(self) -> Callable[..., Any]:
        if self.evaluator.predict != "embed":
            raise ConfigError(
                f"{self.name}: a checkpoint's towers embed; there is no {self.evaluator.predict!r}"
            )
        return embedded

    def put(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return batch

    def pipeline(self, source: Source) -> Source:
        return source

    def read(
        self, pipeline: Source, corrupt: list[Corrupt]
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """Batches of vectors: "image" or "audio" [B, E], "text" [B, K, E] with "text_mask"
        [B, K]."""
        source = pipeline
        fields = _fields(source)
        captions = list(column_of_captions(source))
        most = max(map(len, captions))
        size = min(self.options.batch_size, len(source))
        columns = {name: source.column(name) for name in ("label", "group")}
        columns = {name: column for name, column in columns.items() if column is not None}
        with Progress(f"embedding {self.name}", len(source)) as bar:
            for start in range(0, len(source), size):
                index = np.arange(start, min(start + size, len(source)))
                batch = {"index": index, "weight": np.ones(len(index), np.float32)}
                batch |= {name: np.asarray(column)[index] for name, column in columns.items()}
                for field in fields:
                    values = self._readable(field, source, batch, corrupt)
                    if values is not None:
                        batch[field] = self.encoder.encode(field, values, size)
                if any(field not in batch for field in fields):  # none can be read
                    continue
                if most:
                    batch |= self._texts([captions[row] for row in index], most)
                yield batch
                bar.advance(len(index))

    def _readable(
        self, field: str, source: Source, batch: dict, corrupt: list[Corrupt]
    ) -> list | None:
        """A picture or sound for each row; in the place of one that cannot be read, whose weight
        becomes 0, another. None where none can be read."""
        values: list[Any] = []
        for place, row in enumerate(batch["index"]):
            try:
                values.append(self.encoder.readable(field, source[int(row)][field]))
            except CorruptExample as error:
                values.append(None)
                batch["weight"][place] = 0
                corrupt.append(Corrupt(0, 0, int(row), source.locate(int(row)), str(error)))
        readable = [value for value in values if value is not None]
        if not readable:
            return None
        return [readable[0] if value is None else value for value in values]

    def _texts(self, captions: Sequence[Sequence[str]], most: int) -> dict[str, np.ndarray]:
        """Vectors [B, K, E] of at most K captions a row, and which of them exist."""
        counts = np.array([len(several) for several in captions])
        mask = np.arange(most) < counts[:, None]  # [B, K]
        vectors = np.zeros((*mask.shape, self.encoder.loaded.config.embedding), np.float32)
        flat = [text for several in captions for text in several]
        if flat:
            vectors[mask] = self.encoder.texts(flat, mask.size)
        return {"text": vectors, "text_mask": mask}


def _fields(source: Source) -> list[str]:
    """What there is beside texts, by the first row that can be read."""
    for row in range(len(source)):
        try:
            return [name for name in MODALITIES[:-1] if name in source[row]]
        except CorruptExample:
            continue
    return []
