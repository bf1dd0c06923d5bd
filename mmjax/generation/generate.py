"""Text behind prompts, from any decoder of the house.

    generator = Generator(model, variables)
    said = generator(dict(inputs=ids, mask=mask), Options(max_new_tokens=32, end_ids=(2,)))
    said.tokens  # [B, returns, N]

* A decoder is a model with `prefill` and `extend` (layers/decoding.py). A prompt is what its
  `prefill` takes by name: token ids or embeddings, their mask, a context, pictures.
* Prompts are padded on the left to a few lengths, and a cache has a few sizes, so that a program is
  compiled once for many prompts. Padding changes no token.
* On one CPU the layers of a model are taken apart (layers/stack.py): each token then reads every
  kernel where it lies.

Letters: B prompts, L tokens of a prompt, N new tokens at most.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.generation import beams, decode, history
from mmjax.generation.options import Options
from mmjax.layers.adapters import Adapted
from mmjax.layers.placement import on_one_cpu
from mmjax.layers.stack import layers_apart
from mmjax.typing import Array, Bool, Float, Int, Key

SHORTEST = 16  # tokens that every prompt is padded to


class Generated(NamedTuple):
    """The answers to B prompts, `returns` of each."""

    tokens: Int[Array, "B returns N"]  # the end included, then padding
    lengths: Int[Array, "B returns"]  # tokens of each answer, its end included
    log_probs: Float[Array, "B returns N"]  # of each token; 0 behind
    scores: Float[Array, "B returns"]  # a beam's score; else the sum of the log-probabilities


def first_answers(
    generated: Generated, options: Options
) -> tuple[Int[Array, "B N"], Bool[Array, "B N"]]:
    """The first answer to each prompt, and which of its tokens are words: no end, no padding."""
    tokens = generated.tokens[:, 0]
    place = jnp.arange(tokens.shape[1])[None]
    return tokens, (place < generated.lengths[:, :1]) & ~decode.is_end(tokens, options)


def bucket(length: int) -> int:
    """The length that a prompt is padded to: 16, 24, 32, 48, 64, 96, ..."""
    size = SHORTEST
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


class Generator:
    """A model that answers prompts.

    Args:
      model: a decoder with `prefill` and `extend`.
      variables: its parameters, {"params": ...}.
    """

    def __init__(self, model: nn.Module | Adapted, variables: Mapping[str, Any]) -> None:
        self.model = model
        params = nn.unbox(variables["params"])
        if on_one_cpu():
            params = layers_apart(params)
        self.variables = {**variables, "params": params}

    def __call__(
        self, prompt: Mapping[str, Any], options: Options, seed: int | Int[np.ndarray, " B"] = 0
    ) -> Generated:
        """The answers to prompts, as numpy arrays.

        Args:
          prompt: what the model's `prefill` takes: `inputs` [B, L] or [B, L, D], `mask` [B, L], ...
          seed: of the random numbers; of all rows, or one of each.

        Raises:
          ConfigError: a prompt that is empty, or that leaves no room for N new tokens, or that the
            model's `check` refuses.
        """
        prompt = self._padded(prompt, options)
        keys = row_keys(seed, len(prompt["inputs"]), options.returns)
        generated = _answers(self.model, options, self.variables, prompt, keys)
        return Generated(*map(np.asarray, generated))

    def stream(
        self, prompt: Mapping[str, Any], options: Options, seed: int | Int[np.ndarray, " B"] = 0
    ) -> Iterator[Int[np.ndarray, " R"]]:
        """The same answers token by token: [B * returns] as soon as each is there.

        Rows that have ended give `padding_id`.

        Raises:
          ConfigError: as above; and beams, whose texts change until the end.
        """
        if options.beams > 1:
            raise ConfigError("beams have no token to show before the end: set beams to 1")
        prompt = self._padded(prompt, options)
        keys = row_keys(seed, len(prompt["inputs"]), options.returns)
        state = _start(self.model, options, self.variables, prompt, keys)
        while True:
            said = int(state.history.said)
            yield np.asarray(state.tokens[:, said - 1])
            if decode.done(options, state):
                return
            state = advance(self.model, options, self.variables, state)

    def _padded(self, prompt: Mapping[str, Any], options: Options) -> dict[str, Any]:
        """The prompt at the length of its bucket, padding on the left, with its mask."""
        inputs = np.asarray(prompt["inputs"])
        rows, length = inputs.shape[:2]
        mask = prompt.get("mask")
        mask = np.ones((rows, length), bool) if mask is None else np.asarray(mask).astype(bool)
        empty = np.flatnonzero(~mask.any(1))
        if len(empty):
            raise ConfigError(f"prompt {empty[0]} is empty: there is nothing to go on from")
        check = getattr(self.model, "check", None)
        if check is not None:
            check(prompt)
        limit = getattr(self.model.config, "context_length", None)
        room = None if limit is None else limit - options.max_new_tokens
        longest = int(mask.sum(1).max())
        if room is not None and longest > room:
            raise ConfigError(
                f"a prompt of {longest} tokens and {options.max_new_tokens} new ones do not fit "
                f"the context length {limit}: shorten the prompt, or lower max_new_tokens"
            )
        size = bucket(length) if room is None else max(length, min(bucket(length), room))
        missing = size - length
        padded = dict(prompt)
        padded["inputs"] = np.pad(inputs, [(0, 0), (missing, 0)] + [(0, 0)] * (inputs.ndim - 2))
        padded["mask"] = np.pad(mask, [(0, 0), (missing, 0)])
        if prompt.get("prefix") is not None:
            padded["prefix"] = np.pad(np.asarray(prompt["prefix"]), [(0, 0), (missing, 0)])
        return padded


def row_keys(seed: int | Int[np.ndarray, " B"], rows: int, returns: int) -> Key[jax.Array, " R"]:
    """A key for each answer: of its seed and its number among the answers to its prompt; of a
    shared seed, of the prompt's number too."""
    if np.ndim(seed):
        keys = jax.vmap(jax.random.key)(jnp.asarray(seed))
    else:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(rows))
    each = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    return each(keys, jnp.arange(returns)).reshape(-1)


