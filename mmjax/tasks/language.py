"""Texts are continued: the next token is learned where it is to be said, and generated.

* A batch has `text` [B, L], `text_mask`, and `text_weight`: the weight of each token as a target, 0
  for what is only read (a question, a picture's places), None for all. Other inputs of the model
  (pictures, sounds) are taken from the batch by name.
* Packed, `text` is [P, R, L] with `text_segment`, several examples in a row; losses are those of
  the examples apart. Pictures and sounds stay one example a row, and are sorted into the order of
  the text.
* In a model with `prefix_lm` tokens before the first that is to be said see each other both ways,
  as the prompt does when an answer is generated.
* Of an evaluation's batch the text is the prompt; what is behind it is generated. `answered` is the
  text with what was said, where the batch has it: the perplexity is that of these words.
* `attention` says where the model looked in the pictures for each token that it said.

Letters: B examples, L tokens, V vocabulary, P packs, R rows of a pack, N examples of a pack, M
    pictures of an example at most.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.generation import attention
from mmjax.generation.generate import answers, first_answers
from mmjax.generation.options import Options
from mmjax.layers.adapters import Adapted
from mmjax.objectives import words
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Variables
from mmjax.typing import Array, Bool, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    # inputs of the model beside the text: its argument's name -> the batch's field; those that a
    # batch lacks are left out
    inputs: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {
            "images": "image", "image_mask": "image_mask",
            "sounds": "audio", "audio_mask": "audio_mask",
            "videos": "video", "video_mask": "video_mask",
        }
    )
    label_smoothing: float = 0.0  # share of the target's probability that all tokens get alike
    generate: Options = Options()  # how answers are generated


class Language(Task):
    """One loss part, "text"; the share of tokens that are right is the metric "correct"."""

    def __init__(self, config: Config, model: nn.Module | Adapted) -> None:
        self.config = config
        self.model = model

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        text = batch["text"]
        mask = batch["text_mask"]
        inputs = self._inputs(batch)
        if _is_packed(batch):  # shapes alone count: a row of each pack, with all of its pictures
            text = text[:, 0]
            mask = mask[:, 0]
            inputs = _by_pack(batch, inputs)
        variables = self.model.init(rng, text, mask, **inputs)
        return {"params": variables["params"], "state": {}}

    def totals(self, batch: Batch) -> Mapping[str, Array]:
        return {"text": self._weights(batch).sum()}

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        encoded: Any,
        rng: jax.Array,
        step: Array,
        *,
        train: bool,
    ) -> Loss:
        values, logits = self._values(variables, batch, rng, train)
        weights = self._weights(batch)
        right = (logits.argmax(-1) == batch["text"][..., 1:]).astype(jnp.float32)
        return Loss({"text": Part(values, weights)}, {"correct": (right, weights)})

    @property
    def predict(self) -> Mapping[str, Predict]:
        functions = {"generate": self.generate, "score": self.score}
        if attention.shows_places(self.model.config):
            functions["attention"] = self.attention
        return functions

    def generate(
        self, variables: Variables, batch: Batch, keys: jax.Array, **changes: Any
    ) -> dict[str, Array]:
        """The best answer to each row, `text` [B, N] with its mask; `changes`: of Options.

        Raises:
          ConfigError: prompts that leave no room for an answer, before anything is compiled.
        """
        options = dataclasses.replace(self.config.generate, **changes)
        limit = getattr(self.model.config, "context_length", None)
        length = batch["text"].shape[1]
        if limit is not None and length + options.max_new_tokens > limit:
            raise ConfigError(
                f"prompts of {length} tokens and {options.max_new_tokens} new ones do not fit the "
                f"context length {limit}: lower data.processor.max_length or "
                "task.generate.max_new_tokens, or enlarge the model's context_length"
            )
        prompt = self._prompt(variables, batch)
        keys = jnp.repeat(keys, options.returns)
        said = answers(self.model, options, {"params": variables["params"]}, prompt, keys)
        tokens, mask = first_answers(said, options)
        return {"text": tokens, "text_mask": mask}

    def attention(
        self, variables: Variables, batch: Batch, keys: jax.Array, layer: int | None = None
    ) -> dict[str, Array]:
        """`attention` [B, N, M, G, G]: of each token that was said, its attention to each patch of
        the row's pictures (generation/attention.py); nothing where there are none.

        Args:
          batch: with `said` [B, N] and `said_mask`, the text behind each prompt.
          layer: whose attention it is; None: the mean over all.
        """
        prompt = self._prompt(variables, batch)
        if "images" not in prompt:
            return {}
        params = {"params": variables["params"]}
        said = (batch["said"], batch["said_mask"])
        return {"attention": attention.over_pictures(self.model, params, prompt, *said, layer)}

    def score(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """Of each row the sum of its tokens' losses and their number, for the perplexity."""
        if "answered" in batch:
            kinds = ("", "_mask", "_weight")
            batch = {**batch, **{f"text{kind}": batch[f"answered{kind}"] for kind in kinds}}
        values, _ = self._values(variables, batch, None, False)
        weights = self._weights(batch)
        return {"loss": (values * weights).sum(1), "tokens": weights.sum(1)}

    def _prompt(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """What the model's `prefill` takes."""
        prompt = dict(inputs=batch["text"], mask=batch["text_mask"], **self._inputs(batch))
        if self._prefix_lm and "text_weight" in batch:  # what was said in it is no prefix
            prompt["prefix"] = prefix(batch)
        return prompt

    def _inputs(self, batch: Batch) -> dict[str, Array]:
        names = self.config.inputs
        return {argument: batch[field] for argument, field in names.items() if field in batch}

    @property
    def _prefix_lm(self) -> bool:
        return getattr(self.model.config, "prefix_lm", False)

    def _weights(self, batch: Batch) -> Array:
        """Of each token but the first, as the target of the one before it, [..., L - 1]."""
        weights = batch["text_mask"].astype(jnp.float32)
        if "text_weight" in batch:
            weights = weights * batch["text_weight"]
        weights = weights[..., 1:]
        if "text_segment" in batch:  # the first token of a text follows nothing
            segment = batch["text_segment"]
            return weights * (segment[..., 1:] == segment[..., :-1])
        return weights * batch["weight"][:, None]

    def _values(
        self, variables: Variables, batch: Batch, rng: jax.Array | None, train: bool
    ) -> tuple[Array, Array]:
        """The loss of each token but the first, [..., L - 1], and the logits, [..., L - 1, V]."""
        logits = self._logits(variables, batch, rng, train)[..., :-1, :]
        target = batch["text"][..., 1:]
        return words.cross_entropy(logits, target, self.config.label_smoothing * train), logits

    def _logits(
        self, variables: Variables, batch: Batch, rng: jax.Array | None, train: bool
    ) -> Array:
        """Of the token after each, [..., L, V]."""
        apply = functools.partial(
            self.model.apply,
            {"params": variables["params"]},
            train=train,
            rngs={"dropout": rng} if train else None,
        )
        text = batch["text"]
        mask = batch["text_mask"]
        length = text.shape[-1]
        kwargs = self._inputs(batch)
        if _is_packed(batch) and kwargs:
            # A pack is read as one long row, whose pictures are in order, and cut into its rows.
            pack = dict(mask=_long(mask), **_by_pack(batch, kwargs))
            vectors = apply(_long(text), method="embed", **pack)
            text = vectors.reshape(*text.shape, -1)
            kwargs = {}
        if "text_segment" in batch:
            kwargs["segment"] = batch["text_segment"].reshape(-1, length)
        if self._prefix_lm:
            kwargs["prefix"] = prefix(batch).reshape(-1, length)
        rows = text.reshape(-1, *text.shape[mask.ndim - 1 :])
        logits = apply(rows, mask.reshape(-1, length), **kwargs).logits
        return logits.reshape(*mask.shape, -1)


def prefix(batch: Batch) -> Bool[Array, "*B L"]:
    """True on what is read of each text before anything is said; without weights all is said."""
    mask = batch["text_mask"].astype(bool)
    if "text_weight" not in batch:
        return jnp.zeros_like(mask)
    said = batch["text_weight"] > 0
    count = jnp.cumsum(said, axis=-1)
    if "text_segment" in batch:
        segment = batch["text_segment"]
        first = jnp.ones_like(mask).at[..., 1:].set(segment[..., 1:] != segment[..., :-1])
        before = jnp.where(first, count - said, 0)  # said in the row before the text began
        count = count - jax.lax.cummax(before, axis=before.ndim - 1)
    return mask & (count == 0)


def _is_packed(batch: Batch) -> bool:
    """Whether rows are parts of packs, as the pipeline lays them."""
    return batch["text"].ndim == 3


def _long(x: Shaped[Array, "P R L"]) -> Shaped[Array, "P K"]:
    """The rows of each pack one behind the other."""
    return x.reshape(len(x), -1)


def _by_pack(batch: Batch, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Inputs of examples, [B, M, ...] -> of packs, [P, N * M, ...], in the order of their texts."""
    segment = batch["text_segment"]
    packs, rows = segment.shape[:2]
    examples = batch["weight"].shape[0] // packs
    number = jnp.arange(examples).reshape(1, 1, 1, -1)
    there = (segment[..., None] == number).any(2)  # [P, R, N]
    row = jnp.where(there.any(1), there.argmax(1), rows)  # of those without a text: the last
    order = jnp.argsort(row, axis=1, stable=True)  # within a row they lie in their own order

    def sorted_in(x: Array) -> Array:
        x = x.reshape(packs, examples, *x.shape[1:])
        x = jnp.take_along_axis(x, order.reshape(packs, examples, *(1,) * (x.ndim - 2)), axis=1)
        return x.reshape(packs, -1, *x.shape[3:])

    return {name: sorted_in(x) for name, x in inputs.items()}


def build(config: Config, model: nn.Module | Adapted) -> Language:
    return Language(config, model)
