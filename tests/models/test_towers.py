"""Towers in the dual encoder: any modality, unions of Configs, masks of 0 and 1, hidden states."""

from __future__ import annotations

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_sound

from mmjax import config as configs
from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers import packing, transformer
from mmjax.models import bert, clip, resnet, text, vit
from mmjax.tasks import contrastive

BODY = transformer.Config(width=16, layers=3, heads=2, hidden=32)
WORDS = text.Config(vocab_size=32, context_length=6, transformer=BODY)
PICTURES = vit.Config(image_size=8, patch_size=4, transformer=BODY)
PAIR = clip.Config(PICTURES, WORDS, embedding=16)


@dataclasses.dataclass(frozen=True)
class SoundConfig(clip.Config):
    image: vit.Config | resnet.Config | None = None  # no pictures
    text: text.Config | bert.Config | None = WORDS  # captions
    sound: toy_sound.Config | None = toy_sound.Config()  # sounds
    embedding: int = 8  # E


class SoundText(clip.Model):
    """A pair of one modality more, in a package of its own."""

    config: SoundConfig

    def encode_sound(self, frames, mask=None, *, train=False):
        return self.encode("sound", frames, mask, train=train)


class SoundTask(contrastive.Contrastive):
    """The task with sounds in the place of pictures."""

    def init(self, rng, batch):
        sounds = {"sound": (batch["sound"], batch["sound_mask"])}
        ids, mask = batch["text"], batch["text_mask"]
        return {"params": self.model.init(rng, None, ids, mask, None, sounds)["params"]}

    def encode(self, variables, batch, rng, *, train):
        encoded = {}
        for name in ("sound", "text"):
            arrays = batch[name], batch[f"{name}_mask"]
            method = f"encode_{name}"
            encoded[name] = self.model.apply(variables, *arrays, method=method, train=train)
        return encoded


def start(module, *arguments, **kwargs):
    init = jax.jit(functools.partial(module.init, **kwargs))
    return nn.unbox(init(jax.random.key(0), *arguments))


def pixels(rows=4):
    return jax.random.normal(jax.random.key(1), (rows, 8, 8, 3))


def captions(rows=4):
    ids = jax.random.randint(jax.random.key(2), (rows, 6), 0, 32)
    return ids, jnp.arange(6)[None] < 2 + jnp.arange(rows)[:, None] % 5


def sounds(rows=4):
    frames = jax.random.normal(jax.random.key(3), (rows, 6, 5))
    return frames, jnp.arange(6)[None] < 3 + jnp.arange(rows)[:, None] % 3


def test_a_tower_from_elsewhere_is_trained_by_the_contrastive_task():
    chosen = configs.build(SoundConfig, dict(sound=dict(name="toy_sound", width=10)))
    assert clip.modalities(chosen) == ("text", "sound")
    assert configs.build(SoundConfig, configs.to_dict(chosen)) == chosen
    task = SoundTask(contrastive.Config(), SoundText(chosen))
    ids, mask = captions()
    frames, heard = sounds()
    batch = {"text": ids, "text_mask": mask, "sound": frames, "sound_mask": heard}
    batch["weight"] = jnp.ones(4)
    params = nn.unbox(jax.jit(task.init)(jax.random.key(0), batch)["params"])
    assert set(params) == {"text", "text_head", "sound", "sound_head", "log_scale"}
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        def loss(params):
            variables = {"params": params}
            encoded = task.encode(variables, batch, None, train=True)
            parts = task.loss(variables, batch, encoded, None, 0, train=True).parts
            return parts["sound_text"].values.mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    losses = []
    for _ in range(30):
        params, state, value = step(params, state)
        losses.append(float(value))
    assert losses[-1] < 0.3 * losses[0]


