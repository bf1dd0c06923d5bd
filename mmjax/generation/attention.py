"""Where a decoder looked when it chose each token: its attention over pictures.

* A token's weights are those of the place that chose it, the token before it.
* They are averaged over the heads and over all layers, or are those of one layer. Pictures of
  cross-attention are often of one: ALBEF (https://arxiv.org/abs/2107.07651) shows the third of its
  six such layers, weighted with gradients, which these are not.
* Attention says what was read, not what the answer depends on
  (https://arxiv.org/abs/1902.10186).
* Weights over a context (BLIP) sum to 1 over its positions; of those over a prompt (vision-language
  GPT) the pictures have a share. What a learned token has of it, a class token, is on no patch.

Letters: B rows, L tokens of a prompt or a question, N tokens that were said, C positions of a
    context, P image tokens, M pictures of a row at most, G patches along an edge of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers.attention import WEIGHTS
from mmjax.layers.decoding import real_tokens
from mmjax.layers.projectors import resampler
from mmjax.models import vit, vlm
from mmjax.typing import Array, Float, Int, Shaped


def over_context(
    model: Any,
    variables: Mapping[str, Any],
    prompt: Mapping[str, Any],
    tokens: Int[Array, "B N"],
    mask: Shaped[Array, "B N"],
    layer: int | None = None,
) -> Float[Array, "B N C"]:
    """The cross-attention of a decoder to its context, for each token that it said.

    Args:
      prompt: what `prefill` took by name: `inputs` [B, L], `mask`, `context` [B, C, E], ...
      tokens: what was said behind it; `mask`: True = a token of it.
      layer: None: the mean over all.

    Raises:
      ConfigError: no such layer.
    """
    return _of_said(model, variables, prompt, tokens, mask, layer, "cross")


def over_question(
    model: Any,
    variables: Mapping[str, Any],
    ids: Int[Array, "B L"],
    mask: Shaped[Array, "B L"] | None,
    context: Float[Array, "B P E"],
    layer: int | None = None,
) -> Float[Array, "B L P"]:
    """The cross-attention to image tokens of each token of a text that BLIP reads beside them.

    A decoder that attends to a question saw the picture through it: `over_context` of the answer
    times this, [B, N, L] x [B, L, P], sums to 1 over the image tokens again.
    """
    _, kept = model.apply(variables, ids, mask, context=context, method="fuse", mutable=[WEIGHTS])
    return _mean(kept[WEIGHTS], "cross", layer)


def over_pictures(
    model: Any,
    variables: Mapping[str, Any],
    prompt: Mapping[str, Any],
    tokens: Int[Array, "B N"],
    mask: Shaped[Array, "B N"],
    layer: int | None = None,
) -> Float[Array, "B N M G G"]:
    """The self-attention of a vision-language GPT to the patches of its prompt's pictures.

    Arguments as above, with `images` [B, M, H, W, C] and `image_mask` in the prompt. Pictures are
    in the order of the prompt; behind a row's own ones, the weights are 0.

    Raises:
      ConfigError: no such layer, or a projector whose tokens have no place in the picture.
    """
    config = model.config
    if not shows_places(config):
        raise ConfigError(
            "the projector makes tokens that stand for no part of a picture: attention to them "
            "cannot be drawn on it"
        )
    weights = _of_said(model, variables, prompt, tokens, mask, layer, "attention")
    inputs = prompt["inputs"]
    rows, length = inputs.shape
    most = prompt["images"].shape[1] * config.image_tokens
    taken = (inputs == config.image_id) & real_tokens(inputs, prompt.get("mask"))
    missing = max(0, most - length)  # prompts shorter than the pictures of another row
    taken = jnp.pad(taken, ((0, 0), (0, missing)))
    weights = weights[:, :, :length]  # what was said before is no picture
    weights = jnp.pad(weights, ((0, 0), (0, 0), (0, missing)))
    places = jnp.argsort(~taken, axis=1, stable=True)[:, :most]  # of image tokens, in their order
    weights = jnp.take_along_axis(weights, places[:, None], axis=2)
    there = jnp.arange(most)[None] < taken.sum(1, keepdims=True)
    weights = jnp.where(there[:, None], weights, 0.0)
    weights = weights.reshape(rows, weights.shape[1], -1, config.image_tokens)
    return _on_patches(weights, config.image.grid)


def on_picture(
    weights: Float[Array, "B N P"], config: vit.Config
) -> Float[Array, "B N 1 G G"]:
    """Weights over the tokens of an image tower, as those on the patches of one picture."""
    return _on_patches(weights[:, :, None], config.grid)


def shows_places(config: Any) -> bool:
    """Whether a model's image tokens are the patches of pictures, each in its place."""
    if not isinstance(config, vlm.Config) or config.image is None:
        return False
    return not isinstance(config.projector, resampler.Config)


def _on_patches(weights: Array, grid: int) -> Array:
    """[..., P] -> [..., G, G]: learned tokens, which come first, are left out."""
    patches = weights[..., weights.shape[-1] - grid**2 :]
    return patches.reshape(*weights.shape[:-1], grid, grid)


def _of_said(
    model: Any,
    variables: Mapping[str, Any],
    prompt: Mapping[str, Any],
    tokens: Array,
    mask: Array,
    layer: int | None,
    name: str,
) -> Float[Array, "B N S"]:
    """Weights of the places that chose the tokens, in one pass over the prompt and the answer."""
    arguments = dict(prompt)
    inputs = arguments.pop("inputs")
    read = real_tokens(inputs, arguments.pop("mask", None))
    length = inputs.shape[1]
    ids = jnp.concatenate([inputs, tokens[:, :-1]], axis=1)
    valid = jnp.concatenate([read, mask[:, :-1].astype(bool)], axis=1)
    prefix = arguments.pop("prefix", None)
    if prefix is None and getattr(model.config, "prefix_lm", False):
        prefix = read
    if prefix is not None:  # what was said sees only what was before
        arguments["prefix"] = jnp.concatenate([prefix, jnp.zeros_like(valid[:, length:])], axis=1)
    method = "decode" if hasattr(model, "decode") else "__call__"
    _, kept = model.apply(
        variables, ids, valid, **arguments, logits_at="none", method=method, mutable=[WEIGHTS]
    )
    weights = _mean(kept[WEIGHTS], name, layer)
    # the first token was chosen by the last real one of the prompt
    last = jnp.where(read, jnp.arange(length)[None], 0).max(1, keepdims=True)
    behind = jnp.arange(length, ids.shape[1])[None]
    behind = jnp.broadcast_to(behind, (len(ids), behind.shape[1]))
    places = jnp.concatenate([last, behind], axis=1)
    return jnp.take_along_axis(weights, places[:, :, None], axis=1)


def _mean(collection: Mapping[str, Any], name: str, layer: int | None) -> Float[Array, "B L S"]:
    """Over heads, and layers; of the attention `name` of what reads or writes the text."""
    ending = f"blocks/{name}/weights"
    flat = tree.flatten(collection)
    towers = ("image/", "audio/")
    texts = {path: values for path, values in flat.items() if not path.startswith(towers)}
    (weights,) = (values[0] for path, values in texts.items() if path.endswith(ending))
    layers = len(weights)
    if layer is None:
        return weights.mean((0, 2))
    if not -layers <= layer < layers:
        raise ConfigError(f"layer={layer}: the model has {layers}, 0 to {layers - 1}")
    return weights[layer].mean(1)
