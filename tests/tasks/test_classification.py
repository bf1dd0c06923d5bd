"""Several heads, labels that are not known, and heads of several classes at once."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from toy import mesh

from mmjax.config import ConfigError
from mmjax.tasks import classification


class Output(NamedTuple):
    pooled: jax.Array
    logits: dict


class Heads(nn.Module):
    """Logits are the input's own columns: what is right can be counted by hand."""

    one: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        scale = self.param("scale", nn.initializers.ones, (1, 1))
        x = x * scale
        return Output(x, x[:, :3] if self.one else {"a": x[:, :3], "b": x[:, 3:]})


BATCH = {
    "sound": jnp.array([[9.0, 0, 0, 5, -5], [0, 9, 0, -5, 5], [0, 0, 9, 5, 5]]),
    "a": jnp.array([0, 2, -1]),
    "b": jnp.array([[1, 0], [1, -1], [-1, -1]]),
    "weight": jnp.ones(3),
}


def made(**config):
    return classification.build(classification.Config("sound", ("b",), **config), Heads())


def test_each_head_counts_the_rows_that_it_knows():
    task = made()
    variables = task.init(jax.random.key(0), BATCH)
    loss = task.loss(variables, BATCH, None, jax.random.key(0), jnp.zeros(()), train=True)
    totals = task.totals(BATCH)
    assert {name: float(totals[name]) for name in "ab"} == {"a": 2, "b": 2}
    np.testing.assert_array_equal(loss.parts["a"].weights, [1, 1, 0])
    np.testing.assert_allclose(loss.parts["a"].values[1], 9, atol=1e-2)
    # of the second row one class is known, and it is wrong by 5
    np.testing.assert_allclose(loss.parts["b"].values[:2], [0.0134, 5.0067], atol=1e-3)
    values, weights = loss.metrics["a_accuracy"]
    assert float((values * weights).sum() / weights.sum()) == 0.5


def test_two_halves_have_the_gradient_of_the_whole():
    """Heads that few rows of a micro-batch know are averaged over the batch all the same."""
    task = made(smoothing=0.1)
    variables = task.init(jax.random.key(0), BATCH)
    totals = task.totals(BATCH)

    def total(params, rows):
        batch = jax.tree.map(lambda value: value[rows], BATCH)
        variables = {"params": params}
        loss = task.loss(
            variables, batch, None, jax.random.key(0), jnp.zeros(()), train=False
        )
        parts = loss.parts.items()
        return sum((part.values * part.weights).sum() / totals[name] for name, part in parts)

    grad = jax.grad(total)
    whole = grad(variables["params"], slice(None))
    halves = jax.tree.map(
        jnp.add, grad(variables["params"], slice(1)), grad(variables["params"], slice(1, None))
    )
    np.testing.assert_allclose(halves["scale"], whole["scale"], rtol=1e-5)


def test_the_only_head_is_the_label():
    task = classification.build(classification.Config("sound"), Heads(one=True))
    batch = {"sound": BATCH["sound"], "label": BATCH["a"], "weight": BATCH["weight"]}
    variables = task.init(jax.random.key(0), batch)
    loss = task.loss(variables, batch, None, jax.random.key(0), jnp.zeros(()), train=True)
    assert list(loss.parts) == ["label"]
    assert task.logits(variables, batch, jax.random.key(0))["logits"].shape == (3, 3)
    assert task.embed(variables, batch, jax.random.key(0))["sound"].shape == (3, 5)


def test_what_is_missing_is_named():
    task = made()
    variables = task.init(jax.random.key(0), BATCH)
    without = {name: value for name, value in BATCH.items() if name != "a"}
    with pytest.raises(ConfigError, match="head 'a' and the data no such label"):
        task.loss(variables, without, None, jax.random.key(0), jnp.zeros(()), train=True)
    with pytest.raises(ConfigError, match="task.input='sound'"):
        task.init(jax.random.key(0), {"weight": BATCH["weight"]})
    with pytest.raises(ConfigError, match="smoothing"):
        made(smoothing=1.0)


def test_views_of_a_row_are_averaged():
    """What is said of a row is the mean of what is said of its views, one by one."""
    task = made(views=2)
    views = jnp.stack([BATCH["sound"], BATCH["sound"][::-1] / 2], axis=1)
    variables = task.init(jax.random.key(0), BATCH)
    keys = jax.random.split(jax.random.key(0), 3)
    said = task.logits(variables, {**BATCH, "sound": views}, keys)
    np.testing.assert_allclose(said["a"], views.mean(1)[:, :3], rtol=1e-6)
    read = task.embed(variables, {**BATCH, "sound": views}, keys)["sound"]
    np.testing.assert_allclose(read, views.mean(1), rtol=1e-6)
    # training sees one view of each row
    loss = task.loss(variables, BATCH, None, jax.random.key(0), jnp.zeros(()), train=True)
    assert set(loss.parts) == {"a", "b"}


def test_views_are_the_same_on_one_device_and_on_eight():
    """Whatever rows a device has: views lie behind rows, and no row hears of another."""
    task = made(views=3)
    views = jax.random.normal(jax.random.key(0), (16, 3, 5))
    variables = task.init(jax.random.key(0), BATCH)
    keys = jax.random.split(jax.random.key(0), 16)
    read = jax.jit(lambda batch: task.logits(variables, batch, keys))
    alone = read({"sound": views})
    rows = NamedSharding(mesh(8, data=8), P("data"))
    cut = read({"sound": jax.device_put(views, rows)})
    for name in ("a", "b"):
        np.testing.assert_allclose(cut[name], alone[name], rtol=1e-6, atol=1e-7)


def test_mixed_rows_have_mixed_labels():
    """And none is mixed with a row that is corrupt, or of which something is not known."""
    task = made(mixup=classification.Mixup(share=1.0))
    whole = {**BATCH, "b": jnp.array([[1, 0], [0, 1], [1, -1]])}
    batch = {name: jnp.tile(value, (4, *[1] * (value.ndim - 1))) for name, value in whole.items()}
    batch["weight"] = batch["weight"].at[0].set(0)
    out = task.prepare(batch, jax.random.key(1), jnp.zeros(()))
    part = np.asarray(out["b"])[:, 0]
    changed = ~np.isin(part, [0.0, 1.0])
    assert changed.any() and not changed[[0, 2, 5, 8, 11]].any()
    # of rows that are none of the first the input is mixed as the label is
    for row in np.flatnonzero(changed):
        own = part[row] if row % 3 == 0 else 1 - part[row]
        other = 1 if row % 3 == 0 else 0
        expected = own * batch["sound"][row] + (1 - own) * batch["sound"][other]
        np.testing.assert_allclose(out["sound"][row], expected, rtol=1e-5)
    with pytest.raises(ConfigError, match="name the heads in `several`"):
        classification.build(classification.Config(mixup=classification.Mixup()), Heads())


def test_sounds_are_mixed_in_power():
    rng = np.random.default_rng(0)
    powers = rng.uniform(1, 9, (2, 3, 4)).astype(np.float32)
    part = jnp.array([0.3, 1.0, 0.0])
    found = classification.mixed(*jnp.log(powers) / 2.5, part, 2.5)
    expected = part[:, None] ** 2 * powers[0] + (1 - part[:, None]) ** 2 * powers[1]
    np.testing.assert_allclose(jnp.exp(found * 2.5), expected, rtol=1e-4)