def test_every_modality_that_is_given_is_encoded():
    both = SoundConfig(image=PICTURES)
    model = SoundText(both)
    ids, mask = captions()
    variables = start(model, pixels(), ids, mask, None, {"sound": sounds()})
    apply = jax.jit(model.apply)
    image, words, sound = apply(variables, pixels(), ids, mask, None, {"sound": sounds()})
    assert image.shape == words.shape == sound.shape == (4, 8)
    (alone,) = apply(variables, others={"sound": sounds()})
    np.testing.assert_allclose(alone, sound, atol=1e-6)
    made = jax.eval_shape(model.init, jax.random.key(0), *clip.inputs(both))["params"]
    assert set(tree.flatten(nn.unbox(made))) == set(tree.flatten(variables["params"]))


def test_parameter_paths_and_first_values_do_not_depend_on_other_towers():
    """The same keys draw the same tower, whatever stands beside it."""
    ids, mask = captions()
    whole = tree.flatten(start(clip.Model(PAIR), pixels(), ids, mask)["params"])
    alone = clip.Model(dataclasses.replace(PAIR, image=None))
    words = tree.flatten(start(alone, None, ids, mask)["params"])
    tower = start(clip.Tower(PAIR, "text"), ids, mask)
    assert words and all(np.array_equal(leaf, whole[path]) for path, leaf in words.items())
    assert set(tree.flatten(tower["params"])) == set(words) - {"log_scale"}
    assert {path.split("/")[0] for path in whole} == {
        "image", "image_head", "text", "text_head", "log_scale",
    }  # fmt: skip


def test_a_tower_that_is_not_there():
    model = clip.Model(dataclasses.replace(PAIR, image=None))
    with pytest.raises(ConfigError, match="the model has no tower for image; it has text"):
        jax.eval_shape(model.init, jax.random.key(0), pixels(), *captions())


@pytest.mark.parametrize("change, message", [
    (dict(image_projection=False, embedding=24), "embedding=24 must be the width of the image"),
    (dict(text_projection=False, embedding=24), "embedding=24 must be the width of the text tower"),
])  # fmt: skip
def test_a_missing_projection_needs_the_towers_width(change, message):
    model = clip.Model(dataclasses.replace(PAIR, **change))
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), pixels(), *captions())


def test_packed_captions_are_for_towers_that_take_them():
    body = dataclasses.replace(BODY, norm="post")
    pair = dataclasses.replace(PAIR, text=bert.Config(32, 6, transformer=body))
    ids, mask = captions(2)
    layout = packing.Layout(jnp.zeros((1, 2, 6), int), jnp.zeros((1, 2, 6), int), 1)
    with pytest.raises(ConfigError, match="mmjax.models.bert takes no packed captions: set data"):
        jax.eval_shape(
            clip.Model(pair).init, jax.random.key(0), pixels(1), ids[None], mask[None], layout
        )


@pytest.mark.parametrize("limit", [None, 50.0])
def test_the_scale_is_limited_only_where_a_recipe_says_so(limit):
    model = clip.Model(dataclasses.replace(PAIR, scale_max=limit))
    params = {"log_scale": jnp.log(117.0)}

    def scale(params):
        return model.apply({"params": params}, method="scale_and_bias")[0]

    value, gradient = jax.value_and_grad(scale)(params)
    np.testing.assert_allclose(value, limit or 117, rtol=1e-6)
    np.testing.assert_allclose(gradient["log_scale"], 0 if limit else 117, rtol=1e-6)


MASKED = {
    "text": text.Model(WORDS),
    "mean": text.Model(dataclasses.replace(WORDS, causal=False, pool="mean")),
    "pooled by attention": text.Model(dataclasses.replace(WORDS, pool="attention")),
    "final": text.Model(dataclasses.replace(WORDS, causal=False, pool="final")),
}


@pytest.mark.parametrize(
    "name",
    ["text", *[pytest.param(name, marks=pytest.mark.slow) for name in MASKED if name != "text"]],
)
def test_a_mask_of_0_and_1_is_a_mask(name):
    ids, mask = captions()
    variables = start(MASKED[name], ids, mask)
    wanted = MASKED[name].apply(variables, ids, mask).pooled
    for kind in (jnp.int32, jnp.int8):
        found = MASKED[name].apply(variables, ids, mask.astype(kind)).pooled
        np.testing.assert_array_equal(found, wanted)


