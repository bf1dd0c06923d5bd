"""Decoders on a mesh of eight devices: vocabularies that do not divide, caches, no wasted moves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.linen import unbox
from jax.sharding import AxisType, PartitionSpec

from mmjax.layers import transformer
from mmjax.models import gpt2
from mmjax.training import sharding

WORDS = 31  # no multiple of 2, 4 or 8
CONFIG = gpt2.Config(WORDS, 16, transformer.Config(width=24, layers=2, heads=4, hidden=40))
IDS = jax.random.randint(jax.random.key(1), (8, 6), 0, WORDS)
RULES = {"embed": "fsdp", "heads": "tensor", "mlp": "tensor", "vocab": None}  # the table is whole


def mesh(data, fsdp, tensor):
    return jax.make_mesh((data, fsdp, tensor), sharding.AXES, axis_types=(AxisType.Auto,) * 3)


def start(config):
    model = gpt2.Model(config)
    boxed = jax.eval_shape(model.init, jax.random.key(0), IDS)
    return model, boxed, unbox(jax.jit(model.init)(jax.random.key(0), IDS))


def placed(boxed, variables, devices):
    """Parameters cut by RULES over a mesh."""

    def sharding_of(leaf):
        names = [RULES.get(name) for name in leaf.names]
        return jax.sharding.NamedSharding(devices, PartitionSpec(*names))

    is_box = lambda leaf: hasattr(leaf, "names")  # noqa: E731
    return jax.device_put(variables, jax.tree.map(sharding_of, boxed, is_leaf=is_box))


def loss(model, variables, ids):
    logits = model.apply(variables, ids).logits
    return optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], ids[:, 1:]).mean()


def test_a_vocabulary_that_does_not_divide_is_cut(capfd):
    """Loss and gradients of one device, half of the padded logits on each, and XLA never has
    to move a whole tensor for want of a better way."""
    for tied in (True, False):
        model, boxed, variables = start(dataclasses.replace(CONFIG, tied=tied))
        grad = jax.value_and_grad(functools.partial(loss, model))
        value, gradients = jax.jit(grad)(variables, IDS)
        devices = mesh(2, 2, 2)
        with jax.set_mesh(devices):
            many = placed(boxed, variables, devices)
            ids = jax.device_put(IDS, PartitionSpec(("data", "fsdp")))
            capfd.readouterr()
            program = jax.jit(grad).lower(many, ids).compile()
            assert "rematerialization" not in capfd.readouterr().err
            found, found_gradients = program(many, ids)
        np.testing.assert_allclose(found, value, rtol=1e-6)
        for a, b in zip(jax.tree.leaves(found_gradients), jax.tree.leaves(gradients), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
        dots = [line for line in program.as_text().splitlines() if " dot(" in line]
        widths = {line.split(" = ")[1].split("{")[0] for line in dots}
        assert any(",16]" in width for width in widths), widths  # 32 padded words on 2 devices
        assert not any(",31]" in width or ",32]" in width for width in widths), widths


def test_a_cache_lies_by_rows_and_heads():
    """Decoding on eight devices says what one says; the cache keeps its place from step to step."""
    model, boxed, variables = start(CONFIG)

    def run(variables, ids):
        apply = functools.partial(model.apply, variables)
        step = apply(ids[:, :4], slots=8, method="prefill")
        step = apply(ids[:, 4:5], step.cache.take(jnp.arange(len(ids))[::-1]), method="extend")
        return step.logits, step.cache

    alone, _ = jax.jit(run)(variables, IDS)
    devices = mesh(2, 2, 2)
    with jax.set_mesh(devices):
        many = placed(boxed, variables, devices)
        logits, cache = jax.jit(run)(many, jax.device_put(IDS, PartitionSpec(("data", "fsdp"))))
        np.testing.assert_allclose(logits, alone, atol=2e-6)
        spec = cache.past.key.sharding.spec
        assert tuple(spec)[:4] == (None, ("data", "fsdp"), None, "tensor")
        # one prompt cannot be cut over the batch's devices, and is decoded all the same
        one, cache = jax.jit(run)(many, IDS[:1])
    np.testing.assert_allclose(one, jax.jit(run)(variables, IDS[:1])[0], atol=2e-6)
