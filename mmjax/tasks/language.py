"""Texts are continued: the next token is learned where it is to be said, and generated.

* A batch has `text` [B, L], `text_mask`, and `text_weight`: the weight of each token as a target, 0
  for what is only read (a question, a picture's places), None for all. Other inputs of the model
  (pictures) are taken from the batch by name.
* Packed rows have `text_segment` and several examples each; their losses are those of the examples
  apart.
* Of an evaluation's batch the text is the prompt; what is behind it is generated.
* `attention` says where the model looked in the pictures for each token that it said.

Letters: B rows, L tokens, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mmjax.generation import attention
from mmjax.generation.generate import answers
from mmjax.generation.options import Options
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Variables
from mmjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config:
    # inputs of the model beside the text: its argument's name -> the batch's field; those that a
    # batch lacks are left out
    inputs: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"images": "image", "image_mask": "image_mask"}
    )
    label_smoothing: float = 0.0  # share of the target's probability that all tokens get alike
    generate: Options = Options()  # how answers are generated


class Language(Task):
    """One loss part, "text"; the share of tokens that are right is the metric "correct"."""

    def __init__(self, config: Config, model: nn.Module) -> None:
        self.config = config
        self.model = model

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        variables = self.model.init(rng, batch["text"], batch["text_mask"], **self._inputs(batch))
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
        right = (logits.argmax(-1) == batch["text"][:, 1:]).astype(jnp.float32)
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
        """The best answer to each row, `text` [B, N] with its mask; `changes`: of Options."""
        options = dataclasses.replace(self.config.generate, **changes)
        prompt = self._prompt(batch)
        keys = jnp.repeat(keys, options.returns)
        said = answers(self.model, options, {"params": variables["params"]}, prompt, keys)
        tokens = said.tokens[:, 0]
        place = jnp.arange(tokens.shape[1])[None]
        ended = jnp.isin(tokens, jnp.array(options.end_ids, jnp.int32))
        mask = (place < said.lengths[:, :1]) & ~ended
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
        prompt = self._prompt(batch)
        if "images" not in prompt:
            return {}
        params = {"params": variables["params"]}
        said = (batch["said"], batch["said_mask"])
        return {"attention": attention.over_pictures(self.model, params, prompt, *said, layer)}

    def score(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """Of each row the sum of its tokens' losses and their number, for the perplexity."""
        values, _ = self._values(variables, batch, None, False)
        weights = self._weights(batch)
        return {"loss": (values * weights).sum(1), "tokens": weights.sum(1)}

    def _prompt(self, batch: Batch) -> dict[str, Array]:
        """What the model's `prefill` takes."""
        return dict(inputs=batch["text"], mask=batch["text_mask"], **self._inputs(batch))

    def _inputs(self, batch: Batch) -> dict[str, Array]:
        names = self.config.inputs
        return {argument: batch[field] for argument, field in names.items() if field in batch}

    def _weights(self, batch: Batch) -> Array:
        """Of each token but the first, as the target of the one before it, [B, L - 1]."""
        weights = batch["text_mask"].astype(jnp.float32)
        if "text_weight" in batch:
            weights = weights * batch["text_weight"]
        weights = weights[:, 1:]
        if "text_segment" in batch:  # the first token of a text follows nothing
            segment = batch["text_segment"]
            return weights * (segment[:, 1:] == segment[:, :-1])
        return weights * batch["weight"][:, None]

    def _values(
        self, variables: Variables, batch: Batch, rng: jax.Array | None, train: bool
    ) -> tuple[Array, Array]:
        """The loss of each token but the first, and the logits, [B, L - 1, V]."""
        kwargs: dict[str, Any] = self._inputs(batch)
        if "text_segment" in batch:
            kwargs["segment"] = batch["text_segment"]
        output = self.model.apply(
            {"params": variables["params"]},
            batch["text"],
            batch["text_mask"],
            **kwargs,
            train=train,
            rngs={"dropout": rng} if train else None,
        )
        logits = output.logits[:, :-1]
        target = batch["text"][:, 1:]
        values = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        smoothing = self.config.label_smoothing
        if smoothing and train:
            flat = -jax.nn.log_softmax(logits).mean(-1)
            values = (1 - smoothing) * values + smoothing * flat
        return values, logits


def build(config: Config, model: nn.Module) -> Language:
    return Language(config, model)