def test_a_final_position_is_pooled_whatever_the_mask_says():
    """A given mask hides padding from all positions; without one, padding is read."""
    model = MASKED["final"]
    ids, mask = captions()
    variables = start(model, ids, mask)
    masked = model.apply(variables, ids, mask)
    np.testing.assert_array_equal(masked.pooled, masked.tokens[:, -1])
    other = jnp.where(mask, ids, (ids + 1) % 32).at[:, -1].set(ids[:, -1])
    np.testing.assert_allclose(model.apply(variables, other, mask).pooled, masked.pooled, atol=1e-6)
    read = model.apply(variables, ids)
    assert np.abs(read.pooled - masked.pooled).max() > 1e-3
    assert np.abs(model.apply(variables, other).pooled - read.pooled).max() > 1e-3
    trained = text.Model(dataclasses.replace(model.config, pool="last", attend_padding=True))
    np.testing.assert_allclose(trained.apply(variables, ids, mask).pooled, read.pooled, atol=1e-6)


def hidden(model, variables, *arguments):
    """Hidden states [1 + layers, B, L, D]."""
    _, kept = model.apply(variables, *arguments, mutable=["intermediates"])
    (states,) = kept["intermediates"]["transformer"]["hidden_states"]
    return states


@pytest.mark.parametrize(
    "layer, block, pool",
    [(-2, 2, "class"), (0, 0, "mean"), (1, 1, "attention")],
)
def test_tokens_of_an_inner_block_without_the_last_norm(layer, block, pool):
    whole = vit.Model(dataclasses.replace(PICTURES, pool=pool))
    variables = start(whole, pixels())
    model = vit.Model(dataclasses.replace(PICTURES, pool=pool, feature_layer=layer))
    states = hidden(whole, variables, pixels())
    assert len(states) == 4
    out = jax.jit(model.apply)(variables, pixels())
    np.testing.assert_allclose(out.tokens, states[block], atol=1e-6)
    # all parameters are there, so that a checkpoint fits as it is
    made = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), pixels()))
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, variables)


def test_later_blocks_are_not_computed():
    def flops(layer):
        model = vit.Model(dataclasses.replace(PICTURES, feature_layer=layer, pool="mean"))
        unrolled = dataclasses.replace(model.config.transformer, unroll=3)
        model = vit.Model(dataclasses.replace(model.config, transformer=unrolled))
        variables = start(model, pixels())
        return jax.jit(model.apply).lower(variables, pixels()).compile().cost_analysis()["flops"]

    assert flops(1) < 0.6 * flops(None)


def test_a_feature_layer_that_is_not_there():
    model = vit.Model(dataclasses.replace(PICTURES, feature_layer=-5))
    with pytest.raises(ConfigError, match="feature_layer=-5: there are 3 blocks"):
        jax.eval_shape(model.init, jax.random.key(0), pixels())


def test_hidden_states_of_a_text_tower_have_the_embeddings():
    ids, mask = captions()
    variables = start(text.Model(WORDS), ids, mask)
    states = hidden(text.Model(WORDS), variables, ids, mask)
    assert states.shape == (4, 4, 6, 16)
    rows = variables["params"]["tokens"][ids] + variables["params"]["positions"][None, :6]
    np.testing.assert_allclose(states[0], rows, atol=1e-6)


def test_patch_dropout_drops_in_training_alone():
    image = vit.Config(image_size=8, patch_size=4, pool="mean", patch_dropout=0.5, transformer=BODY)
    module = vit.Model(image)
    pixels = jax.random.normal(jax.random.key(1), (8, 8, 8, 3))
    variables = nn.unbox(module.init(jax.random.key(0), pixels))
    rngs = {"dropout": jax.random.key(3)}
    tokens = module.apply(variables, pixels, train=True, rngs=rngs).tokens
    assert tokens.shape == (8, 2, 16)
    assert module.apply(variables, pixels).tokens.shape == (8, 4, 16)
