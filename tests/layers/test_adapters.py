"""Adapters: nothing at the start, nothing but themselves in training, and gone once merged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.linen import unbox

from mmjax import tree
from mmjax.layers import adapters, transformer
from mmjax.layers.adapters import Adapted, Rule
from mmjax.models import clip, text, vit

BODY = transformer.Config(width=32, layers=2, heads=2, hidden=64)
MODEL = clip.Model(
    clip.Config(vit.Config(16, 8, transformer=BODY), text.Config(50, 16, BODY), embedding=24)
)
LORA = (
    Rule(".*/attention/(query|value|out)", rank=4),
    Rule(".*/mlp/(up|down)", rank=2, alpha=1.0),
    Rule("(image|text)_head", rank=3),
)
BOTTLENECK = (
    Rule(".*/(attention/out|mlp/down)", kind="bottleneck", rank=64, dropout=0.1),
    Rule("image_head", kind="bottleneck", rank=48, share=0.2),
)


def inputs():
    pixels = jax.random.normal(jax.random.key(2), (3, 16, 16, 3))
    return pixels, jax.random.randint(jax.random.key(3), (3, 9), 1, 50)


def build(rules):
    model = Adapted(MODEL, rules)
    return model, unbox(jax.jit(model.init)(jax.random.key(0), *inputs()))["params"]


def moved(params):
    """The adapters' parameters, changed at random."""

    def move(path, leaf):
        if not tree.matches(adapters.PARAMETERS, path):
            return leaf
        return leaf + 0.05 * jax.random.normal(jax.random.key(len(path)), leaf.shape)

    return tree.map_with_path(move, params)


def test_at_the_start_nothing_changes():
    model, params = build(LORA + BOTTLENECK)
    own, frozen = adapters.trained(params)
    plain = unbox(jax.jit(MODEL.init)(jax.random.key(0), *inputs()))["params"]
    for path, leaf in tree.flatten(plain).items():
        assert np.array_equal(leaf, tree.flatten(frozen)[path]), path
    assert tree.flatten(frozen).keys() == tree.flatten(plain).keys() and own
    for ours, theirs in zip(
        model.apply({"params": params}, *inputs()),
        MODEL.apply({"params": plain}, *inputs()),
        strict=True,
    ):
        assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_layers_have_adapters_of_their_own():
    _, params = build(LORA)
    a = tree.flatten(params)["image/transformer/blocks/attention/query/lora/a"]
    b = tree.flatten(params)["image/transformer/blocks/attention/out/lora/b"]
    assert a.shape == (2, 32, 4) and b.shape == (2, 4, 32)
    assert not np.array_equal(a[0], a[1])


def test_merged_lora_is_the_model_alone():
    model, params = build(LORA)
    params = moved(params)
    ours = model.apply({"params": params}, *inputs())
    merged = adapters.merge(params, LORA)
    plain = MODEL.apply({"params": merged}, *inputs())
    before = MODEL.apply({"params": adapters.trained(params)[1]}, *inputs())
    for one, other, old in zip(ours, plain, before, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
        assert np.abs(one - old).max() > 0.05


def test_gradients_reach_the_adapters_alone():
    model, params = build(LORA + BOTTLENECK)
    own, frozen = adapters.trained(params)

    def loss(own):
        image, text = model.apply({"params": tree.merge(own, frozen)}, *inputs())
        return -jnp.trace(jnp.einsum("BE,CE->BC", image, text))

    grads = tree.flatten(jax.jit(jax.grad(loss))(own))
    # the first map of an adapter waits for the last one, which is zero
    assert all(np.abs(grad).max() > 0 for path, grad in grads.items()
               if path.endswith(("/lora/b", "/up/kernel")))  # fmt: skip
    state = optax.sgd(1.0).init(own)
    updates, _ = optax.sgd(1.0).update(tree.unflatten(grads), state)
    assert float(jax.jit(loss)(optax.apply_updates(own, updates))) < float(jax.jit(loss)(own))


@pytest.mark.slow
def test_dropout_is_for_training():
    model, params = build(BOTTLENECK)
    params = moved(params)
    run = lambda key, train: model.apply(  # noqa: E731
        {"params": params}, *inputs(), train=train, rngs={"dropout": jax.random.key(key)}
    )[0]
    assert np.array_equal(run(0, False), run(1, False))
    assert not np.array_equal(run(0, True), run(1, True))


def test_a_rule_without_a_map_is_refused():
    with pytest.raises(ValueError, match="'.*/queri' is the path of no map; there .*image/patch"):
        build((Rule(".*/queri"),))
