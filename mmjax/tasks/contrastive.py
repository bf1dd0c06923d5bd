"""Contrastive training of two modalities or more: CLIP's softmax or SigLIP's sigmoid loss over the
global batch.

* `encode` is row-wise, so micro-batches give the exact gradient of the whole batch (GradCache,
  https://arxiv.org/abs/2101.06983).
* Rows of one `group` are not each other's negatives.
* The loss does not decompose over micro-batches; that is what `encode` is for.
* Mixup (https://arxiv.org/abs/1710.09412) of images, as a contrastive target (i-Mix,
  https://arxiv.org/abs/2010.08887), against learning a small set by heart.
* A field of the batch is a modality where the model has `encode_<field>`, or `encode(field, ...)`
  and a tower of that name in its config; a tower that is None there is not asked. One loss part for
  every two modalities, named after both ("image_text").
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers.packing import Layout
from mmjax.objectives import contrastive, ring
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Variables
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

    Any other modality likewise, with a mask where its length varies: audio [B, T, C],
    audio_mask [B, T]. Several texts of a row: text and text_mask [B, captions, L]. Packed captions:
    text and text_mask [P, R, L] with text_segment and text_position.
    """

    def __init__(self, config: Config, model: nn.Module):
        """
        Raises:
          ConfigError: the sigmoid loss on a model without a bias.
        """
        self.config = config
        self.model = model
        if config.loss == "sigmoid" and model.config.bias_init is None:
            raise ConfigError(
                "the sigmoid loss needs a logit bias: set model.bias_init (SigLIP: -10.0)"
            )

    def modalities(self, batch: Batch) -> list[str]:
        """The fields of the batch that the model encodes."""
        return [name for name in sorted(batch) if _has_tower(self.model, name)]

    def init(self, rng: jax.Array, batch: Batch) -> dict:
        names = self.modalities(batch)

        def everything(model: nn.Module) -> None:
            model.scale_and_bias()
            for name in names:
                _encode(model, name, *inputs(batch, name), train=False)

        variables = self.model.init(rng, method=everything)
        return {"params": variables["params"], "state": {}}

    def prepare(self, batch: Batch, rng: jax.Array, step: Array) -> Batch:
        """Blends images for mixup; `image_share` [B], 1/2 to 1, says how much is the row's own."""
        if not self.config.mixup or "image" not in batch:
            return batch
        image = batch["image"]
        exists = batch["weight"] > 0
        # the larger of x and 1 - x, for x from Beta(1/2, 1/2), the arcsine law
        share = jnp.cos(jnp.pi / 4 * jax.random.uniform(rng, exists.shape)) ** 2
        share = jnp.where(exists & jnp.roll(exists, -1), share, 1.0)
        own = share.reshape(-1, *(1,) * (image.ndim - 1))
        blended = own * image + (1 - own) * jnp.roll(image, -1, axis=0)
        return {**batch, "image": blended, "image_share": share}

    def encode(self, variables: Variables, batch: Batch, rng: Any, *, train: bool) -> dict:
        """Unit vectors [B, E] of the modalities that the batch holds; of several texts of a row
        [B, captions, E]."""
        rngs = {"dropout": rng} if train else {}
        encoded = {}
        for name in self.modalities(batch):
            vectors = self.model.apply(
                {"params": variables["params"]},
                name,
                *inputs(batch, name),
                method=_encode,
                train=train,
                rngs=rngs,
            )
            encoded[name] = vectors.reshape(*_lead(batch, name), vectors.shape[-1])
        return encoded

    def loss(
        self, variables: Variables, batch: Batch, encoded: dict, rng, step, *, train: bool
    ) -> Loss:
        if len(encoded) < 2:
            raise ConfigError(
                f"a contrastive loss compares modalities; the batch holds {sorted(encoded)} alone"
            )
        params = {"params": variables["params"]}
        weights = batch["weight"]
        scale, bias = self.model.apply(params, method=self.model.scale_and_bias)
        parts = {}
        metrics = {}
        for a, b in itertools.combinations(sorted(encoded), 2):
            pairs = self.compare(encoded[a], encoded[b], scale, bias, batch)
            values = pairs.loss
            if "image_share" in batch and "image" in (a, b):
                # row i beside image i - 1, which holds some of image i
                shifted = {**encoded, "image": jnp.roll(encoded["image"], 1, 0)}
                neighbours = self.compare(shifted[a], shifted[b], scale, bias, batch)
                share = batch["image_share"]
                values = share * values
                values += (1 - jnp.roll(share, 1)) * neighbours.loss
            parts[f"{a}_{b}"] = Part(values, weights)
            metrics[f"{a}_to_{b}"] = (pairs.correct_a_to_b, weights)
            metrics[f"{b}_to_{a}"] = (pairs.correct_b_to_a, weights)
        metrics["scale"] = (scale, jnp.ones(()))
        if bias is not None:
            metrics["bias"] = (bias, jnp.ones(()))
        return Loss(parts, metrics)

    def compare(
        self, a: Array, b: Array, scale: Array, bias: Array | None, batch: Batch
    ) -> contrastive.Comparison:
        """The losses of two modalities' unit vectors [B, E], in the config's form."""
        form = self.config.form
        if form == "auto":
            form = "ring" if ring.pays(len(a)) else "plain"
        objective = {"plain": contrastive, "ring": ring}[form]
        weights = batch["weight"]
        groups = batch.get("group") if self.config.groups else None
        if self.config.loss == "sigmoid":
            return objective.sigmoid(a, b, scale, bias, weights, groups)
        return objective.softmax(a, b, scale, weights, groups)

    @property
    def predict(self) -> dict[str, Predict]:
        return {"embed": self._embed}

    def _embed(self, variables: Variables, batch: Batch, keys: Any) -> dict[str, Array]:
        """Unit vectors of the modalities that the batch holds; nothing is drawn."""
        return self.encode(variables, batch, None, train=False)


def _has_tower(model: nn.Module, name: str) -> bool:
    """Whether the model can encode a field of the batch."""
    absent = object()
    tower = getattr(model.config, name, absent)
    if tower is None:
        return False
    if hasattr(model, f"encode_{name}"):
        return True
    return hasattr(model, "encode") and tower is not absent


def _encode(model: nn.Module, name: str, *arrays: Any, train: bool) -> Array:
    """Unit vectors of one modality, by the model's own method for it or by the one for all."""
    own = getattr(model, f"encode_{name}", None)
    if own is not None:
        return own(*arrays, train=train)
    return model.encode(name, *arrays, train=train)


def _lead(batch: Batch, name: str) -> tuple[int, ...]:
    """The axes before those of one input of a tower: (B,), or (B, captions)."""
    if f"{name}_segment" in batch or f"{name}_mask" not in batch:
        return batch["weight"].shape
    return batch[f"{name}_mask"].shape[:-1]


def inputs(batch: Batch, name: str) -> tuple[Any, ...]:
    """What a tower takes: (values,) or (values, mask [N, L]), all of all rows one below the other;
    packed (values, mask [P, R, L], layout)."""
    values = batch[name]
    if f"{name}_mask" not in batch:
        return (values,)
    mask = batch[f"{name}_mask"]
    if f"{name}_segment" in batch:
        count = batch["weight"].shape[0] // values.shape[0]
        layout = Layout(batch[f"{name}_segment"], batch[f"{name}_position"], count)
        return values, mask, layout
    per_input = values.shape[mask.ndim - 1 :]
    return values.reshape(-1, *per_input), mask.reshape(-1, mask.shape[-1])


def build(config: Config, model: nn.Module) -> Contrastive:
    """The task of this file."""
    return Contrastive(config, model)
