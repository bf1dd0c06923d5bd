"""Speech is written down letter by letter, without saying when (connectionist temporal
classification).

* Any encoder with a CTC head: a Conformer over log-mel frames, wav2vec 2.0 over samples. A batch
  has `audio`, `audio_mask`, `text` [B, L] and `text_mask`.
* The loss is nats a letter over the whole batch: long texts count for more. A text for which a
  recording has too few frames is left out, and counted ("fits").
* "generate" says the likeliest letter of each frame and reads it; "logits" gives what beams and
  language models decode on the host (generation/ctc.py).

Letters: B batch, L letters of a text, T frames of the encoder, V vocabulary with the blank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.generation import ctc as decoding
from mmjax.layers.adapters import Adapted
from mmjax.objectives import ctc
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Variables
from mmjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config:
    blank: int = 0  # letter that a frame says for nothing
    # the model is told what is padding; the base models of wav2vec 2.0 were trained without
    masked: bool = True


class Ctc(Task):
    """One loss part, "text"; the share of rows whose frames suffice is the metric "fits"."""

    def __init__(self, config: Config, model: nn.Module | Adapted) -> None:
        self.config = config
        self.model = model

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        variables = self.model.init(rng, batch["audio"], self._told(batch))
        return {"params": variables["params"], "state": {}}

    def totals(self, batch: Batch) -> Mapping[str, Array]:
        letters = batch["text_mask"].sum(1) * self._weights(batch)
        return {"text": letters.sum()}

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
        logits, mask = self._heard(variables, batch, rng, train)
        values = ctc.ctc(logits, mask, batch["text"], batch["text_mask"], self.config.blank)
        weights = self._weights(batch)
        fits = (weights > 0).astype(jnp.float32)
        return Loss({"text": Part(values, weights)}, {"fits": (fits, batch["weight"])})

    @property
    def predict(self) -> Mapping[str, Predict]:
        return {"generate": self.generate, "logits": self.logits}

    def generate(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """The likeliest letters of each row, `text` [B, T] with its mask."""
        text, mask = decoding.greedy(*self._heard(variables, batch), self.config.blank)
        return {"text": text, "text_mask": mask}

    def logits(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """`logits` [B, T, V] of each frame and `logits_mask` [B, T]."""
        logits, mask = self._heard(variables, batch)
        return {"logits": logits, "logits_mask": mask}

    def _heard(
        self,
        variables: Variables,
        batch: Batch,
        rng: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[Array, Array]:
        """Logits of the encoder's frames, and which of them are sound."""
        rngs = {"dropout": rng} if train else None
        out = self.model.apply(
            {"params": variables["params"]}, batch["audio"], self._told(batch), train=train,
            rngs=rngs,
        )  # fmt: skip
        return out.logits, self.model.frame_mask(batch["audio_mask"])

    def _told(self, batch: Batch) -> Array | None:
        """What the model hears of padding."""
        return batch["audio_mask"] if self.config.masked else None

    def _weights(self, batch: Batch) -> Array:
        """Of each row: 0 where it does not exist, or has no alignment."""
        mask = self.model.frame_mask(batch["audio_mask"])
        return batch["weight"] * ctc.fits(mask, batch["text"], batch["text_mask"])


def build(config: Config, model: nn.Module | Adapted) -> Ctc:
    return Ctc(config, model)
