"""Optimizers by group: the same as separate ones; decay and Muon see a layer, not the stack."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.training import optimizer
from mmjax.training.optimizer import Config, Group

LAYERS, D, N, H, F = 3, 8, 2, 4, 12
AXES = {
    "blocks/attention/query/kernel": ("layers", "embed", "heads", "head"),
    "blocks/attention/out/kernel": ("layers", "heads", "head", "embed"),
    "blocks/mlp/down/kernel": ("layers", "mlp", "embed"),
    "blocks/mlp/up/bias": ("layers", "mlp"),
    "blocks/mlp/up/kernel": ("layers", "embed", "mlp"),
    "blocks/norm/scale": ("layers", "embed"),
    "scale": (),
    "tokens": ("vocab", "embed"),
}
SIZES = dict(layers=LAYERS, embed=D, heads=N, head=H, mlp=F, vocab=10)
KERNELS = [path for path in AXES if path.endswith("kernel")]


def random(seed):
    rng = np.random.default_rng(seed)
    shapes = {path: tuple(SIZES[name] for name in names) for path, names in AXES.items()}
    return tree.unflatten({path: rng.normal(size=s).astype("f") for path, s in shapes.items()})


def run(transformation, params, grads):
    """Parameters after one update per gradient tree."""

    @jax.jit
    def update(params, state, grads):
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.jit(transformation.init)(params)
    for one in grads:
        params, state = update(params, state, one)
    return params


def built(*groups, steps=20):
    return optimizer.build(Config(groups), AXES, steps)


def close(first, second, tolerance=1e-6):
    for path, value in tree.flatten(first).items():
        np.testing.assert_allclose(value, tree.flatten(second)[path], tolerance, tolerance, path)


GRADS = [random(seed) for seed in (1, 2, 3)]


@pytest.mark.parametrize("kind, alone", [
    ("adamw", lambda rate, mask: optax.adamw(rate, 0.8, 0.95, 1e-6, weight_decay=0.1, mask=mask)),
    ("lion", lambda rate, mask: optax.lion(rate, 0.8, 0.95, weight_decay=0.1, mask=mask)),
])  # fmt: skip
def test_groups_update_as_optimizers_of_their_own(kind, alone):
    rest = dict(b1=0.8, b2=0.95, epsilon=1e-6, weight_decay=0.1, final=0.1)
    first = Group("blocks/.*", "sgd", 0.5, "constant", b1=0.7)
    second = Group(".*", kind, 0.01, "cosine", warmup=2, **rest)
    params, (new, fresh) = random(0), ({}, {})
    new = run(built(first, second).transformation, params, GRADS)
    blocks, others = tree.partition(params, lambda path: path.startswith("blocks/"))

    def part(grads, keep):
        return [tree.partition(g, lambda p: p.startswith("blocks/") == keep)[0] for g in grads]

    fresh |= run(optax.sgd(0.5, momentum=0.7), blocks, part(GRADS, True))

    def rate(count):
        after = optax.cosine_decay_schedule(0.01, 18, alpha=0.1)(count - 2)
        return jnp.where(count < 2, 0.01 * (count + 1) / 3, after)

    mask = {"scale": False, "tokens": True}
    fresh |= run(alone(rate, mask), others, part(GRADS, False))
    close(new, fresh)


@pytest.mark.parametrize("kind", ["adamw", "lion", "adafactor", "muon", "sgd"])
def test_decay_is_on_matrices_and_tables_alone(kind):
    """Two runs that differ in decay alone differ in kernels and tables alone."""
    rate = dict(learning_rate=0.01, schedule="constant")
    params, results = random(0), []
    for decay in (0.0, 0.5):
        group = Group(optimizer=kind, weight_decay=decay, **rate)
        results.append(tree.flatten(run(built(group).transformation, params, GRADS[:1])))
    for path, without in results[0].items():
        change = np.abs(np.asarray(results[1][path]) - without)
        if path in KERNELS or path == "tokens":
            decayed = 0.01 * 0.5 * np.abs(tree.flatten(params)[path])
            np.testing.assert_allclose(change, decayed, rtol=1e-3, atol=1e-6, err_msg=path)
        else:
            assert change.max() == 0, path


def test_muon_on_a_stack_is_muon_on_each_layer():
    """Each layer's kernel, flattened to [inputs, outputs], through optax's Muon by itself."""
    group = Group(optimizer="muon", learning_rate=0.02, schedule="constant", b1=0.95,
                  weight_decay=0.1, adam_learning_rate=0.001)  # fmt: skip
    params = random(0)
    new = tree.flatten(run(built(group).transformation, params, GRADS))
    flat, grads = tree.flatten(params), [tree.flatten(g) for g in GRADS]
    for path in KERNELS:
        rows = N * H if "out" in path else flat[path].shape[1]
        for layer in range(LAYERS):
            alone = run(
                optax.contrib.muon(0.02, beta=0.95, weight_decay=0.1),
                {"w": flat[path][layer].reshape(rows, -1)},
                [{"w": g[path][layer].reshape(rows, -1)} for g in grads],
            )["w"]
            here = np.asarray(new[path][layer]).reshape(rows, -1)
            np.testing.assert_allclose(here, alone, rtol=2e-4, atol=2e-5, err_msg=path)
    # an orthogonal update: all singular values near one
    step = np.asarray(new["blocks/mlp/up/kernel"][0]) - flat["blocks/mlp/up/kernel"][0]
    assert np.linalg.svd(step, compute_uv=False).min() > 0.2 * 0.02 * 3
    # everything that is no kernel has Adam's rate: the first updates are of that size
    one = tree.flatten(run(built(group).transformation, params, GRADS[:1]))
    for path in ("scale", "blocks/mlp/up/bias", "blocks/norm/scale"):
        size = np.abs(np.asarray(one[path]) - flat[path])
        assert size.max() < 0.0025, path


def test_muon_dimensions():
    def dimensions(path):
        return optimizer.muon_dimensions(path, AXES)

    up = dimensions("blocks/mlp/up/kernel")
    assert (up.reduction_axis, up.output_axis) == ((1,), (2,))
    query = dimensions("blocks/attention/query/kernel")
    assert (query.reduction_axis, query.output_axis) == ((1,), (2, 3))
    out = dimensions("blocks/attention/out/kernel")
    assert (out.reduction_axis, out.output_axis) == ((1, 2), (3,))
    for path in set(AXES) - set(KERNELS):
        assert dimensions(path) is None


@pytest.mark.parametrize("kind, expected", [
    ("constant", {4: 1.0, 12: 1.0, 19: 1.0}),
    ("linear", {4: 1.0, 12: 0.55, 20: 0.1}),
    ("cosine", {4: 1.0, 12: 0.55, 20: 0.1}),
    ("rsqrt", {4: 1.0, 9: 2 / 3, 16: 0.5, 36: 1 / 3}),
])  # fmt: skip
def test_schedules(kind, expected):
    group = Group(schedule=kind, learning_rate=2.0, warmup=4, final=0.1)
    rate = optimizer.schedule(group, 20)
    for step in range(4):  # the first update moves, the fifth has the peak
        np.testing.assert_allclose(rate(step), 2.0 * (step + 1) / 5, rtol=1e-6)
    for step, share in expected.items():
        np.testing.assert_allclose(rate(step), 2.0 * share, rtol=1e-5)
    without = optimizer.schedule(dataclasses.replace(group, warmup=0), 20)
    np.testing.assert_allclose(without(0), 2.0, rtol=1e-6)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ConfigError, match="a warm-up of 20 steps in a run of 20"):
        built(Group(warmup=20))
    with pytest.raises(ConfigError, match="matches no parameter that an earlier pattern left"):
        built(Group(), Group("head/.*"))
    with pytest.raises(ConfigError, match="no pattern of .* matches the parameter 'scale'"):
        built(Group("blocks/.*"))
    # a frozen group needs no schedule
    assert not built(Group(optimizer="frozen", warmup=50)).trained("scale")
    with pytest.raises(ConfigError, match="two groups are called '1'"):
        built(Group("scale", name="1"), Group())


def test_groups_have_names():
    """Their own, or their number; a group that does not train has no learning rate to report."""
    groups = (Group("scale", optimizer="frozen"), Group(".*bias"), Group(name="rest"))
    assert built(*groups).names == ("0", "1", "rest")
