"""Retrieval in two looks: the candidates whose embeddings are nearest are matched one by one.

* BLIP https://arxiv.org/abs/2201.12086, section 5.1, and its released evaluation: the `top`
  candidates by cosine are ordered anew by cosine + the log-odds that image and text belong
  together; all others stay behind them, in the order of their cosines. Log-odds reach 10 where
  cosines end at 1: `cosine` gives the first look more to say.
* Metrics are those of retrieval.py, both directions; what the cosines alone give stands beside them
  as "itc/...".
* Of all images the tokens are kept, [N, P, D] in float32, which is what limits a data set's size:
  5,000 images of 577 tokens and width 768 are 9 GB.

Letters: B rows, K texts of a row, C candidates, P tokens of an image, L of a text, Q queries.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Result
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.measures import ranking
from mmjax.evaluation.measures.ranking import Items, Ranks
from mmjax.evaluation.retrieval import Retrieval
from mmjax.typing import Array, Positive

BEHIND = 1e3  # taken from the cosine of candidates that are not matched
RANKS = "_ranks"  # ending of the counts of a side's queries among the candidates of the other


@dataclasses.dataclass(frozen=True)
class Reranked(Retrieval):
    """Asks `predict` for "image", "text", "image_tokens" and "match"."""

    top: Positive = 64  # candidates that are matched, of each query
    cosine: float = 1.0  # factor on cosines before the log-odds are added; the released code's is 1

    def check(self, context: Context) -> None:
        if self.average_over:
            raise ConfigError("reranked: average_over is not for it; make one evaluation of each")
        super().check(context)
        if set(self.sides) != {"image", "text"}:
            raise ConfigError(f"reranked: its sides are image and text, not {self.sides}")

    def prepare(self, context: Context, collect) -> dict[str, Any]:
        """The candidates of both sides: vectors, groups, and what they are matched by."""
        rows = collect(self._candidates, context.batches(None))
        sides = dict(zip(self.sides, self.items(self._identified(rows, context)), strict=True))
        place = {int(index): row for row, index in enumerate(rows["index"])}
        prepared = {}
        for side, items in sides.items():
            at = np.array([place[int(index)] for index in items.index])
            found = {"vectors": items.vectors, "group": self._groups(rows)[at]}
            if side == "image":
                found["image_tokens"] = rows["image_tokens"][at]
            else:
                for name in ("text", "text_mask"):
                    texts = rows[f"given_{name}"]
                    found[name] = texts[at, items.number] if texts.ndim == 3 else texts[at]
            prepared[side] = found
        return prepared

    def _groups(self, rows: Rows) -> np.ndarray:
        return rows.get(self.group, rows["index"])

    def _candidates(self, predict, variables, batch, prepared) -> dict[str, Any]:
        out = predict(variables, batch)
        rows = super().records(predict, variables, batch, prepared)
        given = {f"given_{name}": batch[name] for name in ("text", "text_mask")}
        return {**rows, **given, "image_tokens": out["image_tokens"]}

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        out = predict(variables, batch)
        if "image_tokens" not in out:
            raise ConfigError(
                "reranked: it asks for the tokens of images and whether a pair matches, and the "
                f"task predicts only {', '.join(out)}; use the evaluator 'retrieval'"
            )
        rows = super().records(predict, variables, batch, prepared)
        group = batch[self.group] if self.group in batch else batch["index"]
        texts = batch["text"].reshape(-1, batch["text"].shape[-1])
        masks = batch["text_mask"].reshape(texts.shape)
        queries = {
            "image": {"vectors": out["image"], "image_tokens": out["image_tokens"]},
            "text": {
                "vectors": out["text"].reshape(len(texts), -1), "text": texts, "text_mask": masks,
            },
        }  # fmt: skip
        for side, other in (self.sides, self.sides[::-1]):
            query = queries[side]
            several = len(query["vectors"]) // len(group)

            def matched(fields: dict) -> Array:
                return predict(variables, fields)["match"]

            scores = _scores(matched, query, prepared[other], self.top, self.cosine)
            counts = _counts(scores, jnp.repeat(group, several), prepared[other]["group"])
            rows[f"{side}{RANKS}"] = counts.reshape(len(group), several, 3)
        return rows

    def finish(self, rows: Rows, context: Context) -> Result:
        by_cosine = super().finish(rows, context)
        place = {int(index): row for row, index in enumerate(rows["index"])}
        sides = self.items(self._identified(rows, context))
        metrics: dict[str, float] = {}
        values: dict[str, np.ndarray] = {}
        for (name, (a, _)), side in zip(self._directions(), self.sides, strict=True):
            items: Items = sides[a]
            at = np.array([place[int(index)] for index in items.index])
            number = items.number if rows[f"{side}{RANKS}"].shape[1] > 1 else 0
            ranks = Ranks(*rows[f"{side}{RANKS}"][at, number].astype(int).T)
            asked = np.flatnonzero(ranks.right)
            ranks = Ranks(*(count[asked] for count in ranks))
            for k in self.at:
                values[f"{name}/r{k}"] = ranks.hits(k)
                metrics[f"{name}/r{k}"] = float(ranks.hits(k).mean())
            values[f"{name}/rank"] = ranks.expected
            metrics[f"{name}/median_rank"] = float(np.median(ranks.expected))
            values[f"{name}/index"] = items.index[asked]
            values[f"{name}/group"] = items.group[asked]
        baselines = {**by_cosine.baselines, "itc": by_cosine.metrics}
        return dataclasses.replace(
            by_cosine, metrics=metrics, baselines=baselines, queries=values
        )


def _scores(matched, query: dict, candidates: dict, top: int, factor: float) -> Array:
    """[Q, C]: of the nearest candidates cosine * factor + log-odds, of the others far below."""
    cosine = jnp.einsum(
        "QE,CE->QC", query["vectors"], candidates["vectors"], precision="highest"
    )
    nearest, index = jax.lax.top_k(cosine, min(top, cosine.shape[1]))

    def column(number: Array) -> Array:  # one candidate of each query at a time
        fields = {name: value for name, value in query.items() if name != "vectors"}
        for name, value in candidates.items():
            if name not in ("vectors", "group"):
                fields[name] = value[number]
        return matched(fields)

    odds = jax.lax.map(column, index.T).T  # [Q, top]
    row = jnp.arange(len(cosine))[:, None]
    return (cosine - BEHIND).at[row, index].set(factor * nearest + odds)


def _counts(scores: Array, query_group: Array, group: Array) -> Array:
    """Of each query the fields of Ranks, [Q, 3]."""
    right = query_group[:, None] == group[None]
    best = jnp.where(right, scores, -jnp.inf).max(1, keepdims=True)
    above = (~right & (scores > best)).sum(1)
    above = ~right & (scores > best + ranking.TIE)
    near = jnp.abs(scores - best) <= ranking.TIE
    counts = jnp.stack([above.sum(1), (~right & near).sum(1), (right & near).sum(1)], axis=1)
    # a NaN compares with nothing: without this it would pass as the first rank
    finite = jnp.isfinite(scores).all(1, keepdims=True)
    return jnp.where(finite, counts.astype(jnp.float32), jnp.nan)


Config = Reranked  # what a config's sub-tree of this evaluator is turned into
