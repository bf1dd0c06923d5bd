"""Contrastive image-text training: CLIP's softmax or SigLIP's sigmoid loss over the global batch.

* `encode` is row-wise, so micro-batches give the exact gradient of the whole batch (GradCache).
* Rows of one `group` are not each other's negatives.
* The loss does not decompose over micro-batches; that is what `encode` is for.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.objectives import contrastive
from mmjax.tasks.base import Batch, Loss, Part, Task, Variables


@dataclasses.dataclass(frozen=True)
class Config:
    loss: Literal["softmax", "sigmoid"] = "softmax"  # CLIP's or SigLIP's
    groups: bool = True  # leave rows of the same group out of the negatives


class Contrastive(Task):
    """batch: image [B, H, W, C], text [B, L], text_mask [B, L], weight [B]; optional group [B]."""

    def __init__(self, config: Config, model: nn.Module):
        """
        Raises:
          ValueError: the sigmoid loss on a model without a bias.
        """
        self.config, self.model = config, model
        if config.loss == "sigmoid" and model.config.bias_init is None:
            raise ValueError(
                "the sigmoid loss needs a logit bias: set model.bias_init (SigLIP: -10.0)"
            )

    def init(self, rng: jax.Array, batch: Batch) -> dict:
        variables = self.model.init(rng, batch["image"], batch["text"], batch["text_mask"])
        return {"params": variables["params"], "state": {}}

    def encode(self, variables: Variables, batch: Batch, rng: jax.Array, *, train: bool) -> dict:
        """Unit vectors of the modalities that the batch holds."""
        model, params = self.model, {"params": variables["params"]}
        kinds = dict(train=train, rngs={"dropout": rng})
        encoded = {}
        if "image" in batch:
            encoded["image"] = model.apply(
                params, batch["image"], method=model.encode_image, **kinds
            )
        if "text" in batch:
            ids, mask = batch["text"], batch["text_mask"]
            flat = (
                ids.reshape(-1, ids.shape[-1]),
                mask.reshape(-1, mask.shape[-1]),
            )  # several captions a row
            text = model.apply(params, *flat, method=model.encode_text, **kinds)
            encoded["text"] = text.reshape(*ids.shape[:-1], text.shape[-1])
        return encoded

    def loss(
        self, variables: Variables, batch: Batch, encoded: dict, rng, step, *, train: bool
    ) -> Loss:
        image, text, weights = encoded["image"], encoded["text"], batch["weight"]
        groups = batch.get("group") if self.config.groups else None
        params = {"params": variables["params"]}
        scale, bias = self.model.apply(params, method=self.model.scale_and_bias)
        if self.config.loss == "sigmoid":
            values = contrastive.sigmoid_contrastive(image, text, scale, bias, weights, groups)
        else:
            there, back = contrastive.softmax_contrastive(image, text, scale, weights, groups)
            values = (there + back) / 2
        metrics = {
            "image_to_text": (contrastive.retrieved(image, text, weights, groups), weights),
            "text_to_image": (contrastive.retrieved(text, image, weights, groups), weights),
            "scale": (scale, jnp.ones(())),
        }
        if bias is not None:
            metrics["bias"] = (bias, jnp.ones(()))
        return Loss({"contrastive": Part(values, weights)}, metrics)

    @property
    def predict(self) -> dict:
        return {
            "embed": lambda variables, batch, rng: self.encode(variables, batch, rng, train=False)
        }


def build(config: Config, model: nn.Module) -> Contrastive:
    """The task of this file."""
    return Contrastive(config, model)
