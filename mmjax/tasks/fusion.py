"""What a BLIP says of images and texts: embeddings, matches, captions and answers; for its training
and for evaluators alike.

* A text opens with the token that says what it is for (processors/captioning.py): here [ENC] and
  [DEC] are put in the place of the first token.
* An answer is written beside its question, which was read beside the image, where the model has a
  decoder of its own beside an encoder; else what is written stands beside the image itself.

Letters: B rows, P image tokens, D their width, L tokens of a text, K texts of a row, E embedding, N
    new tokens, G patches along an edge.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.generation import attention
from mmjax.generation.generate import answers, first_answers
from mmjax.generation.options import Options
from mmjax.tasks.base import Batch, Variables
from mmjax.tasks.contrastive import inputs as flat_inputs
from mmjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Fusion:
    """The calls of a model, from a batch's fields."""

    model: nn.Module

    def apply(
        self, params: Any, method: str, *inputs: Any, rng: jax.Array | None = None, **kwargs: Any
    ) -> Any:
        """A method of the model that may drop units; rng: of a train step, None elsewhere."""
        if rng is not None:
            kwargs |= dict(train=True, rngs={"dropout": rng})
        return self.model.apply({"params": params}, *inputs, method=method, **kwargs)

    def matching(
        self, params: Any, ids: Array, mask: Array, tokens: Array, rng: jax.Array | None = None
    ) -> Array:
        """Logits [B, 2] of texts [B, L] that are read beside images [B, P, D]; [:, 1]: they belong
        together."""
        fused = self.read(params, ids, mask, tokens, rng)
        return self.model.apply({"params": params}, fused, mask, method="matching")

    def read(
        self, params: Any, ids: Array, mask: Array, tokens: Array, rng: jax.Array | None = None
    ) -> Array:
        """Texts as they are read beside images, [B, L, width of texts]."""
        opened = with_first(ids, self.model.config.match_id)
        return self.apply(params, "fuse", opened, mask, context=tokens, rng=rng)

    def context(
        self, params: Any, batch: Batch, tokens: Array, rng: jax.Array | None = None
    ) -> dict[str, Array]:
        """What a text is written beside: arguments of the decoder, by name."""
        if self.model.config.texts != "both":
            return {"context": tokens}
        mask = batch["text_mask"]
        return {
            "context": self.read(params, batch["text"], mask, tokens, rng),
            "context_mask": mask,
        }

    def embed(self, variables: Variables, batch: Batch, keys: Any = None) -> dict[str, Array]:
        """Of what the batch holds: "image" and "text", unit vectors [B, E] (of several texts of a
        row [B, K, E]); "image_tokens" [B, P, D], which a batch may hold instead of pixels; "match"
        [B], the log-odds that a row's image and text belong together."""
        params = variables["params"]
        compares = bool(self.model.config.embedding)
        out: dict[str, Array] = {}
        tokens = batch.get("image_tokens")
        if tokens is None and "image" in batch:
            tokens = self.apply(params, "image_tokens", batch["image"])
        if tokens is not None:
            out["image_tokens"] = tokens
            if compares:
                out["image"] = self.apply(params, "image_embedding", tokens)
        if "text" in batch and compares:
            vectors = self.apply(params, "encode_text", *flat_inputs(batch, "text"))
            out["text"] = vectors.reshape(*batch["text"].shape[:-1], -1)
        one_text = "text" in batch and batch["text"].ndim == 2
        if one_text and tokens is not None and self.model.config.matching:
            logits = self.matching(params, batch["text"], batch["text_mask"], tokens)
            out["match"] = logits[:, 1] - logits[:, 0]
        return out

    def generate(
        self, variables: Variables, batch: Batch, keys: jax.Array, options: Options
    ) -> dict[str, Array]:
        """A caption of each image, or the answer to its question: `text` [B, N] with its mask."""
        params = variables["params"]
        tokens = self.apply(params, "image_tokens", batch["image"])
        prompt = self._prompt(params, batch, tokens)
        keys = jnp.repeat(keys, options.returns)
        said = answers(self.model, options, {"params": params}, prompt, keys)
        written, mask = first_answers(said, options)
        return {"text": written, "text_mask": mask}


    def attention(
        self, variables: Variables, batch: Batch, keys: Any = None, layer: int | None = None
    ) -> dict[str, Array]:
        """`attention` [B, N, 1, G, G]: of each token of `said` [B, N] its attention to each patch
        of the image; of an answer, through the question that was read beside the image.

        Args:
          batch: with `said` and `said_mask`, the text that was written.
          layer: whose attention it is; None: the mean over all.
        """
        params = {"params": variables["params"]}
        tokens = self.apply(params["params"], "image_tokens", batch["image"])
        prompt = self._prompt(params["params"], batch, tokens)
        said = batch["said"], batch["said_mask"]
        weights = attention.over_context(self.model, params, prompt, *said, layer)
        if "context_mask" in prompt:
            ids = with_first(batch["text"], self.model.config.match_id)
            mask = batch["text_mask"]
            seen = attention.over_question(self.model, params, ids, mask, tokens, layer)
            weights = jnp.einsum("BNL,BLP->BNP", weights, seen)
        return {"attention": attention.on_picture(weights, self.model.config.image)}

    def _prompt(self, params: Any, batch: Batch, tokens: Array) -> dict[str, Array]:
        """What the decoder begins with, and what it stands beside."""
        start = jnp.full((len(tokens), 1), self.model.config.start_id, jnp.int32)
        prompt = dict(inputs=start, mask=jnp.ones(start.shape, bool))
        return prompt | self.context(params, batch, tokens)


def with_first(ids: Array, token: int) -> Array:
    """Texts with another first token, which says what they are for."""
    return ids.at[:, 0].set(token)
