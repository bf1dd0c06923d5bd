"""Retrieval between two modalities, both directions: recall at k and median rank.

* Right answers are those of the query's group: the five captions of a COCO image, the two drawings
  of an emoji. A query's rank is the best rank of any of them; the candidates are all unique items
  of the other side, all captions of all images one by one.
* Several captions per image come as embeddings [B, K, D] with a mask [B, K], or as one row each
  with the column "image_id" in which equal values are one image (likewise "text_id").
* Ties are averaged, and "chance/..." is what a random order would score, exact for any number of
  right answers: an untrained or collapsed model reads as chance (evaluation/ranking.py).
* `average_over` = "style" makes one retrieval per value of that column, each with its own
  candidates, and averages the metrics.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax.evaluation import ranking, sheets
from mmjax.evaluation.base import Evaluator, Result, Rows
from mmjax.evaluation.ranking import Items, Ranks


@dataclasses.dataclass(frozen=True)
class Retrieval(Evaluator):
    predict: str = "embed"  # the task's predict function; it returns one embedding per modality
    queries: str = "image"  # one modality: its key in what `predict` returns
    candidates: str = "text"  # the other modality; both directions are measured
    group: str = "group"  # column: rows of one group are right answers to each other; none: itself
    average_over: str = ""  # column: one retrieval per value, metrics averaged; "": all rows in one
    at: tuple[int, ...] = (1, 5, 10)  # the k of recall at k
    tile: int = 2048  # edge of the score tiles; memory on the device is about 8 * tile^2 bytes
    sheet: int = 6  # queries on the retrieval sheets, the same ones at every evaluation
    matrix: int = 32  # rows of the similarity matrix picture
    # index -> {"image": uint8 [H, W, 3], "text": str or tuple of str}: what the sheets show, handed
    # in by the command. None: no pictures.
    example: Callable[[int], Mapping[str, Any]] | None = None

    @property
    def sides(self) -> tuple[str, str]:
        return self.queries, self.candidates

    def records(self, predict, variables, batch, prepared=None):
        out = predict(variables, batch)
        missing = [side for side in self.sides if side not in out]
        if missing:
            raise ValueError(
                f"retrieval between {self.queries} and {self.candidates}: predict gave no "
                f"{' and no '.join(missing)}, only {', '.join(out)} (batch: {', '.join(batch)})"
            )
        rows = {side: out[side] for side in self.sides}
        for side in self.sides:
            if rows[side].ndim == 3:  # [B, K, D]; the mask may be one per token, [B, K, L]
                mask = out.get(f"{side}_mask", batch.get(f"{side}_mask"))
                if mask is not None:
                    rows[f"{side}_mask"] = mask.any(-1) if mask.ndim == 3 else mask
        columns = self.group, self.average_over, *(f"{side}_id" for side in self.sides)
        return rows | {name: batch[name] for name in columns if name in batch}

    def finish(self, rows: Rows) -> Result:
        parts = [self.items(part) for part in self._parts(rows)]
        scores = [self.score(*sides) for sides in parts]
        metrics = {
            name: float(np.mean([score.metrics[name] for score in scores]))
            for name in scores[0].metrics
        }
        queries = {
            name: np.concatenate([score.queries[name] for score in scores])
            for name in scores[0].queries
        }
        pictures = {}
        if self.example is not None:
            for name, (a, b) in self._directions():
                pictures[name] = sheets.draw(
                    [(sides[a], sides[b]) for sides in parts],
                    self.sides[a], self.sides[b], self.example, self.sheet,
                )
            pictures["similarity"] = sheets.similarity(
                *parts[0], *self.sides, self.example, self.matrix
            )
        return Result(metrics, pictures, queries)

    def score(self, queries: Items, candidates: Items) -> Result:
        """Metrics and per-query values of both directions, on one set of items.

        Queries without any right answer (a picture whose captions were all dropped) count nowhere,
        but stay candidates.
        """
        sides = queries, candidates
        both = ranking.rank(
            queries.vectors, candidates.vectors, queries.group, candidates.group, tile=self.tile
        )
        metrics, values = {}, {}
        for (name, (a, b)), ranks in zip(self._directions(), both, strict=True):
            share = np.bincount(sides[b].group, minlength=sides[a].group.max() + 1)[sides[a].group]
            asked = np.flatnonzero(share)
            if not asked.size:
                raise ValueError(f"{name}: no query has a right answer; are the groups right?")
            ranks = Ranks(*(count[asked] for count in ranks))
            by_chance = ranking.chance(share[asked], len(sides[b].group))
            for k in self.at:
                values[f"{name}/r{k}"] = hits = ranks.hits(k)
                metrics[f"{name}/r{k}"] = float(hits.mean())
                metrics[f"chance/{name}/r{k}"] = float(by_chance.hits(k).mean())
            values[f"{name}/rank"] = ranks.expected
            metrics[f"{name}/median_rank"] = float(np.median(ranks.expected))
            metrics[f"chance/{name}/median_rank"] = float(np.median(by_chance.expected))
            values[f"{name}/index"] = sides[a].index[asked]
            values[f"{name}/group"] = sides[a].group[asked]
        return Result(metrics, queries=values)

    def items(self, rows: Rows) -> tuple[Items, Items]:
        """The unique items of both sides, each in the order of (index, caption)."""
        if self.group in rows:
            group = rows[self.group]
        elif self.group == Retrieval.group:
            group = np.arange(len(rows["index"]))
        else:
            raise ValueError(f"retrieval: no column {self.group!r} among {', '.join(rows)}")
        group = np.unique(group, return_inverse=True)[1].reshape(-1)
        return tuple(_items(rows, side, group) for side in self.sides)

    def _parts(self, rows: Rows) -> list[Rows]:
        if not self.average_over:
            return [rows]
        if self.average_over not in rows:
            raise ValueError(
                f"retrieval: no column {self.average_over!r} to average over among "
                f"{', '.join(rows)}"
            )
        column = rows[self.average_over]
        return [
            {name: value[column == part] for name, value in rows.items()}
            for part in np.unique(column)
        ]

    def _directions(self):
        a, b = self.sides
        return (f"{a}_to_{b}", (0, 1)), (f"{b}_to_{a}", (1, 0))


def _items(rows: Rows, side: str, group: np.ndarray) -> Items:
    vectors = rows[side]
    count = vectors.shape[1] if vectors.ndim == 3 else 1
    number = np.tile(np.arange(count), len(vectors))
    group, index = np.repeat(group, count), np.repeat(rows["index"], count)
    kept = np.ones(len(number), bool)
    if vectors.ndim == 3 and f"{side}_mask" in rows:
        kept = rows[f"{side}_mask"].reshape(-1).astype(bool)
        if not kept.any():
            raise ValueError(f"retrieval: {side}_mask leaves no {side} at all")
    if f"{side}_id" in rows:
        kept = np.flatnonzero(kept)
        ids = np.repeat(rows[f"{side}_id"], count)[kept]
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        other = np.flatnonzero(group[kept] != group[kept][first][inverse.reshape(-1)])
        if other.size:
            raise ValueError(f"retrieval: {side}_id {ids[other[0]]} is in two groups")
        kept = kept[np.sort(first)]
    vectors = vectors.reshape(-1, vectors.shape[-1])
    return Items(vectors[kept], group[kept], index[kept], number[kept])


Config = Retrieval  # what a config's sub-tree of this evaluator is turned into
