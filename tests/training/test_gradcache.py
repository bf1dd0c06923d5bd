"""GradCache through `Contrastive.encode`: any number of micro-batches gives the gradient of the
whole batch, dropout included, whichever form compares the pairs and however many devices do."""

import functools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import QUICK, mesh

from mmjax import tree
from mmjax.tasks import contrastive
from mmjax.training import sharding
from mmjax.training import step as steps

ROWS, LENGTH, E = 32, 5, 6
RNG = 3


class Towers(nn.Module):
    """What the task asks of a model, with dropout and little else."""

    config = types.SimpleNamespace(bias_init=-2.0)

    def setup(self):
        start = nn.initializers.normal(1.0)
        self.towers = {name: nn.Dense(E, bias_init=start) for name in ("image", "text")}
        self.drop = nn.Dropout(0.3)
        self.scale = self.param("scale", nn.initializers.constant(7.0), ())
        self.bias = self.param("bias", nn.initializers.constant(-2.0), ())

    def encode(self, name, x, train):
        x = self.towers[name](self.drop(x, deterministic=not train))
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    def encode_image(self, image, train):
        return self.encode("image", image.reshape(len(image), -1), train)

    def encode_text(self, ids, mask, train):
        return self.encode("text", ids * mask.astype(jnp.float32), train)

    def scale_and_bias(self):
        return self.scale, self.bias

    def __call__(self, image, ids, mask):
        return self.encode_image(image, False), self.encode_text(ids, mask, False)


def task(loss, form):
    return contrastive.Contrastive(contrastive.Config(loss=loss, form=form), Towers())


def batch():
    """Rows of which two do not exist and some are of one group."""
    rng = np.random.default_rng(0)
    weight = np.ones(ROWS, np.float32)
    weight[[3, 8]] = 0
    return {
        "image": rng.normal(size=(ROWS, 2, 2, 3)).astype(np.float32),
        "text": rng.integers(4, size=(ROWS, LENGTH)).astype(np.int32),
        "text_mask": np.arange(LENGTH)[None] < rng.integers(2, LENGTH + 1, size=(ROWS, 1)),
        "weight": weight,
        "group": rng.integers(20, size=ROWS).astype(np.int32),
    }


@functools.cache
def variables():
    return {**task("softmax", "plain").init(jax.random.key(7), batch()), "teachers": {}}


@functools.cache
def by_hand(loss, count):
    """(loss, gradients) of one pass over the whole batch in which micro-batch i, rows i, i + count,
    ..., is encoded with the i-th key."""
    one = task(loss, "plain")

    def objective(params):
        whole, rows = {**variables(), "params": params}, jax.tree.map(jnp.asarray, batch())
        key = jax.random.key(RNG)
        keys = [key] if count == 1 else jax.random.split(key, count)
        encoded = {"image": jnp.zeros((ROWS, E)), "text": jnp.zeros((ROWS, E))}
        for i, key in enumerate(keys):
            part = one.encode(whole, {n: x[i::count] for n, x in rows.items()}, key, train=True)
            encoded = {n: x.at[i::count].set(part[n]) for n, x in encoded.items()}
        part = one.loss(whole, rows, encoded, None, 0, train=True).parts["image_text"]
        return jnp.sum(part.values * part.weights) / jnp.sum(rows["weight"])

    both = jax.jit(jax.value_and_grad(objective), compiler_options=QUICK)
    return jax.device_get(both(variables()["params"]))


CASES = [("ring", dict(data=4, fsdp=2), 4), ("plain", dict(data=1), 4)]  # 1: test_step.py
CASES += [
    pytest.param("ring", dict(data=4, fsdp=2), count, marks=pytest.mark.slow) for count in (1, 8)
]


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("form, sizes, count", CASES, ids=lambda x: str(x))
def test_any_number_of_micro_batches_gives_the_whole_gradient(loss, form, sizes, count):
    where = mesh(int(np.prod(list(sizes.values()))), **sizes)
    one = task(loss, form)

    def gradients(params, batch):
        whole = {**variables(), "params": params}
        rng = jax.random.key(RNG)
        return steps.gradients(one, whole, params, batch, rng, jnp.int32(0), count)[:2]

    with jax.set_mesh(where):
        rows = jax.device_put(batch(), sharding.batch_sharding(where))
        params = jax.device_put(variables()["params"], sharding.replicated(where))
        value, grads = jax.jit(gradients, compiler_options=QUICK)(params, rows)
    right, expected = by_hand(loss, count)
    np.testing.assert_allclose(value, right, rtol=1e-6)
    grads, expected = tree.flatten(jax.device_get(grads)), tree.flatten(expected)
    assert grads.keys() == expected.keys()
    for path, found in grads.items():
        size = np.linalg.norm(expected[path])
        assert np.linalg.norm(found - expected[path]) <= 1e-5 * size, path
        assert size > 1e-4 or (path == "bias" and loss == "softmax"), path


def test_the_dropout_is_there():
    """Other keys, another loss: what is compared above is not a model without noise."""
    losses = [by_hand("softmax", count)[0] for count in (1, 2, 4, 8)]
    assert np.ptp(losses) > 1e-3
