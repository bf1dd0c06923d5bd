"""BLIP's training: images and texts are compared, matched and described in one step.

* https://arxiv.org/abs/2201.12086, section 3.2, and the released code. Three losses, each with a
  weight of its own: "itc" compares embeddings with those of a momentum encoder, of the batch and of
  a queue, with soft labels; "itm" tells a pair from hard negatives that are drawn from the whole
  global batch by similarity; "lm" writes the caption with label smoothing.
* The captioner and the filter of CapFilt are this task with itc = itm = 0, and with lm = 0.
* Of a batch with `answer` the text is a question: it is read beside the image, and the answer is
  written beside what was read (VQA).
* Rows of one `group` (two drawings of one thing) are right answers to each other, and no negatives.
* itc needs the whole batch; itm and lm are row-wise once the negatives are drawn, and computed a
  micro-batch at a time.

Letters: B rows, P image tokens, L tokens of a text, K texts of a row, N new tokens, Q queue.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.generation.options import Options
from mmjax.objectives import momentum, words
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Teacher, Variables, rows
from mmjax.tasks.fusion import Fusion, with_first
from mmjax.typing import Array, Natural

SLOW = "momentum"  # the teacher's name
COMPARING = r"(image|text|image_head|text_head)/.*"  # parameters that make embeddings
SIDES = ("image", "text")


@dataclasses.dataclass(frozen=True)
class Config:
    itc: float = 1.0  # weight of comparing images with texts; 0: not done
    itm: float = 1.0  # weight of matching; 0: not done
    lm: float = 1.0  # weight of writing; 0: not done
    momentum: float = 0.995  # decay of the momentum encoder, per step
    queue: Natural = 57_600  # Q: embeddings of earlier batches that a batch is compared with
    soft: float = 0.4  # share of itc's targets that the momentum encoder gives
    soft_warmup: Natural = 0  # steps in which that share grows from 0
    label_smoothing: float = 0.1  # share of a target's probability that all tokens get alike
    generate: Options = Options(max_new_tokens=20)  # how captions and answers are generated


class Blip(Task):
    """batch: image [B, H, W, C], text [B, L], text_mask [B, L], weight [B], index [B]; optional
    group [B], answer and answer_mask [B, A]."""

    training_state = ("queue",)

    def __init__(self, config: Config, model: nn.Module) -> None:
        """
        Raises:
          ConfigError: the model lacks what a loss needs.
        """
        self.config = config
        self.model = model
        self.fusion = Fusion(model)
        of_model = model.config
        if config.itc and of_model.scale_init is None:
            raise ConfigError("task.itc compares, and the model does not: set model.scale_init")
        if config.itm and not (config.itc and of_model.matching):
            raise ConfigError(
                "task.itm draws its negatives by what itc compares, and asks the model's head: "
                "set task.itc above 0 and model.matching=True, or task.itm=0"
            )
        if config.lm and not of_model.writes:
            raise ConfigError("task.lm writes, and model.texts='encoder' does not: set task.lm=0")
        if not (config.itc or config.lm):
            raise ConfigError("task.itc, task.itm and task.lm are all 0: there is nothing to learn")

    @property
    def teachers(self) -> Mapping[str, Teacher]:
        return {SLOW: Teacher(self.config.momentum, COMPARING)} if self.config.itc else {}

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        texts = batch["text"], batch["text_mask"]
        if "answer" in batch:
            texts += batch["answer"], batch["answer_mask"]
        params = self.model.init(rng, batch["image"], *texts)["params"]
        if not self.config.itc:
            return {"params": params, "state": {}}
        size = self.config.queue
        vectors = jnp.zeros((size, self.model.config.embedding))
        queue = {
            "image": vectors,
            "text": vectors,
            "identity": jnp.zeros((size, 2), jnp.int32),
            "there": jnp.zeros(size, bool),
        }
        return {"params": params, "state": {"queue": queue}}

    def totals(self, batch: Batch) -> Mapping[str, Array]:
        totals = {}
        if self.config.itm:
            totals["itm"] = 3 * rows(batch)
        if self.config.lm:
            totals["lm"] = _target(batch)[1].sum()
        return totals

    def encode(
        self, variables: Variables, batch: Batch, rng: jax.Array, *, train: bool
    ) -> dict[str, Array]:
        """Image tokens [B, P, D] and, to compare, embeddings [B, E] of the model and of its slow
        copy."""
        params = variables["params"]
        encoded = self._embedded(params, batch, rng if train else None)
        if self.config.itc:
            copy = tree.flatten(variables["teachers"][SLOW])
            slow_params = tree.unflatten({**tree.flatten(params), **copy})
            slow = self._embedded(slow_params, batch, None)
            for side in SIDES:
                encoded[f"slow_{side}"] = jax.lax.stop_gradient(slow[side])
        return encoded

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        encoded: Mapping[str, Array],
        rng: jax.Array,
        step: Array,
        *,
        train: bool,
    ) -> Loss:
        if not self.config.itc:
            return Loss({})
        weights = batch["weight"]
        queue = variables["state"]["queue"]
        identity = _identity(batch)
        there = jnp.concatenate([weights > 0, queue["there"]])
        right = _same(identity, jnp.concatenate([identity, queue["identity"]]))
        share = self.config.soft
        if self.config.soft_warmup:
            share = share * jnp.minimum(1.0, step / self.config.soft_warmup)
        scale = self._scale(variables)
        losses = []
        metrics = {"scale": (scale, jnp.ones(()))}
        for side, other in (SIDES, SIDES[::-1]):
            candidates = jnp.concatenate([encoded[f"slow_{other}"], queue[other]])
            logits = momentum.similarity(encoded[side], candidates, scale)
            slow = momentum.similarity(encoded[f"slow_{side}"], candidates, scale)
            found = momentum.soft_softmax(logits, slow, right, there, share)
            losses.append(found.loss)
            metrics[f"{side}_to_{other}"] = (found.correct, weights)
        report = {side: encoded[f"slow_{side}"] for side in SIDES}
        report |= {"identity": identity, "there": weights > 0}
        part = Part((losses[0] + losses[1]) / 2, weights, self.config.itc)
        return Loss({"itc": part}, metrics, report)

    def select(
        self,
        variables: Variables,
        batch: Batch,
        encoded: Mapping[str, Array],
        rng: jax.Array,
        step: Array,
    ) -> Mapping[str, Array]:
        """A wrong text for each image and a wrong image for each text, of all rows of all devices:
        the tokens of that image [B, P, D] carry a gradient back into `encode`."""
        if not self.config.itm:
            return {}
        identity = _identity(batch)
        right = _same(identity, identity)
        there = batch["weight"] > 0
        drawn = {}
        for number, (side, other) in enumerate((SIDES, SIDES[::-1])):
            logits = momentum.similarity(
                encoded[side], encoded[f"slow_{other}"], self._scale(variables)
            )
            key = jax.random.fold_in(rng, number)
            drawn[other] = momentum.hard_negatives(key, logits, right, there)
        return {
            "wrong_image": encoded["image_tokens"][drawn["image"].index],
            "wrong_image_exists": drawn["image"].exists,
            "wrong_text": batch["text"][drawn["text"].index],
            "wrong_text_mask": batch["text_mask"][drawn["text"].index],
            "wrong_text_exists": drawn["text"].exists,
        }

    def local(
        self,
        variables: Variables,
        batch: Batch,
        encoded: Mapping[str, Array],
        rng: jax.Array,
        step: Array,
        *,
        train: bool,
    ) -> Loss:
        params = variables["params"]
        parts = {}
        metrics = {}
        if self.config.itm:
            key = jax.random.fold_in(rng, 0) if train else None
            values, right, weights = self._match(params, batch, encoded, key)
            parts["itm"] = Part(values, weights, self.config.itm)
            metrics["matched"] = (right, weights)
        if self.config.lm:
            key = jax.random.fold_in(rng, 1) if train else None
            values, right, weights = self._write(params, batch, encoded, key)
            parts["lm"] = Part(values, weights, self.config.lm)
            metrics["written"] = (right, weights)
        return Loss(parts, metrics)

    def update(self, variables: Variables, statistics: Any, rng: jax.Array, step: Array) -> Any:
        """The queue with the newest embeddings in front, the oldest dropped."""
        if not self.config.itc:
            return variables["state"]

        def enqueued(old: Array, new: Array) -> Array:
            new = new.reshape(-1, *old.shape[1:])
            return jnp.concatenate([new, old])[: len(old)]

        queue = variables["state"]["queue"]
        return {"queue": jax.tree.map(enqueued, queue, statistics["loss"])}

    @property
    def predict(self) -> Mapping[str, Predict]:
        fusion = self.fusion
        made = {"embed": fusion.embed, "generate": self.generate, "attention": fusion.attention}
        return made if self.model.config.writes else {"embed": fusion.embed}

    def generate(
        self, variables: Variables, batch: Batch, keys: jax.Array, **changes: Any
    ) -> dict[str, Array]:
        """Captions or answers, `text` [B, N] with its mask; `changes`: of Options."""
        options = dataclasses.replace(self.config.generate, **changes)
        return self.fusion.generate(variables, batch, keys, options)

    def _embedded(self, params: Any, batch: Batch, rng: jax.Array | None) -> dict[str, Array]:
        """Image tokens, and the embeddings of both sides where they are compared."""
        apply = self.fusion.apply
        tokens = apply(params, "image_tokens", batch["image"], rng=rng)
        if not self.config.itc:
            return {"image_tokens": tokens}
        texts = batch["text"], batch["text_mask"]
        return {
            "image_tokens": tokens,
            "image": apply(params, "image_embedding", tokens),
            "text": apply(params, "encode_text", *texts, rng=rng),
        }

    def _scale(self, variables: Variables) -> Array:
        return self.model.apply({"params": variables["params"]}, method="scale")

    def _match(
        self, params: Any, batch: Batch, encoded: Any, rng: jax.Array | None
    ) -> tuple[Array, Array, Array]:
        """Losses, whether right, and weights [B, 3]: the pair itself, a wrong image beside the
        text, a wrong text beside the image."""
        own, mask = batch["text"], batch["text_mask"]
        tokens = encoded["image_tokens"]
        images = jnp.concatenate([tokens, encoded["wrong_image"], tokens])
        ids = jnp.concatenate([own, own, encoded["wrong_text"]])
        masks = jnp.concatenate([mask, mask, encoded["wrong_text_mask"]])
        logits = self.fusion.matching(params, ids, masks, images, rng)
        logits = jnp.swapaxes(logits.reshape(3, len(own), 2), 0, 1)
        label = jnp.broadcast_to(jnp.array([1, 0, 0]), logits.shape[:2])
        values = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        right = (logits.argmax(-1) == label).astype(jnp.float32)
        weight = batch["weight"]
        exists = (encoded["wrong_image_exists"], encoded["wrong_text_exists"])
        weights = jnp.stack([weight, *(weight * there for there in exists)], axis=1)
        return values, right, weights

    def _write(
        self, params: Any, batch: Batch, encoded: Any, rng: jax.Array | None
    ) -> tuple[Array, Array, Array]:
        """Losses of each token but the first, whether it is the likeliest, and weights."""
        reading, writing = (None, None) if rng is None else jax.random.split(rng)
        context = self.fusion.context(params, batch, encoded["image_tokens"], reading)
        name = "answer" if "answer" in batch else "text"
        ids = with_first(batch[name], self.model.config.start_id)
        mask = batch[f"{name}_mask"]
        output = self.fusion.apply(params, "decode", ids, mask, **context, rng=writing)
        target, weights = _target(batch)
        logits = output.logits[:, :-1]
        smoothing = 0.0 if rng is None else self.config.label_smoothing
        values = words.cross_entropy(logits, target, smoothing)
        right = (logits.argmax(-1) == target).astype(jnp.float32)
        return values, right, weights


def _identity(batch: Batch) -> Array:
    """What makes rows right answers to each other, [B, 2]: their group, or being one example."""
    if "group" in batch:
        group = batch["group"].astype(jnp.int32)
        return jnp.stack([jnp.full_like(group, -1), group], axis=1)
    return jnp.stack([batch["source"], batch["index"]], axis=1).astype(jnp.int32)


def _same(a: Array, b: Array) -> Array:
    return (a[:, None] == b[None]).all(-1)


def _target(batch: Batch) -> tuple[Array, Array]:
    """The tokens that are to be written, and their weights."""
    name = "answer" if "answer" in batch else "text"
    weights = batch[f"{name}_mask"][:, 1:].astype(jnp.float32) * batch["weight"][:, None]
    return batch[name][:, 1:], weights


def build(config: Config, model: nn.Module) -> Blip:
    return Blip(config, model)
