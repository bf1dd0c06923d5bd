"""U-Nets of clips: what a frame may see, what is refused before anything is compiled."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from family_checks import once
from models.denoising import KNOWING, LATENTS, PICTURES, REFERENCE, clips, first, said

from mmjax.config import ConfigError
from mmjax.models import autoencoder_kl, unet3d


def test_what_a_frame_of_a_layer_sees():
    """Causal: no frame hears of a later one, and all of earlier ones."""
    layer = unet3d.Layer(KNOWING, 8, True)
    x = jnp.tile(clips(3)[:1], 4)
    _, states, mask = said(1)
    condition = jax.random.normal(jax.random.key(3), (1, 32))
    arguments = (x, condition, states, mask)
    shapes = nn.unbox(jax.eval_shape(layer.init, jax.random.key(0), *arguments))
    params = stirred(jax.tree.map(lambda x: jnp.zeros(x.shape), shapes))

    def by_frame(params, x):
        def summed(x):
            return layer.apply(params, x, condition, states, mask)[:, 1].sum()

        return jnp.abs(jax.grad(summed)(x)).max((0, 2, 3, 4))

    found = once(by_frame, params, x)
    assert found[2] == 0 and (found[:2] > 0).all()


def stirred(params):
    """Without the zeros that some parameters start with."""

    def one(x):
        return x + 0.3 * np.cos(np.arange(x.size)).reshape(x.shape)

    return jax.tree.map(lambda x: jnp.asarray(one(np.asarray(x)), jnp.float32), params)


def test_a_narrow_stream_stays_narrow():
    """Everything that is stored between layers has the type that was asked for."""
    narrow = dataclasses.replace(KNOWING, stream="bfloat16", dtype="bfloat16", remat="full")
    layer = unet3d.Layer(narrow, 8, True)
    wide = (clips(3, 1), jnp.zeros((1, 32)), said(1)[1])
    arguments = (*(x.astype(jnp.bfloat16) for x in wide), said(1)[2])
    variables = jax.eval_shape(layer.init, jax.random.key(0), *arguments)
    kept = dict(capture_intermediates=True, mutable=["intermediates"])
    _, inside = jax.eval_shape(lambda v: layer.apply(v, *arguments, **kept), variables)
    assert {str(x.dtype) for x in jax.tree.leaves(inside)} == {"bfloat16"}


@pytest.mark.slow
def test_what_a_frame_sees():
    """The whole model likewise. What stands behind a text, and where nothing is known, is not
    looked at."""
    model = unet3d.Model(KNOWING)
    samples = clips(3)
    times, states, mask = said()
    given, known = clips(3) + 1, first()
    arguments = (samples, times, states, mask, given, known)
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), *arguments))
    params = stirred(params)

    @jax.jit
    def middle_frame(samples, states, given):
        def summed(samples, given):
            out = model.apply(params, samples, times, states, mask, given, known)
            return out[:, 1].sum(), out

        (_, out), gradients = jax.value_and_grad(summed, (0, 1), has_aux=True)(samples, given)
        return out, gradients

    out, (by_samples, by_given) = middle_frame(samples, states, given)
    by_frame = jnp.abs(by_samples).max((0, 2, 3, 4))
    assert by_frame[2] == 0 and (by_frame[:2] > 0).all()
    heard = jnp.abs(by_given).max((2, 3, 4))
    np.testing.assert_array_equal(heard > 0, known)

    padded = jnp.where(mask[..., None], states, 9.0)
    elsewhere = jnp.where(known[:, :, None, None, None], given, 9.0)
    again, _ = middle_frame(samples, padded, elsewhere)
    np.testing.assert_allclose(again, out, atol=1e-6)
    changed, _ = middle_frame(samples, states + 1, given)
    assert jnp.abs(changed - out).max((1, 2, 3, 4)).min() > 1e-3


@pytest.mark.parametrize(
    ("config", "shape", "width", "message"),
    [
        (KNOWING, (1, 4, 4, 4, 2), 6, "4 frames, and the model has at most 3"),
        (PICTURES, (1, 2, 4, 4, 2), 6, "2 frames, and the model has at most 1"),
        (REFERENCE, (1, 1, 4, 5, 2), 6, "4 x 5: the model halves them 1 times, .* multiples of 2"),
        (REFERENCE, (1, 1, 4, 4, 3), 6, "samples of 3 channels, and the model has 2"),
        (REFERENCE, (1, 1, 4, 4, 2), 7, "text tower of width 7, and the model reads 6"),
        (REFERENCE, (1, 4, 4, 2), 6, r"a picture has T = 1"),
    ],
)
def test_shapes_that_do_not_fit(config, shape, width, message):
    with pytest.raises(ConfigError, match=message):
        unet3d.check(config, shape, width)


def test_refused_before_compiling():
    model = unet3d.Model(REFERENCE)
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (clips(3), *said())]
    odd = jax.ShapeDtypeStruct((8, 3, 5, 4, 2), jnp.float32)
    with pytest.raises(ConfigError, match="5 x 4"):
        jax.eval_shape(model.init, jax.random.key(0), odd, *shapes[1:])
    with pytest.raises(ConfigError, match="given = True in its config"):
        known = jax.ShapeDtypeStruct((8, 3), bool)
        jax.eval_shape(model.init, jax.random.key(0), *shapes, shapes[0], known)
    with pytest.raises(ConfigError, match="widths has 2 levels and attention 1"):
        dataclasses.replace(REFERENCE, attention=(True,))
    with pytest.raises(ConfigError, match="10 is no multiple of the 4 groups"):
        dataclasses.replace(REFERENCE, widths=(10, 20), groups=4)
    with pytest.raises(ConfigError, match="8 is no multiple of head_size = 5"):
        dataclasses.replace(REFERENCE, head_size=5)
    pictures = autoencoder_kl.Model(LATENTS)
    with pytest.raises(ConfigError, match="6 x 5: the encoder halves them 1 times"):
        jax.eval_shape(pictures.init, jax.random.key(0), jnp.zeros((1, 6, 5, 2)))
    with pytest.raises(ConfigError, match="latents of 2 channels, and the model has 3"):
        jax.eval_shape(
            lambda z: pictures.init(jax.random.key(0), z, method="decode"), jnp.zeros((1, 2, 2, 2))
        )
