"""Keys and values that are kept, grouped queries, caps, rotary positions, hidden states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.layers import cache, decoder, rotary, transformer
from mmjax.layers.attention import Attention, attention_mask, dot_product_attention
from mmjax.layers.places import whole_places


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def test_allocated_places_count_real_tokens():
    kept = cache.empty(layers=1, batch=2, slots=5, heads=1, size=2)
    kept, places = cache.allocate(jnp.array([[0, 1, 1], [1, 1, 0]], bool), kept)
    np.testing.assert_array_equal(places.position, [[0, 0, 1], [0, 1, 1]])
    kept, places = cache.allocate(jnp.ones((2, 1), bool), kept)
    np.testing.assert_array_equal(places.position, [[2], [2]])
    np.testing.assert_array_equal(places.mask[:, 0, 0], [[0, 1, 1, 1, 0], [1, 1, 0, 1, 0]])
    with pytest.raises(ValueError, match="2 more tokens do not fit the cache: 4 of 5 slots"):
        cache.allocate(jnp.ones((2, 2), bool), kept)


def test_a_full_cache_is_never_overwritten_in_silence():
    past = cache.empty(layers=2, batch=1, slots=3, heads=1, size=2).past
    new = cache.KeyValues(jnp.ones((1, 2, 1, 2)), jnp.ones((1, 2, 1, 2)))
    write = jax.jit(lambda start: past.write(new, 1, start))
    np.testing.assert_array_equal(write(1).key[1, 0, :, 0, 0], [0, 1, 1])
    assert not write(1).key[0].any()
    assert bool(jnp.isnan(write(2).value[1, 0, -2:]).all())


def test_grouped_queries_share_keys():
    query, key, value = draw(0, 2, 4, 6, 8), draw(1, 2, 5, 3, 8), draw(2, 2, 5, 3, 8)
    mask = jnp.arange(5)[None, None, None] < jnp.array([3, 5]).reshape(2, 1, 1, 1)
    mask = jnp.broadcast_to(mask, (2, 1, 4, 5))
    plain = dot_product_attention(query, key, value, mask)
    own_keys = jnp.repeat(key, 2, axis=2)
    own_values = jnp.repeat(value, 2, axis=2)
    repeated = dot_product_attention(query, own_keys, own_values, mask)
    np.testing.assert_allclose(plain, repeated, atol=1e-6)
    hardly_capped = dot_product_attention(query, key, value, mask, cap=1e4)
    np.testing.assert_allclose(hardly_capped, plain, atol=1e-5)
    capped = dot_product_attention(query, key, value, mask, cap=0.5)
    assert float(jnp.abs(capped - plain).max()) > 0.01


def test_cross_attention_to_kept_keys_and_values():
    x, memory = draw(0, 2, 3, 8), draw(1, 2, 5, 6)
    module = Attention(heads=2, key_bias=False)
    variables = unbox(module.init(jax.random.key(2), x, None, memory))
    assert "bias" not in variables["params"]["key"] and "bias" in variables["params"]["value"]
    whole = module.apply(variables, x, None, memory)
    kept = module.apply(variables, memory, width=8, method="keys_values")
    np.testing.assert_array_equal(whole, module.apply(variables, x, None, kept))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_extending_is_the_whole_and_hidden_states_are_seen(norm):
    config = transformer.Config(width=8, layers=3, heads=2, hidden=16, norm=norm)
    module, x = transformer.Transformer(config), draw(0, 2, 6, 8)
    variables = unbox(module.init(jax.random.key(1), x))
    mask = attention_mask(None, 6, causal=True)
    whole, seen = module.apply(variables, x, mask, mutable=["intermediates"])
    (hidden,) = seen["intermediates"]["hidden_states"]
    assert hidden.shape == (4, 2, 6, 8)
    np.testing.assert_array_equal(hidden[0], x)
    np.testing.assert_array_equal(hidden[-1], whole)
    kept, parts = cache.empty(3, 2, 8, 2, 4), []
    for part in (x[:, :4], x[:, 4:5], x[:, 5:]):
        kept, places = cache.allocate(jnp.ones(part.shape[:2], bool), kept)
        out, kept = module.apply(variables, part, kept, places, method="extend")
        parts.append(out)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-5)


@pytest.mark.slow
def test_padding_on_either_side_changes_nothing():
    """Even rows whose first queries see nothing stay finite, and so do their gradients."""
    config = decoder.Config(16, 2, 4, 2, 6, 24, windows=(3, 0), attention_cap=5.0)
    module, x = decoder.Decoder(config), draw(0, 1, 4, 16)
    places = whole_places(jnp.ones((1, 4), bool))
    variables = unbox(module.init(jax.random.key(1), x, places))
    alone = module.apply(variables, x, places)
    for before, after in ((3, 0), (0, 2), (2, 2)):
        padding = ((0, 0), (before, after), (0, 0))
        wide = jnp.pad(x, padding, constant_values=7.0)
        valid = jnp.pad(jnp.ones((1, 4), bool), padding[:2])

        def real(x, valid=valid, before=before):
            return module.apply(variables, x, whole_places(valid))[:, before : before + 4]

        np.testing.assert_allclose(real(wide), alone, atol=1e-5)
        gradient = jax.grad(lambda x, real=real: (real(x) ** 2).sum())(wide)
        assert bool(jnp.isfinite(gradient).all())
        assert not np.asarray(gradient)[~np.asarray(valid)].any()


def test_rotation_depends_on_distance_alone():
    query, key = draw(0, 1, 1, 1, 8), draw(1, 1, 1, 1, 8)

    def product(config, at, distance):
        turned = [
            rotary.rotate(x, rotary.rotation(config, 8, jnp.array([[position]])))
            for x, position in ((query, at + distance), (key, at))
        ]
        return float((turned[0] * turned[1]).sum())

    plain = rotary.Config(100.0)
    assert abs(product(plain, 0, 3) - product(plain, 40, 3)) < 1e-4
    assert abs(product(plain, 0, 3) - product(plain, 0, 4)) > 1e-3
    slow = rotary.Config(100.0, "linear", 4.0)
    assert abs(product(slow, 0, 12) - product(plain, 0, 3)) < 1e-4


def test_llama3_slows_the_slow_pairs_alone():
    plain = rotary.frequencies(rotary.Config(5e5), 64)
    scaled = rotary.frequencies(rotary.Config(5e5, "llama3", 8.0, 8192), 64)
    ratio = plain / scaled
    assert ratio[0] == 1 and np.isclose(ratio[-1], 8) and np.all(np.diff(ratio) >= -1e-5)
