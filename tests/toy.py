"""Toy tasks and one-device runs that the tests of `training` share.

* `Pairs` has `encode`, as contrastive tasks do; `Words` has none, as language models do.
* Both draw noise in `prepare`, report statistics and keep a state, so that every path of the step
  is walked.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from mmjax.objectives import contrastive as objective
from mmjax.tasks import contrastive
from mmjax.tasks.base import Loss, Part, Task, Teacher
from mmjax.training import optimizer, sharding, state, step

WIDTH, OUT, LENGTH = 6, 4, 5
QUICK = {"xla_backend_optimization_level": 0}  # compiles in half the time


def mesh(devices=1, **sizes):
    """A mesh over the first `devices` virtual CPU devices; `make_mesh` always takes all of them."""
    shape = [sizes.get(axis, 1) for axis in sharding.AXES]
    if "data" not in sizes:
        shape[0] = devices // int(np.prod(shape))
    chosen = np.array(jax.devices()[:devices]).reshape(shape)
    return Mesh(chosen, sharding.AXES, axis_types=(AxisType.Auto,) * 3)


def boxed(key, shape, names):
    """A parameter with its logical axes."""
    return nn.LogicallyPartitioned(jax.random.normal(key, shape) / shape[-2] ** 0.5, names)


def parameters(rng):
    """Two stacked kernels with biases, and a head."""
    keys = jax.random.split(rng, 3)
    blocks = {
        "up": {
            "kernel": boxed(keys[0], (2, WIDTH, WIDTH), ("layers", "embed", "mlp")),
            "bias": nn.LogicallyPartitioned(jnp.full((2, WIDTH), 0.1), ("layers", "mlp")),
        },
        "down": {"kernel": boxed(keys[1], (2, WIDTH, WIDTH), ("layers", "mlp", "embed"))},
    }
    head = {"kernel": boxed(keys[2], (WIDTH, OUT), ("embed", "joint"))}
    return {"blocks": blocks, "head": head}


def forward(params, x):
    """[..., WIDTH] -> [..., OUT]."""
    blocks = params["blocks"]
    lead = (1,) * (x.ndim - 1)
    for i in range(2):
        up = x @ blocks["up"]["kernel"][i] + blocks["up"]["bias"][i].reshape(*lead, WIDTH)
        x = x + jnp.tanh(up) @ blocks["down"]["kernel"][i]
    return x @ params["head"]["kernel"]


class Pairs(Task):
    """Contrastive: batch first, second [B, WIDTH], weight [B]; `noise` is drawn inside encode."""

    noise = 0.0

    def init(self, rng, batch):
        return {"params": parameters(rng), "state": {}}

    def encode(self, variables, batch, rng, *, train):
        noise = self.noise * jax.random.normal(rng, batch["first"].shape)
        sides = {"first": batch["first"] + noise, "second": batch["second"]}
        out = {name: forward(variables["params"], x) for name, x in sides.items()}
        return {n: x / jnp.linalg.norm(x, axis=-1, keepdims=True) for n, x in out.items()}

    def loss(self, variables, batch, encoded, rng, step, *, train):
        pairs = objective.softmax(
            encoded["first"], encoded["second"], jnp.float32(5), batch["weight"]
        )
        metrics = {"a_to_b": (pairs.loss_a_to_b, batch["weight"])}
        return Loss({"pairs": Part(pairs.loss, batch["weight"])}, metrics)


class Hardest(Pairs):
    """`Pairs` with a row-wise loss beside the batch's: each row against the hardest other row of
    the whole batch, and a classifier over `classes` for each of its `LENGTH` places."""

    classes = 8

    def loss(self, variables, batch, encoded, rng, step, *, train):
        loss = super().loss(variables, batch, encoded, rng, step, train=train)
        return loss._replace(statistics=batch["weight"].sum())

    def select(self, variables, batch, encoded, rng, step):
        logits = jax.lax.stop_gradient(encoded["first"] @ encoded["second"].T)
        itself = jnp.eye(len(logits), dtype=bool)
        logits = jnp.where(itself | (batch["weight"] == 0)[None], -jnp.inf, logits)
        hardest = logits.argmax(1)
        return {"negative": encoded["second"][hardest], "which": hardest}

    def local(self, variables, batch, encoded, rng, step, *, train):
        margin = (encoded["first"] * (encoded["negative"] - encoded["second"])).sum(-1)
        match = jax.nn.softplus(margin)
        table = jnp.sin(jnp.arange(OUT * LENGTH * self.classes, dtype=jnp.float32))
        table = table.reshape(OUT, LENGTH, self.classes)
        logits = jnp.einsum("BE,ELV->BLV", encoded["first"], table)
        words = -jax.nn.log_softmax(logits)[..., 0]
        weight = batch["weight"]
        parts = {"match": Part(match, weight, 0.5), "words": Part(words, weight[:, None])}
        return Loss(parts, {"match_right": (margin < 0, weight)}, weight.sum())

    def totals(self, batch):
        return {"words": LENGTH * jnp.sum(batch["weight"])}

    def update(self, variables, statistics, rng, step):
        assert statistics["loss"].ndim == statistics["local"].ndim == 1
        return variables["state"]


class Words(Task):
    """Two parts: batch x [B, LENGTH, WIDTH], y [B, LENGTH], mask [B, LENGTH], weight [B]."""

    teachers = {"momentum": Teacher(0.75, "blocks/up/.*")}

    def init(self, rng, batch):
        return {"params": parameters(rng), "state": {"sums": jnp.zeros(WIDTH)}}

    def prepare(self, batch, rng, step):
        return {**batch, "x": batch["x"] + 0.01 * jax.random.normal(rng, batch["x"].shape)}

    def totals(self, batch):
        return {"words": jnp.sum(batch["mask"])}

    def loss(self, variables, batch, encoded, rng, step, *, train):
        logits = forward(variables["params"], batch["x"])
        words = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][..., None], -1)[..., 0]
        size = jnp.square(logits).mean((1, 2))
        parts = {"words": Part(words, batch["mask"]), "size": Part(size, batch["weight"], 0.1)}
        right = (logits.argmax(-1) == batch["y"]).astype(jnp.float32)
        statistics = {"sums": jnp.sum(batch["x"] * batch["mask"][..., None], (0, 1))}
        return Loss(parts, {"right": (right, batch["mask"])}, statistics)

    def update(self, variables, statistics, rng, step):
        assert statistics["sums"].ndim == 2, "statistics come stacked over micro-batches"
        return {"sums": 0.5 * variables["state"]["sums"] + statistics["sums"].sum(0)}


@dataclasses.dataclass(frozen=True)
class Steps:
    """Config of `Poisoned`."""

    steps: tuple[int, ...] = ()  # counted from 0


class Poisoned(contrastive.Contrastive):
    """Contrastive training in which a pixel turns into NaN at some steps: task.name is its path,
    "toy.Poisoned"."""

    Config = Steps

    @classmethod
    def build(cls, config, model):
        made = cls(contrastive.Config(), model)
        made.steps = config.steps
        return made

    def prepare(self, batch, rng, step):
        bad = jnp.any(step == jnp.array(self.steps))
        image = batch["image"]
        pixel = jnp.where(bad, jnp.nan, image[1, 0, 0, 0])
        return {**batch, "image": image.at[1, 0, 0, 0].set(pixel)}


def pairs(rows=16, seed=0):
    """A batch of `Pairs`, two of its rows nobody's."""
    a, b = np.random.default_rng(seed).normal(size=(2, rows, WIDTH)).astype(np.float32)
    weight = np.ones(rows, np.float32)
    weight[[3, 8]] = 0
    return {"first": a, "second": a + b, "weight": weight}


