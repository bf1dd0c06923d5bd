"""When each token of a text is said: a path through the cross-attention of a few heads.

* Heads that follow the sound are named by the checkpoint; where none are, all of the upper half of
  the layers are taken. Their weights are normalised over the tokens, smoothed over time by a
  median, and averaged: whisper/timing.py of https://github.com/openai/whisper.
* The path is dynamic time warping's (Sakoe and Chiba, 1978): each token takes some steps of time,
  in order.

Letters: L tokens, C encoded frames (0.02 s each), V vocabulary, A heads.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax import tree
from mmjax.layers.attention import WEIGHTS
from mmjax.layers.cache import KeyValues
from mmjax.typing import Array, Float, Int

MEDIAN = 7  # steps of time that weights are smoothed over
STEPS = 50  # of time in a second


class Aligned(NamedTuple):
    """When the tokens of a text are said."""

    times: Float[np.ndarray, " L+1"]  # seconds at which each begins; the last one is the end
    probabilities: Float[np.ndarray, " L"]  # of each, among the words
    weights: Float[np.ndarray, "L+1 C"]  # that the path went through


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def attended(
    model: nn.Module,
    heads: tuple[tuple[int, int], ...],
    end: int,
    variables: Mapping[str, Any],
    context: KeyValues,
    ids: Int[Array, "1 L"],
    real: Int[Array, "1 L"],
) -> tuple[Float[Array, "A L C"], Float[Array, " L"]]:
    """Cross-attention of some heads, and the probability of each next token among the words.

    Args:
      heads: (layer, head) of each.
      end: <|endoftext|>.
      context: of one window.
      real: 1 = a token, 0 = padding behind them.
    """
    out, kept = model.apply(
        variables, ids, real, context=context, method="decode", mutable=[WEIGHTS]
    )
    layers = _layers(kept[WEIGHTS])
    weights = jnp.stack([layers[layer][0, head] for layer, head in heads])
    following = jnp.roll(ids[0], -1)[:, None]
    words = jax.nn.softmax(out.logits[0, :, :end].astype(jnp.float32))
    return weights, jnp.take_along_axis(words, jnp.minimum(following, end - 1), axis=1)[:, 0]


def _layers(collection: Mapping[str, Any]) -> list[Array]:
    """Each layer's cross-attention, [B, N, L, C], from blocks that are stacked or apart."""
    found = {}
    for path, (weights, *_) in tree.flatten(collection).items():
        apart = re.search(r"block_(\d+)/cross/weights$", path)
        if apart:
            found[int(apart[1])] = weights
        elif path.endswith("blocks/cross/weights"):
            found.update(enumerate(weights))
    return [found[layer] for layer in sorted(found)]


def upper_heads(layers: int, heads: int) -> tuple[tuple[int, int], ...]:
    """All heads of the upper half of the layers."""
    return tuple(
        (layer, head) for layer in range(layers // 2, layers) for head in range(heads)
    )


def align(
    weights: Float[np.ndarray, "A L C"], probabilities: Float[np.ndarray, " L"], prompt: int
) -> Aligned:
    """The times of a text's tokens.

    Args:
      weights: of the prompt, the text and the end, over the frames that hold sound.
      probabilities: of the token behind each.
      prompt: tokens of the prompt; the last of them chose the first token of the text.
    """
    weights = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30)  # over the sound alone
    mean = weights.mean(1, keepdims=True)
    deviation = weights.std(1, keepdims=True)
    weights = (weights - mean) / np.maximum(deviation, 1e-10)
    mean = median(weights, MEDIAN).mean(0)[prompt - 1 : -1]
    rows, columns = path(-mean)
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    return Aligned(columns[begins] / STEPS, probabilities[prompt - 1 : -2], mean)


def median(x: Float[np.ndarray, "*b C"], width: int) -> Float[np.ndarray, "*b C"]:
    """The median of `width` neighbours along the last axis, whose ends are mirrored."""
    half = width // 2
    if x.shape[-1] <= half:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1), axis=-1)


def path(cost: Float[np.ndarray, "L C"]) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """The cheapest way from the first token and frame to the last, one step at a time in either or
    both: its rows and columns.

    Of equal ways the one that stays with its token is taken. An antidiagonal is computed at a time:
    none of its places depends on another.
    """
    tokens, frames = cost.shape
    total = np.full((tokens + 1, frames + 1), np.inf, np.float32)
    total[0, 0] = 0.0
    came = np.zeros((tokens + 1, frames + 1), np.int8)  # 0: from both, 1: token, 2: frame
    for diagonal in range(2, tokens + frames + 1):
        i = np.arange(max(1, diagonal - frames), min(tokens, diagonal - 1) + 1)
        j = diagonal - i
        ways = np.stack([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]])
        first = (ways[0] < ways[1]) & (ways[0] < ways[2])
        second = (ways[1] < ways[0]) & (ways[1] < ways[2])
        way = np.where(first, 0, np.where(second, 1, 2))
        came[i, j] = way
        total[i, j] = cost[i - 1, j - 1] + ways[way, np.arange(len(i))]
    came[0, :] = 2
    came[:, 0] = 1
    steps = []
    i, j = tokens, frames
    while i > 0 or j > 0:
        steps.append((i - 1, j - 1))
        way = came[i, j]
        i -= way != 2
        j -= way != 1
    rows, columns = np.array(steps[::-1]).T
    return rows, columns


def heads_of(named: Sequence[tuple[int, int]], layers: int, heads: int) -> tuple:
    """Those that a checkpoint names, or the upper ones."""
    return tuple(named) or upper_heads(layers, heads)
