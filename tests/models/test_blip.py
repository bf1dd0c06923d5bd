"""BLIP's parts as a training step calls them, and what padding of texts changes: nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.layers import transformer
from mmjax.models import blip, vit

BODY = transformer.Config(width=16, layers=2, heads=2, hidden=32, remat="full")
READ = dataclasses.replace(BODY, norm="post", initialisation="bert", dropout=0.1)
IMAGE = vit.Config(image_size=8, patch_size=4, transformer=BODY)
MODEL = blip.Model(blip.Config(IMAGE, 23, 12, READ, embedding=6))
IMAGES = jax.random.normal(jax.random.key(0), (3, 8, 8, 3))
IDS = jax.random.randint(jax.random.key(1), (3, 5), 5, 21)
MASK = jnp.arange(5)[None] < jnp.array([[5], [2], [4]])


def test_the_losses_of_pre_training_are_reachable():
    """Comparison, matching with drawn images and texts, and captions, from one pass of images: all
    have gradients (traced, not compiled)."""
    variables = jax.eval_shape(MODEL.init, jax.random.key(0), IMAGES, IDS)

    def loss(variables, key):
        apply = functools.partial(MODEL.apply, variables, train=True, rngs={"dropout": key})
        tokens = apply(IMAGES, method="image_tokens")
        image = MODEL.apply(variables, tokens, method="image_embedding")
        text = apply(IDS, MASK, method="encode_text")
        similarity = MODEL.apply(variables, method="scale") * image @ text.T
        drawn = jax.random.categorical(key, similarity)
        fused = apply(IDS, MASK, context=tokens[drawn], method="fuse")
        matching = MODEL.apply(variables, fused, MASK, method="matching")
        out = apply(IDS, MASK, context=tokens, logits_at="none", method="decode")
        logits = MODEL.apply(variables, out.tokens, method="logits")
        assert (similarity.shape, matching.shape, logits.shape) == ((3, 3), (3, 2), (3, 5, 23))
        return similarity.sum() + matching.sum() + logits.sum()

    grads = jax.eval_shape(jax.grad(loss), unbox(variables), jax.random.key(2))
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, unbox(variables))


@pytest.mark.slow
def test_padding_of_texts_changes_nothing():
    """On either side, for comparison, for matching and for what a decoder attends to."""
    variables = unbox(jax.jit(MODEL.init)(jax.random.key(0), IMAGES, IDS))
    run = jax.jit(MODEL.apply)
    row = slice(1, 2)  # two real tokens
    alone = run(variables, IMAGES[row], IDS[row, :2])
    for before in (0, 3):
        ids = jnp.pad(IDS[row, :2], ((0, 0), (before, 3 - before)), constant_values=9)
        mask = jnp.pad(jnp.ones((1, 2), int), ((0, 0), (before, 3 - before)))
        out = run(variables, IMAGES[row], ids, mask)
        for name in ("text_embedding", "matching"):
            np.testing.assert_allclose(getattr(out, name), getattr(alone, name), atol=2e-5)
        for name in ("fused", "logits"):
            real = getattr(out, name)[:, before : before + 2]
            np.testing.assert_allclose(real, getattr(alone, name), atol=2e-5)