def _extend(model: nn.Module | Adapted, variables: Any) -> decode.Extend:
    return lambda token, cache, mask: model.apply(variables, token, cache, mask, method="extend")


def _prefill(model: nn.Module | Adapted, options: Options, variables: Any, prompt: dict) -> tuple:
    """The model behind the prompts, and what it has read."""
    inputs = prompt["inputs"]
    rows, length = inputs.shape[:2]
    step = model.apply(
        variables,
        **prompt,
        slots=length + options.max_new_tokens,
        logits_at="last",
        cache_dtype=options.cache_dtype,
        method="prefill",
    )
    ids = inputs if inputs.ndim == 2 else None
    return step, history.start(ids, prompt["mask"], rows, options.max_new_tokens)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _start(model, options, variables, prompt, keys):
    step, read = _prefill(model, options, variables, prompt)
    if options.returns > 1:
        rows = jnp.repeat(jnp.arange(len(step.logits)), options.returns)
        step = step._replace(logits=step.logits[rows], cache=step.cache.take(rows))
        read = read.take(rows)
    return decode.begin(step, read, keys, options)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def advance(model, options, variables, state):
    """`decode.advance` as a program of its own, in the memory of `state`."""
    return decode.advance(_extend(model, variables), options, state)


def answers(
    model: nn.Module | Adapted,
    options: Options,
    variables: Mapping[str, Any],
    prompt: Mapping[str, Any],
    keys: Key[jax.Array, " R"],
) -> Generated:
    """The answers to prompts, to be called under jit: what `Generator` compiles, and what a task's
    predict function calls.

    Args:
      prompt: with `inputs` and `mask`; padding may stand on either side.
      keys: one for each answer, B * returns.
    """
    extend = _extend(model, variables)
    if options.beams > 1:
        step, read = _prefill(model, options, variables, prompt)
        finished = beams.run(extend, options, beams.begin(step, read, options))
        best = jax.tree.map(lambda x: x[:, : options.returns], finished)
        return Generated(best.tokens, _lengths(options, best.tokens), best.log_probs, best.scores)
    state = decode.run(extend, options, _start(model, options, variables, prompt, keys))
    tokens = state.tokens.reshape(-1, options.returns, options.max_new_tokens)
    log_probs = state.log_probs.reshape(tokens.shape)
    return Generated(tokens, _lengths(options, tokens), log_probs, log_probs.sum(-1))


_answers = jax.jit(answers, static_argnums=(0, 1))


def _lengths(options: Options, tokens: jax.Array) -> jax.Array:
    """Up to the first end, or all N."""
    ends = decode.is_end(tokens, options)
    first = jnp.argmax(ends, axis=-1) + 1
    return jnp.where(ends.any(-1), first, options.max_new_tokens).astype(jnp.int32)
