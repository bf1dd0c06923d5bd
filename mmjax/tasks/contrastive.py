"""Contrastive image-text training: CLIP's softmax or SigLIP's sigmoid loss over the global batch.

* `encode` is row-wise, so micro-batches give the exact gradient of the whole batch (GradCache,
  https://arxiv.org/abs/2101.06983).
* Rows of one `group` are not each other's negatives.
* The loss does not decompose over micro-batches; that is what `encode` is for.
* Mixup (https://arxiv.org/abs/1710.09412) of images, as a contrastive target (i-Mix,
  https://arxiv.org/abs/2010.08887), against learning a small set by heart.
* One loss part for every two modalities that are encoded, named after both ("image_text").
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.packing import Layout
from mmjax.objectives import contrastive, ring
from mmjax.tasks.base import Batch, Loss, Part, Task, Variables
from mmjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config:
    loss: Literal["softmax", "sigmoid"] = "softmax"  # CLIP's or SigLIP's
    groups: bool = True  # leave rows of the same group out of the negatives
    # how rows are compared, with one result: "plain" forms all logits, "ring" a tile of them at a
    # time and no more; "auto": plain up to 2**22 logits a device (64 MiB), then ring
    form: Literal["auto", "plain", "ring"] = "auto"
    # each training image is blended with the next row's, by a share from Beta(1/2, 1/2); it is then
    # told to find both captions, by their shares
    mixup: bool = False


class Contrastive(Task):
    """batch: image [B, H, W, C], text [B, L], text_mask [B, L], weight [B]; optional group [B].

    Packed captions: text and text_mask [P, R, L] with text_segment and text_position.
    """

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
        variables = self.model.init(rng, batch["image"], *captions(batch))
        return {"params": variables["params"], "state": {}}

    def prepare(self, batch: Batch, rng: jax.Array, step: Array) -> Batch:
        """Blends images for mixup; `image_share` [B], 1/2 to 1, says how much is the row's own."""
        if not self.config.mixup or "image" not in batch:
            return batch
        image, there = batch["image"], batch["weight"] > 0
        # the larger of x and 1 - x, for x from Beta(1/2, 1/2), the arcsine law
        share = jnp.cos(jnp.pi / 4 * jax.random.uniform(rng, there.shape)) ** 2
        share = jnp.where(there & jnp.roll(there, -1), share, 1.0)
        own = share.reshape(-1, *(1,) * (image.ndim - 1))
        blended = own * image + (1 - own) * jnp.roll(image, -1, axis=0)
        return {**batch, "image": blended, "image_share": share}

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
            text = model.apply(params, *captions(batch), method=model.encode_text, **kinds)
            rows = batch["weight"].shape if "text_segment" in batch else batch["text"].shape[:-1]
            encoded["text"] = text.reshape(*rows, text.shape[-1])
        return encoded

    def loss(
        self, variables: Variables, batch: Batch, encoded: dict, rng, step, *, train: bool
    ) -> Loss:
        if len(encoded) < 2:
            raise ValueError(
                f"a contrastive loss compares modalities; the batch holds {sorted(encoded)} alone"
            )
        params, weights = {"params": variables["params"]}, batch["weight"]
        scale, bias = self.model.apply(params, method=self.model.scale_and_bias)
        parts, metrics = {}, {}
        for one, other in itertools.combinations(sorted(encoded), 2):
            pairs = self.compare(encoded[one], encoded[other], scale, bias, batch)
            values = (pairs.there + pairs.back) / 2
            if "image_share" in batch and "image" in (one, other):
                # row i beside image i - 1, which holds some of image i
                sides = [jnp.roll(encoded[name], name == "image", 0) for name in (one, other)]
                more = self.compare(*sides, scale, bias, batch)
                share = batch["image_share"]
                values = share * values
                values += (1 - jnp.roll(share, 1)) * (more.there + more.back) / 2
            parts[f"{one}_{other}"] = Part(values, weights)
            metrics[f"{one}_to_{other}"] = (pairs.found_there, weights)
            metrics[f"{other}_to_{one}"] = (pairs.found_back, weights)
        metrics["scale"] = (scale, jnp.ones(()))
        if bias is not None:
            metrics["bias"] = (bias, jnp.ones(()))
        return Loss(parts, metrics)

    def compare(
        self, one: Array, other: Array, scale: Array, bias: Array | None, batch: Batch
    ) -> contrastive.Compared:
        """The losses of two modalities' unit vectors [B, E], in the config's form."""
        form = self.config.form
        if form == "auto":
            form = "ring" if ring.pays(len(one)) else "plain"
        objective = {"plain": contrastive, "ring": ring}[form]
        which = batch["weight"], batch.get("group") if self.config.groups else None
        if self.config.loss == "sigmoid":
            return objective.sigmoid(one, other, scale, bias, *which)
        return objective.softmax(one, other, scale, *which)

    @property
    def predict(self) -> dict:
        return {
            "embed": lambda variables, batch, keys: self.encode(
                variables, batch, keys[0], train=False
            )
        }


def captions(batch: Batch) -> tuple[Any, ...]:
    """What a text tower takes: (ids [N, L], mask [N, L]), all captions of all rows one below the
    other; packed ones (ids [P, R, L], mask [P, R, L], layout)."""
    ids, mask = batch["text"], batch["text_mask"]
    if "text_segment" not in batch:
        return ids.reshape(-1, ids.shape[-1]), mask.reshape(-1, mask.shape[-1])
    count = batch["weight"].shape[0] // ids.shape[0]
    return ids, mask, Layout(batch["text_segment"], batch["text_position"], count)


def build(config: Config, model: nn.Module) -> Contrastive:
    """The task of this file."""
    return Contrastive(config, model)
