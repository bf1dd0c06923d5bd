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
from mmjax.generation.generate import answers
from mmjax.generation.options import Options
from mmjax.objectives import momentum
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Teacher, Variables, rows
from mmjax.tasks.contrastive import inputs as flat_inputs
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

    def __init__(self, config: Config, model: nn.Module) -> None:
        """
        Raises:
          ConfigError: the model lacks what a loss needs.
        """
        self.config = config
        self.model = model
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
        encoded = self._embedded(params, batch, rng, train)
        if self.config.itc:
            copy = tree.flatten(variables["teachers"][SLOW])
            slow_params = tree.unflatten({**tree.flatten(params), **copy})
            slow = self._embedded(slow_params, batch, None, False)
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
        parts = {}
        metrics = {}
        if self.config.itm:
            key = jax.random.fold_in(rng, 0)
            values, right, weights = self._match(variables, batch, encoded, key, train)
            parts["itm"] = Part(values, weights, self.config.itm)
            metrics["matched"] = (right, weights)
        if self.config.lm:
            key = jax.random.fold_in(rng, 1)
            values, right, weights = self._write(variables, batch, encoded, key, train)
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
        return {"embed": self.embed, "generate": self.generate}

    def embed(self, variables: Variables, batch: Batch, keys: Any = None) -> dict[str, Array]:
        """Of what the batch holds: "image" and "text", unit vectors [B, E] (of several texts of a
        row [B, K, E]); "image_tokens" [B, P, D], which a batch may hold instead of pixels; "match"
        [B], the log-odds that a row's image and text belong together."""
        params = {"params": variables["params"]}
        apply = self.model.apply
        compares = bool(self.model.config.embedding)
        out: dict[str, Array] = {}
        tokens = batch.get("image_tokens")
        if tokens is None and "image" in batch:
            tokens = apply(params, batch["image"], method="image_tokens")
        if tokens is not None:
            out["image_tokens"] = tokens
            if compares:
                out["image"] = apply(params, tokens, method="image_embedding")
        if "text" in batch and compares:
            ids, mask = flat_inputs(batch, "text")
            vectors = apply(params, ids, mask, method="encode_text")
            out["text"] = vectors.reshape(*batch["text"].shape[:-1], -1)
        alone = "text" in batch and batch["text"].ndim == 2
        if alone and tokens is not None and self.model.config.matching:
            logits = self._matching(params, batch["text"], batch["text_mask"], tokens, {}, False)
            out["match"] = logits[:, 1] - logits[:, 0]
        return out

    def generate(
        self, variables: Variables, batch: Batch, keys: jax.Array, **changes: Any
    ) -> dict[str, Array]:
        """A caption of each image, or the answer to its question where the model was trained to
        answer: `text` [B, N] with its mask; `changes`: of Options."""
        options = dataclasses.replace(self.config.generate, **changes)
        params = {"params": variables["params"]}
        tokens = self.model.apply(params, batch["image"], method="image_tokens")
        context, context_mask = self._context(params, batch, tokens, {}, False)
        start = jnp.full((len(tokens), 1), self.model.config.start_id, jnp.int32)
        prompt = dict(inputs=start, mask=jnp.ones(start.shape, bool), context=context)
        if context_mask is not None:
            prompt["context_mask"] = context_mask
        keys = jnp.repeat(keys, options.returns)
        said = answers(self.model, options, params, prompt, keys)
        written = said.tokens[:, 0]
        place = jnp.arange(written.shape[1])[None]
        ended = jnp.isin(written, jnp.array(options.end_ids, jnp.int32))
        return {"text": written, "text_mask": (place < said.lengths[:, :1]) & ~ended}

    def _embedded(
        self, params: Any, batch: Batch, rng: jax.Array | None, train: bool
    ) -> dict[str, Array]:
        """Image tokens, and the embeddings of both sides where they are compared."""
        variables = {"params": params}
        kwargs = dict(train=train, rngs={"dropout": rng} if train else {})
        tokens = self.model.apply(variables, batch["image"], method="image_tokens", **kwargs)
        if not self.config.itc:
            return {"image_tokens": tokens}
        return {
            "image_tokens": tokens,
            "image": self.model.apply(variables, tokens, method="image_embedding"),
            "text": self.model.apply(
                variables, batch["text"], batch["text_mask"], method="encode_text", **kwargs
            ),
        }

    def _scale(self, variables: Variables) -> Array:
        return self.model.apply({"params": variables["params"]}, method="scale")

    def _match(
        self, variables: Variables, batch: Batch, encoded: Any, rng: jax.Array, train: bool
    ) -> tuple[Array, Array, Array]:
        """Losses, whether right, and weights [B, 3]: the pair itself, a wrong image beside the
        text, a wrong text beside the image."""
        own, mask = batch["text"], batch["text_mask"]
        tokens = encoded["image_tokens"]
        images = jnp.concatenate([tokens, encoded["wrong_image"], tokens])
        ids = jnp.concatenate([own, own, encoded["wrong_text"]])
        masks = jnp.concatenate([mask, mask, encoded["wrong_text_mask"]])
        params = {"params": variables["params"]}
        logits = self._matching(params, ids, masks, images, {"dropout": rng}, train)
        logits = jnp.swapaxes(logits.reshape(3, len(own), 2), 0, 1)
        label = jnp.broadcast_to(jnp.array([1, 0, 0]), logits.shape[:2])
        values = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        right = (logits.argmax(-1) == label).astype(jnp.float32)
        weight = batch["weight"]
        exists = (encoded["wrong_image_exists"], encoded["wrong_text_exists"])
        weights = jnp.stack([weight, *(weight * there for there in exists)], axis=1)
        return values, right, weights

    def _matching(
        self, params: Any, ids: Array, mask: Array, tokens: Array, rngs: Any, train: bool
    ) -> Array:
        """Logits [B, 2] of texts that are read beside images."""
        opened = _opened(ids, self.model.config.match_id)
        kwargs = dict(context=tokens, train=train, rngs=rngs if train else {})
        fused = self.model.apply(params, opened, mask, method="fuse", **kwargs)
        return self.model.apply(params, fused, mask, method="matching")

    def _context(
        self, params: Any, batch: Batch, tokens: Array, rngs: Any, train: bool
    ) -> tuple[Array, Array | None]:
        """What a text is written beside: an image's tokens, or a question that was read there."""
        if self.model.config.texts != "both":
            return tokens, None
        opened = _opened(batch["text"], self.model.config.match_id)
        kwargs = dict(context=tokens, train=train, rngs=rngs if train else {})
        mask = batch["text_mask"]
        return self.model.apply(params, opened, mask, method="fuse", **kwargs), mask

    def _write(
        self, variables: Variables, batch: Batch, encoded: Any, rng: jax.Array, train: bool
    ) -> tuple[Array, Array, Array]:
        """Losses of each token but the first, whether it is the likeliest, and weights."""
        params = {"params": variables["params"]}
        keys = jax.random.split(rng)
        tokens = encoded["image_tokens"]
        context, context_mask = self._context(params, batch, tokens, {"dropout": keys[0]}, train)
        name = "answer" if "answer" in batch else "text"
        output = self.model.apply(
            params,
            _opened(batch[name], self.model.config.start_id),
            batch[f"{name}_mask"],
            context=context,
            context_mask=context_mask,
            train=train,
            rngs={"dropout": keys[1]} if train else {},
            method="decode",
        )
        target, weights = _target(batch)
        logits = output.logits[:, :-1]
        values = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        smoothing = self.config.label_smoothing
        if smoothing and train:
            flat = -jax.nn.log_softmax(logits).mean(-1)
            values = (1 - smoothing) * values + smoothing * flat
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


def _opened(ids: Array, token: int) -> Array:
    """Texts with another first token, which says what they are for."""
    return ids.at[:, 0].set(token)


def _target(batch: Batch) -> tuple[Array, Array]:
    """The tokens that are to be written, and their weights."""
    name = "answer" if "answer" in batch else "text"
    weights = batch[f"{name}_mask"][:, 1:].astype(jnp.float32) * batch["weight"][:, None]
    return batch[name][:, 1:], weights


def build(config: Config, model: nn.Module) -> Blip:
    return Blip(config, model)
