"""Keys that compile fast draw what JAX's own draw, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from mmjax.training import keys

SEED = 3


def same(draw):
    """Compares what the program `draw(key)` gives for both keys."""
    theirs = jax.tree.leaves(jax.jit(draw)(jax.random.key(SEED)))
    ours = jax.tree.leaves(jax.jit(draw)(keys.initial(SEED)))
    assert [leaf.dtype for leaf in ours] == [leaf.dtype for leaf in theirs]
    for mine, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(expected))


def test_every_draw_is_jaxs_own():
    def draw(key):
        several = jax.random.split(key, (2, 3))
        folded = jax.random.fold_in(several[1, 2], 7)
        return {
            "keys": jax.random.key_data(several),
            "folded": jax.random.key_data(folded),
            "bits": [jax.random.bits(folded, shape) for shape in [(), (3, 4, 5)]],
            "narrow": jax.random.bits(folded, (7,), jnp.uint8),  # left to JAX
            "truncated": jax.random.truncated_normal(several[0, 1], -2, 2, (8, 3)),
        }

    same(draw)


def test_layers_of_a_scan_and_rows_of_a_vmap_too():
    def draw(key):
        several = jax.random.split(key, 3)
        _, layers = jax.lax.scan(lambda _, one: (None, jax.random.bits(one, (4,))), None, several)
        return layers, jax.vmap(lambda one: jax.random.bits(one, (5,)))(several)

    same(draw)


def test_a_run_begins_with_the_parameters_of_its_seed():
    plan, _ = toy.planned(toy.Pairs(), toy.pairs(), ema=0.9)
    theirs = jax.jit(plan._build)(jax.random.key(plan.seed))
    jax.tree.map(np.testing.assert_array_equal, plan.init(), theirs)


@pytest.mark.parametrize("name, value", [("jax_threefry_partitionable", False),
                                         ("jax_default_prng_impl", "rbg")])  # fmt: skip
def test_other_numbers_that_jax_was_told_to_draw_are_left_to_it(name, value):
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        assert keys.initial(SEED).dtype == jax.random.key(SEED).dtype
    finally:
        jax.config.update(name, before)
