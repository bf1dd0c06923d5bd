"""Evaluations of a checkpoint that `mmjax.load` opens, prepared by its own processor.

* The same evaluators and data sets as in a run, asked of vectors that the checkpoint's towers make:
  retrieval, zero-shot classification, linear probe.
* As in a run: pictures that cannot be read are left out and named, and a text of unknown words
  alone, which embed and search refuse, is an empty one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.data.batching import Corrupt
from mmjax.data.source import CorruptExample, Source
from mmjax.data.storage import Progress
from mmjax.run.encoder import Encoder, decode
from mmjax.run.evaluations import Evaluator
from mmjax.transforms.text import column_of_captions

KINDS = ("image", "text")  # what there are vectors of


def given(variables: Any, batch: Mapping[str, Any], rng: jax.Array) -> dict[str, Any]:
    """What `predict` is where a batch holds vectors already."""
    return {kind: batch[kind] for kind in KINDS if kind in batch}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedded(Evaluator):
    """One evaluation of a checkpoint."""

    encoder: Encoder

    def encode(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        size = min(self.options.batch_size, len(texts))
        parts = (texts[start : start + size] for start in range(0, len(texts), size))
        return {"text": np.concatenate([self.encoder.texts(part, size) for part in parts])}

    @functools.cached_property
    def predict(self) -> Any:
        return given

    def put(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return batch

    def rows(self, source: Source) -> Source:
        return source

    def read(self, rows: Source, corrupt: list[Corrupt]) -> Iterator[Mapping[str, np.ndarray]]:
        """Batches of vectors: "image" [B, E], "text" [B, K, E] with "text_mask" [B, K]."""
        texts = list(column_of_captions(rows))
        most, size = max(map(len, texts)), min(self.options.batch_size, len(rows))
        columns = {name: rows.column(name) for name in ("label", "group")}
        columns = {name: column for name, column in columns.items() if column is not None}
        with Progress(f"embedding {self.name}", len(rows)) as bar:
            for start in range(0, len(rows), size):
                index = np.arange(start, min(start + size, len(rows)))
                batch = {"index": index, "weight": np.ones(len(index), np.float32)}
                batch |= {name: np.asarray(column)[index] for name, column in columns.items()}
                pictures = self._pictures(rows, batch, corrupt)
                if pictures is None:  # none of them can be read
                    continue
                batch["image"] = self.encoder.images(pictures, size)
                if most:
                    batch |= self._texts([texts[row] for row in index], most)
                yield batch
                bar.advance(len(index))

    def _pictures(self, source: Source, batch: dict, corrupt: list[Corrupt]) -> list | None:
        """One a row; in the place of one that cannot be read, whose weight is 0, another."""
        found: list[Any] = []
        for place, row in enumerate(batch["index"]):
            try:
                found.append(decode(source[int(row)]["image"]))
            except CorruptExample as error:
                found.append(None)
                batch["weight"][place] = 0
                corrupt.append(Corrupt(0, 0, int(row), source.locate(int(row)), str(error)))
        good = next((one for one in found if one is not None), None)
        return None if good is None else [good if one is None else one for one in found]

    def _texts(self, texts: Sequence[Sequence[str]], most: int) -> dict[str, np.ndarray]:
        mask = np.arange(most) < np.array([len(one) for one in texts])[:, None]  # [B, K]
        vectors = np.zeros((*mask.shape, self.encoder.loaded.config.embedding), np.float32)
        flat = [text for one in texts for text in one]
        if flat:
            vectors[mask] = self.encoder.texts(flat, mask.size)
        return {"text": vectors, "text_mask": mask}