def words(rows=16, seed=0):
    """A batch of `Words` whose rows hold from one word to all, very unevenly spread."""
    rng = np.random.default_rng(seed)
    lengths = np.where(np.arange(rows) % 4 == 0, LENGTH, 1)
    return {
        "x": rng.normal(size=(rows, LENGTH, WIDTH)).astype(np.float32),
        "y": rng.integers(OUT, size=(rows, LENGTH)).astype(np.int32),
        "mask": (np.arange(LENGTH)[None] < lengths[:, None]).astype(np.float32),
        "weight": np.ones(rows, np.float32),
    }


SGD = optimizer.Group(optimizer="sgd", learning_rate=0.1, schedule="constant", b1=0.0)


def planned(task, batch, *groups, where=None, clip_norm=0.0, accumulate=1, ema=0.0, steps=100):
    """(plan, jitted step) of a run with these optimizer groups."""
    config = optimizer.Config(groups or (SGD,), clip_norm, accumulate)
    where = where or mesh()
    sizes = sharding.Config(**{axis: where.shape[axis] for axis in sharding.AXES})
    plan = state.specify(task, batch, config, where, sizes, steps=steps, seed=0, ema=ema)
    return plan, jax.jit(step.make_step(plan, accumulate), compiler_options=QUICK)
