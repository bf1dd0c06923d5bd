"""Whether pictures that were made from captions are what the captions say, by a CLIP that did not
make them.

* A named CLIP ranks all captions of the set for each picture that was made: `clip_r5` is the share
  whose own caption is among the first five. The same is asked of the set's real pictures ("real").
* How like the data the pictures are: Frechet and kernel distance of that CLIP's vectors, made
  against real (distances.py); the name of the CLIP stands in the metric.
* People see each picture beside the nearest of the training pictures, by the same vectors: what was
  learned by heart shows.

Letters: N rows, K candidates, E width of a vector.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.config import ConfigError
from mmjax.conversion.load import Loaded, load
from mmjax.data.captions import captions
from mmjax.data.source import CorruptExample
from mmjax.datasets import bundled
from mmjax.evaluation.base import Context, Result, draw
from mmjax.evaluation.drawing import beside_sheet, sweep_sheet
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.generated import distances
from mmjax.evaluation.generated.base import Generated, as_bytes
from mmjax.typing import Float, Int, Positive

AT = (1, 5)  # the k of recall at k
AT_ONCE = 64  # pictures that the CLIP reads together


@dataclasses.dataclass(frozen=True)
class GeneratedPictures(Generated):
    field: str = "image"  # key of the pictures, in what `predict` returns and in the batch
    clip: str = "emoji_clip"  # who judges: a model of the package, or a folder
    shown: Positive = 8  # pictures beside their nearest training pictures

    def check(self, context: Context) -> None:
        for name in ("text", "group"):
            if context.source.column(name) is None:
                raise ConfigError(f"the data has no column {name!r}: the captions are ranked by it")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("text", "group")

    def pixels(self, samples: jax.Array) -> jax.Array:
        return as_bytes(samples)

    def finish(self, rows: Rows, context: Context) -> Result:
        judge = _judge(self.clip)
        texts = [captions({"text": text})[0] for text in rows["text"]]
        groups, first = np.unique(rows["group"], return_index=True)
        known = _said(judge, [texts[row] for row in first])
        vectors = {
            name: _vectors(judge, rows[name])
            for name in ("made", "real", "no_guidance") if name in rows
        }  # fmt: skip
        hits = {
            name: _hits(found, known, groups, rows["group"]) for name, found in vectors.items()
        }
        means = {
            name: {f"clip_r{k}": float(found[k].mean()) for k in AT} for name, found in hits.items()
        }
        metrics = means.pop("made")
        real = vectors["real"]
        metrics |= _distances(self.clip, vectors["made"], real)
        means["chance"] = {f"clip_r{k}": min(1.0, k / len(groups)) for k in AT}
        media = self._beside(rows, texts, vectors["made"], judge, context)
        if self.scales:
            numbers = {}
            for number, scale in enumerate(self.scales):
                found = _vectors(judge, rows["swept"][:, number])
                hit = _hits(found, known, groups, rows["group"])
                numbers[scale] = {f"clip_r{k}": float(hit[k].mean()) for k in AT}
                numbers[scale]["diversity"] = _spread(found) / _spread(real)
                metrics |= {f"guidance_{scale:g}/{k}": v for k, v in numbers[scale].items()}
            order = draw(len(texts), min(8, len(texts)))
            lines = [sweep_sheet.Line(texts[row], list(rows["swept"][row])) for row in order]
            media["guidance"] = sweep_sheet.draw(lines, numbers, means["real"])
        queries = {f"clip_r{k}": hits["made"][k].astype(np.float64) for k in AT}
        keys = {"index": rows["index"], "group": rows["group"]}
        return Result(metrics, means, media, queries | keys)

    def _beside(
        self, rows: Rows, texts: Sequence[str], vectors: np.ndarray, judge: Loaded, context: Context
    ) -> dict[str, Any]:
        """Some pictures, each beside the training picture that is nearest to it."""
        if not self.keep:
            return {}
        pictures = []
        said = []
        for source in context.training():
            for row in range(len(source)):
                try:
                    example = context.decode(row, source)
                except CorruptExample:
                    continue
                pictures.append(example[self.field])
                said.append(captions(example)[0])
        if not pictures:
            return {}
        known = _remembered(judge, pictures, self.clip)
        order = draw(len(texts), min(self.shown, len(texts)))
        lines = []
        for row in order:
            cosines = known @ vectors[row]
            best = int(cosines.argmax())
            lines.append(
                beside_sheet.Line(
                    texts[row], rows["made"][row], pictures[best], said[best], float(cosines[best])
                )
            )
        return {"nearest_training_picture": beside_sheet.draw(lines)}


@functools.cache
def _judge(name: str) -> Loaded:
    return load(bundled.model(name) if name in bundled.MODELS else name)


_KNOWN: dict[tuple[str, int], np.ndarray] = {}


def _remembered(judge: Loaded, pictures: Sequence[Any], name: str) -> Float[np.ndarray, "K E"]:
    """Vectors of the training pictures, which stay the same through a run."""
    key = (name, len(pictures))
    if key not in _KNOWN:
        _KNOWN[key] = _vectors(judge, pictures)
    return _KNOWN[key]


def _said(judge: Loaded, texts: Sequence[str]) -> Float[np.ndarray, "K E"]:
    """Vectors of captions; one of which the judge knows no word is an empty one to it."""
    return _unit(judge.encode_text(texts, batch_size=AT_ONCE, refuse_unknown=False))


def _vectors(judge: Loaded, pictures: Iterable[Any]) -> Float[np.ndarray, "N E"]:
    return _unit(judge.encode_image(list(pictures), batch_size=AT_ONCE))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _hits(
    vectors: Float[np.ndarray, "N E"],
    known: Float[np.ndarray, "K E"],
    groups: Int[np.ndarray, " K"],
    wanted: Int[np.ndarray, " N"],
) -> dict[int, np.ndarray]:
    """Whether each row's own caption is among the first k."""
    scores = vectors @ known.T
    own = scores[np.arange(len(vectors)), np.searchsorted(groups, wanted)]
    rank = (scores > own[:, None]).sum(1)
    return {k: rank < k for k in AT}


def _distances(name: str, made: np.ndarray, real: np.ndarray) -> dict[str, float]:
    interval = distances.kernel_interval(made, real)
    return {
        f"frechet/{name}": distances.frechet(made, real),
        f"kernel/{name}": interval.mean,
        f"kernel/{name}/low": interval.low,
        f"kernel/{name}/high": interval.high,
    }


def _spread(vectors: np.ndarray) -> float:
    """The mean of one minus the cosine of two vectors."""
    cosines = vectors @ vectors.T
    return float(1 - cosines[np.triu_indices(len(vectors), 1)].mean())


Config = GeneratedPictures  # what a config's sub-tree of this evaluator is turned into
