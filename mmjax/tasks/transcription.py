"""What is said in a recording is written down, as Whisper learns it.

https://arxiv.org/abs/2212.04356

* A batch has `audio` [B, T, M], log-mel frames, and a text as tasks/language.py has it. The
  encoder's vectors are what the decoder's cross-attention sees.
* One loss part, "text", over the tokens of the words and the end; the prompt is only read.
* `generate` encodes a recording once, and writes behind the prompt.

Letters: B recordings, T frames, M mel bins, L tokens, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from mmjax.layers.adapters import Adapted
from mmjax.tasks import language
from mmjax.tasks.base import Batch, Variables
from mmjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config(language.Config):
    # other inputs of the decoder: none
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)


class Transcription(language.Language):
    """The loss and the predict functions of language, beside sound."""

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        variables = self.model.init(rng, batch["audio"], batch["text"], batch["text_mask"])
        return {"params": variables["params"], "state": {}}

    def _prompt(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        params = {"params": variables["params"]}
        sound = self.model.apply(params, batch["audio"], method="encode_audio")
        return dict(inputs=batch["text"], mask=batch["text_mask"], context=sound)

    def _logits(
        self, variables: Variables, batch: Batch, rng: jax.Array | None, train: bool
    ) -> Array:
        """Of the token after each, [B, L, V]."""
        return self.model.apply(
            {"params": variables["params"]},
            batch["audio"],
            batch["text"],
            batch["text_mask"],
            train=train,
            rngs={"dropout": rng} if train else None,
        ).logits


def build(config: Config, model: nn.Module | Adapted) -> Transcription:
    return Transcription(config, model)
