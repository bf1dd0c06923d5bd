"""Ranks of the right answers among all candidates, without the matrix of all scores.

* Two passes over tiles of the score matrix: the first finds each row's and column's best right
  score (items are sorted by group, so only tiles near the diagonal are visited), the second counts
  the wrong scores above it. Both directions share the tiles: one matrix product for two rankings.
* Memory beside the embeddings is one tile; 100k x 100k never exists.
* Ties are counted as average: equal scores are in random order. A collapsed model, all of whose
  embeddings are equal, scores exactly chance, not 100%. Scores closer than rounding are equal.

Letters: Q queries, C candidates, D width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jaxtyping import Float, Int

# Two scores nearer than this, times the longest query and candidate, are a tie. The sum of D
# products in float32 is good to a few 1e-7; real differences of a trained model are above 1e-4.
TIE = 2e-6
BLOCK = 32  # rows of a tile counted at a time


class Items(NamedTuple):
    """The unique items of one modality."""

    vectors: Float[np.ndarray, "N D"]
    group: Int[np.ndarray, " N"]  # from 0; items of one group are right answers to each other
    index: Int[np.ndarray, " N"]  # the example it belongs to
    number: Int[np.ndarray, " N"]  # which of that example's captions


class Ranks(NamedTuple):
    """Where the best right candidate of each query stands, as counts."""

    above: Int[np.ndarray, " Q"]  # wrong candidates that score higher
    tied: Int[np.ndarray, " Q"]  # wrong candidates that score the same
    right: Int[np.ndarray, " Q"]  # right candidates at that score; 0 if the query has none at all

    @property
    def expected(self) -> Float[np.ndarray, " Q"]:
        """Rank of the first right candidate, from 1, averaged over the orders of tied ones."""
        return 1 + self.above + self.tied / (self.right + 1)

    def hits(self, k: int) -> Float[np.ndarray, " Q"]:
        """Probability, over the orders of tied ones, that a right candidate is in the first k."""
        miss = np.ones(self.above.shape)
        for place in range(k):  # all of the places left by `above` are drawn from the wrong ones
            wrong = np.maximum(self.tied - place, 0)
            share = wrong / np.maximum(self.tied + self.right - place, 1)
            miss *= np.where(place < k - self.above, share, 1.0)
        return np.where(self.right > 0, 1 - miss, 0.0)


def chance(right: Int[np.ndarray, " Q"], candidates: int) -> Ranks:
    """The ranks of a random order, for queries with `right` right ones among `candidates`."""
    return Ranks(np.zeros_like(right), candidates - right, right)


def rank(
    queries: Float[np.ndarray, "Q D"],
    candidates: Float[np.ndarray, "C D"],
    query_group: Int[np.ndarray, " Q"],
    candidate_group: Int[np.ndarray, " C"],
    *,
    tile: int = 2048,
) -> tuple[Ranks, Ranks]:
    """Ranks of each query among the candidates and of each candidate among the queries.

    The score is the inner product. A candidate is right for a query if their groups, integers from
    0, are equal. Raises ValueError if an embedding is not finite: comparisons with NaN are false,
    so a NaN would pass as rank 1.
    """
    rows = _Side(np.asarray(queries, np.float32), np.asarray(query_group), tile, "query")
    columns = _Side(
        np.asarray(candidates, np.float32), np.asarray(candidate_group), tile, "candidate"
    )
    near = np.float32(TIE * max(rows.longest * columns.longest, 1e-30))
    # Under the caller's mesh every device would do the whole of this; one of this process does.
    one = jax.make_mesh((1,), ("one",), (AxisType.Auto,), devices=jax.local_devices()[:1])
    with jax.set_mesh(one):
        return _rank(rows, columns, near)


def _rank(rows: "_Side", columns: "_Side", near: np.float32) -> tuple[Ranks, Ranks]:
    row_best = [jnp.full(rows.tile, -jnp.inf)] * rows.count
    column_best = [jnp.full(columns.tile, -jnp.inf)] * columns.count
    for i in range(rows.count):
        for j in np.flatnonzero(columns.overlaps(rows.span[i])):
            scores = _scores(rows.vectors[i], columns.vectors[j])
            row_best[i], column_best[j] = _best(
                scores, rows.groups[i], columns.groups[j], row_best[i], column_best[j]
            )
    row_counts = [jnp.zeros((3, rows.tile), jnp.int32)] * rows.count
    column_counts = [jnp.zeros((3, columns.tile), jnp.int32)] * columns.count
    for i in range(rows.count):
        for j in range(columns.count):
            scores = _scores(rows.vectors[i], columns.vectors[j])
            row_counts[i], column_counts[j] = _count(
                scores, rows.groups[i], columns.groups[j], row_best[i], column_best[j], near,
                row_counts[i], column_counts[j],
            )
        jax.block_until_ready(row_counts[i])  # else the tiles of all steps queue up in memory
    return rows.ranks(row_counts), columns.ranks(column_counts)


class _Side:
    """One side's items sorted by group and cut into equal tiles, the last one filled up."""

    def __init__(self, vectors, groups, tile, name):
        if vectors.ndim != 2 or not len(vectors) or groups.shape != vectors.shape[:1]:
            raise ValueError(
                f"{name} embeddings must be [N, D] with N >= 1 and one group each, "
                f"not {vectors.shape} with groups {groups.shape}"
            )
        lengths = np.linalg.norm(vectors, axis=1)
        bad = np.flatnonzero(~np.isfinite(lengths))
        if bad.size:
            raise ValueError(
                f"{bad.size} of {len(vectors)} {name} embeddings are not finite "
                f"(the first: {bad[0]})"
            )
        self.longest = float(lengths.max())
        self.size = len(vectors)
        self.order = np.argsort(groups, kind="stable")
        self.tile = min(tile, -(-self.size // 128) * 128)
        self.count = -(-self.size // self.tile)
        padding = self.count * self.tile - self.size
        vectors = np.pad(vectors[self.order], ((0, padding), (0, 0)))
        groups = np.pad(groups[self.order].astype(np.int32), (0, padding), constant_values=-1)
        self.vectors = vectors.reshape(self.count, self.tile, -1)
        self.groups = groups.reshape(self.count, self.tile)
        self.span = [(part[0], part.max()) for part in self.groups]

    def overlaps(self, span) -> np.ndarray:
        return np.array([low <= span[1] and span[0] <= high for low, high in self.span])

    def ranks(self, counts) -> Ranks:
        flat = np.concatenate([np.asarray(count) for count in counts], axis=1)[:, : self.size]
        out = np.empty_like(flat)
        out[:, self.order] = flat
        return Ranks(*out)


# The scores leave this function as an array, and both passes read that array: were the product
# fused into each pass, the same pair could round differently and a score exceed itself.
@jax.jit
def _scores(queries, candidates):
    return jnp.einsum("qd,cd->qc", queries, candidates, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _best(scores, row_group, column_group, row_best, column_best):
    right = (row_group[:, None] == column_group[None, :]) & (row_group >= 0)[:, None]
    scores = jnp.where(right, scores, -jnp.inf)
    return jnp.maximum(row_best, scores.max(1)), jnp.maximum(column_best, scores.max(0))


# A scan over blocks of rows: XLA's CPU backend takes 190 ms to reduce the six masks of a tile of
# 4096 x 4096 at once, more than the 130 ms of its product, and 25 ms block by block.
@jax.jit
def _count(
    scores, row_group, column_group, row_best, column_best, near, row_count, column_count
):
    def block(column_count, xs):
        scores, row_group, row_best = xs
        real = (row_group >= 0)[:, None] & (column_group >= 0)[None, :]
        right = (row_group[:, None] == column_group[None, :]) & real

        def tally(best, axis):
            above = (scores > best + near) & real & ~right
            level = (scores >= best - near) & real
            marks = above, level & ~right & ~above, level & right
            return jnp.stack([mark.sum(axis) for mark in marks])

        return column_count + tally(column_best[None, :], 0), tally(row_best[:, None], 1)

    cut = [x.reshape(-1, BLOCK, *x.shape[1:]) for x in (scores, row_group, row_best)]
    column_count, counts = jax.lax.scan(block, column_count, cut)  # counts: [blocks, 3, BLOCK]
    return row_count + counts.transpose(1, 0, 2).reshape(3, -1), column_count
