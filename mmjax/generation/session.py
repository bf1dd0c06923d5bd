"""One conversation that keeps its cache: a new turn costs its own tokens alone.

    session = Session(generator, slots=2048)
    session.read(ids)  # the whole conversation up to now; what the cache holds is not read again
    for token in session.say(Options(max_new_tokens=64, end_ids=(2,))):
        ...

* The caller states the whole conversation each time. What differs from what was read is forgotten
  (`Cache.rollback`) and read anew, so that an edited turn, or a template that rewrites earlier
  ones, is as right as an appended one.
* In a model whose prompts see each other both ways the first prompt is read in one piece, and all
  that follows sees what was before: as in training (tasks/language.py).
* New tokens are padded to a few lengths on the right, and the padding is forgotten again: few
  programs, and no slots lost.

Letters: L tokens, S slots.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.generation import decode, history
from mmjax.generation.generate import Generator, advance, bucket, row_keys
from mmjax.generation.options import Options
from mmjax.layers.cache import Cache
from mmjax.layers.decoding import Step
from mmjax.typing import Array, Float, Int


class Session:
    """A conversation of one row.

    Args:
      generator: the model that answers.
      slots: S, tokens of the whole conversation at most, answers included.
      cache_dtype: that keys and values are kept in; None: the model's.
    """

    def __init__(self, generator: Generator, slots: int, cache_dtype: str | None = None) -> None:
        limit = getattr(generator.model.config, "context_length", slots)
        self.slots = min(slots, limit)
        self._generator = generator
        self._cache_dtype = cache_dtype
        self._ids = np.zeros(0, np.int32)  # what the cache holds
        self._prefix = 0  # of which so many were read as a prefix
        self._cache: Cache | None = None
        self._logits: jax.Array | None = None  # behind the last token read, [1, 1, V]

    def read(
        self,
        ids: Int[np.ndarray, " L"],
        embeddings: Float[Array, "L D"] | None = None,
        prefix: int = 0,
    ) -> int:
        """Brings the cache to exactly this conversation.

        Args:
          ids: all of it.
          embeddings: what the model reads of it, where that is not its tokens (pictures); tokens
            that are the same as before are taken to stand for the same pictures.
          prefix: so many of the first tokens see each other both ways.

        Returns:
          How many tokens had to be read.

        Raises:
          ConfigError: no tokens, or more than slots.
        """
        ids = np.asarray(ids, np.int32)
        if not len(ids):
            raise ConfigError("the conversation is empty: there is nothing to go on from")
        if len(ids) >= self.slots:
            raise ConfigError(
                f"a conversation of {len(ids)} tokens leaves no room for an answer in "
                f"{self.slots} slots: start a new one, or give it more slots"
            )
        known = _common(self._ids, ids)
        known = min(known, len(ids) - 1)  # the last token is read again: its logits are needed
        if known < prefix or prefix != self._prefix:
            known = 0
            self._cache = None
        inputs = np.asarray(ids if embeddings is None else embeddings)[known:]
        count = len(inputs)
        size = min(bucket(count), self.slots - known)
        inputs = np.pad(inputs, [(0, size - count)] + [(0, 0)] * (inputs.ndim - 1))[None]
        mask = (np.arange(size) < count)[None]
        model = self._generator.model
        variables = self._generator.variables
        if self._cache is None:
            both_ways = (np.arange(size) < prefix)[None] if prefix else None
            fixed = (model, self.slots, self._cache_dtype)
            step = _first(*fixed, variables, inputs, mask, both_ways)
        else:
            step = _more(model, variables, self._cache, np.int32(known), inputs, mask)
        self._cache = step.cache
        self._logits = step.logits
        self._ids = ids
        self._prefix = prefix
        return count

    def say(self, options: Options, seed: int = 0) -> Iterator[int]:
        """The answer, token by token, its end included; `read` comes first.

        Raises:
          ConfigError: options that ask for more than one answer, or one too long for the slots.
        """
        if self._cache is None:
            raise ConfigError("there is nothing to answer: `read` the conversation first")
        if options.beams > 1 or options.returns > 1:
            raise ConfigError("a conversation goes on from one answer: beams and returns are 1")
        room = self.slots - len(self._ids)
        if options.max_new_tokens > room:
            raise ConfigError(
                f"max_new_tokens is {options.max_new_tokens}, but only {room} of {self.slots} "
                "slots are left: lower it, or start a new conversation"
            )
        model = self._generator.model
        variables = self._generator.variables
        ids = np.pad(self._ids, (self.slots - len(self._ids), 0))[None]
        mask = np.arange(self.slots)[None] >= self.slots - len(self._ids)
        keys = row_keys(seed, 1, 1)
        state = _begin(options, self._logits, self._cache, ids, mask, keys)
        while True:
            # What was said is read when the next token is needed: the cache lacks the last one.
            token = int(state.tokens[0, int(state.history.said) - 1])
            yield token
            if bool(decode.done(options, state)):
                break
            self._cache = None  # the state owns it now
            state = advance(model, options, variables, state)
            self._cache = state.cache
            self._ids = np.append(self._ids, np.int32(token))


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two conversations begin with alike."""
    size = min(len(a), len(b))
    different = np.flatnonzero(a[:size] != b[:size])
    return int(different[0]) if len(different) else size


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _first(model, slots, cache_dtype, variables, inputs, mask, prefix):
    kwargs = dict(slots=slots, prefix=prefix, logits_at="last", cache_dtype=cache_dtype)
    step = model.apply(variables, inputs, mask, method="prefill", **kwargs)
    return step._replace(cache=step.cache.rollback(mask.sum(dtype=jnp.int32)))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _more(model, variables, cache, known, inputs, mask):
    cache = cache.rollback(known)
    step = model.apply(variables, inputs, cache, mask, logits_at="last", method="extend")
    return step._replace(cache=step.cache.rollback(known + mask.sum(dtype=jnp.int32)))


@functools.partial(jax.jit, static_argnums=0)
def _begin(options, logits, cache, ids, mask, keys):
    read = history.start(ids, mask, 1, options.max_new_tokens)
    return decode.begin(Step(None, logits, cache), read, keys, options)
