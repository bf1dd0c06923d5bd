"""Retrieval between two modalities, both directions: recall at k and median rank.

* Right answers are those of the query's group: the five captions of a COCO image, the two drawings
  of an emoji. A query's rank is the best rank of any of them; the candidates are all unique items
  of the other side, all captions of all images one by one.
* Several captions per image come as embeddings [B, K, D] with a mask [B, K], or as one row each
  with the column "image_id" in which equal values are one image (likewise "text_id"): of the batch,
  or of the source. Both forms have the same metrics.
* Ties are averaged, and "chance/..." is what a random order would score, exact for any number of
  right answers: an untrained or collapsed model reads as chance (evaluation/measures/ranking.py).
* `average_over` = "style" makes one retrieval per value of that column, each with its own
  candidates, and averages the metrics.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.source import DataError
from mmjax.evaluation.base import Context, Evaluator, Result
from mmjax.evaluation.drawing import sheets
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.measures import ranking
from mmjax.evaluation.measures.ranking import Items, Ranks


@dataclasses.dataclass(frozen=True)
class Retrieval(Evaluator):
    queries: str = "image"  # one modality: its key in what `predict` returns
    candidates: str = "text"  # the other modality; both directions are measured
    group: str = "group"  # column: rows of one group are right answers to each other; none: itself
    average_over: str = ""  # column: one retrieval per value, metrics averaged; "": all rows in one
    at: tuple[int, ...] = (1, 5, 10)  # the k of recall at k
    tile: int = 2048  # edge of the score tiles; memory on the device is about 8 * tile^2 bytes
    sheet: int = 6  # queries on the retrieval sheets, the same ones at every evaluation
    matrix: int = 32  # rows of the similarity matrix picture

    @property
    def sides(self) -> tuple[str, str]:
        return self.queries, self.candidates

    @property
    def columns(self) -> tuple[str, ...]:
        identities = [f"{side}_id" for side in self.sides]
        return (self.group, *identities, *([self.average_over] if self.average_over else []))

    def check(self, context: Context) -> None:
        asked = [self.average_over] if self.average_over else []
        if self.group != Retrieval.group:
            asked.append(self.group)
        for name in asked:
            if context.source.column(name) is None and name not in context.source[0]:
                raise ConfigError(f"retrieval: the data has no column {name!r}")

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        out = predict(variables, batch)
        missing = [side for side in self.sides if side not in out]
        if missing:
            raise ConfigError(
                f"retrieval between {self.queries} and {self.candidates}: predict gave no "
                f"{' and no '.join(missing)}, only {', '.join(out)} (batch: {', '.join(batch)})"
            )
        rows = {side: out[side] for side in self.sides}
        for side in self.sides:
            if rows[side].ndim == 3:  # [B, K, D]; the mask may be one per token, [B, K, L]
                mask = out.get(f"{side}_mask", batch.get(f"{side}_mask"))
                if mask is not None:
                    rows[f"{side}_mask"] = mask.any(-1) if mask.ndim == 3 else mask
        return rows | {name: batch[name] for name in self.columns if name in batch}

    def finish(self, rows: Rows, context: Context) -> Result:
        parts = self.parts(rows, context)
        found = self.measure(parts)
        return dataclasses.replace(found, media=self._pictures(parts, context))

    def parts(self, rows: Rows, context: Context) -> list[tuple[Items, Items]]:
        """The items of both sides, of each separate retrieval."""
        return [self.items(part) for part in self._parts(self._identified(rows, context))]

    def _identified(self, rows: Rows, context: Context) -> Rows:
        """With the columns that say which rows have one image, or one text."""
        columns = {f"{side}_id": context.source.column(f"{side}_id") for side in self.sides}
        found = {
            name: column[rows["index"]] for name, column in columns.items() if column is not None
        }
        return found | rows

    def measure(self, parts: Sequence[tuple[Items, Items]]) -> Result:
        """Metrics averaged over several retrievals, each among candidates of its own."""
        scores = [self.score(*sides) for sides in parts]
        first = scores[0]
        metrics = {name: _mean([score.metrics[name] for score in scores]) for name in first.metrics}
        chances = [score.baselines["chance"] for score in scores]
        chance = {name: _mean([one[name] for one in chances]) for name in chances[0]}
        queries = {
            name: np.concatenate([score.queries[name] for score in scores])
            for name in first.queries
        }
        return Result(metrics, {"chance": chance}, queries=queries)

    def _pictures(
        self, parts: Sequence[tuple[Items, Items]], context: Context
    ) -> dict[str, Any]:
        """The sheets of both directions and the similarity matrix, of what can be drawn, and the
        sounds on the sheets."""
        example = context.decode(int(parts[0][0].index[0]))
        if not all(sheets.drawable(example.get(side)) for side in self.sides):
            return {}
        out = {}
        for name, (a, b) in self._directions():
            pairs = [(sides[a], sides[b]) for sides in parts]
            asked = self.sides[a], self.sides[b]
            chosen = sheets.answers(pairs, *asked, context.decode, self.sheet)
            sizes = [len(candidates.group) for _, candidates in pairs]
            out[name] = sheets.draw(chosen, sizes, *asked)
            for label, sound in sheets.played(chosen).items():
                out[f"{name}/{label}"] = sound
        out["similarity"] = sheets.similarity(*parts[0], *self.sides, context.decode, self.matrix)
        return out

    def score(self, queries: Items, candidates: Items) -> Result:
        """Metrics and per-query values of both directions, on one set of items.

        Queries without any right answer (a picture whose captions were all dropped) count nowhere,
        but stay candidates.
        """
        sides = queries, candidates
        both = ranking.rank(
            queries.vectors, candidates.vectors, queries.group, candidates.group, tile=self.tile
        )
        metrics: dict[str, float] = {}
        chance: dict[str, float] = {}
        values: dict[str, np.ndarray] = {}
        for (name, (a, b)), ranks in zip(self._directions(), both, strict=True):
            share = np.bincount(sides[b].group, minlength=sides[a].group.max() + 1)[sides[a].group]
            asked = np.flatnonzero(share)
            if not asked.size:
                raise DataError(f"{name}: no query has a right answer; are the groups right?")
            ranks = Ranks(*(count[asked] for count in ranks))
            by_chance = ranking.chance(share[asked], len(sides[b].group))
            for k in self.at:
                hits = ranks.hits(k)
                values[f"{name}/r{k}"] = hits
                metrics[f"{name}/r{k}"] = float(hits.mean())
                chance[f"{name}/r{k}"] = float(by_chance.hits(k).mean())
            values[f"{name}/rank"] = ranks.expected
            metrics[f"{name}/median_rank"] = float(np.median(ranks.expected))
            chance[f"{name}/median_rank"] = float(np.median(by_chance.expected))
            values[f"{name}/index"] = sides[a].index[asked]
            values[f"{name}/group"] = sides[a].group[asked]
        return Result(metrics, {"chance": chance}, queries=values)

    def items(self, rows: Rows) -> tuple[Items, Items]:
        """The unique items of both sides, each in the order of (index, caption)."""
        if self.group in rows:
            group = rows[self.group]
        elif self.group == Retrieval.group:
            group = np.arange(len(rows["index"]))
        else:
            raise ConfigError(f"retrieval: no column {self.group!r} among {', '.join(rows)}")
        group = np.unique(group, return_inverse=True)[1].reshape(-1)
        return tuple(_items(rows, side, group) for side in self.sides)

    def _parts(self, rows: Rows) -> list[Rows]:
        if not self.average_over:
            return [rows]
        if self.average_over not in rows:
            raise ConfigError(
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
    group = np.repeat(group, count)
    index = np.repeat(rows["index"], count)
    kept = np.ones(len(number), bool)
    if vectors.ndim == 3 and f"{side}_mask" in rows:
        kept = rows[f"{side}_mask"].reshape(-1).astype(bool)
        if not kept.any():
            raise DataError(f"retrieval: {side}_mask leaves no {side} at all")
    if f"{side}_id" in rows:
        kept = np.flatnonzero(kept)
        ids = np.repeat(rows[f"{side}_id"], count)[kept]
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        other = np.flatnonzero(group[kept] != group[kept][first][inverse.reshape(-1)])
        if other.size:
            raise DataError(f"retrieval: {side}_id {ids[other[0]]} is in two groups")
        kept = kept[np.sort(first)]
    vectors = vectors.reshape(-1, vectors.shape[-1])
    return Items(vectors[kept], group[kept], index[kept], number[kept])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


Config = Retrieval  # what a config's sub-tree of this evaluator is turned into
