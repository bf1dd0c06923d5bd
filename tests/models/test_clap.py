"""Towers of sound in the dual encoder: each by one line, pooled over real frames, trained."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax import config as configs
from mmjax import tree
from mmjax.config import ConfigError
from mmjax.models import ast, clap
from mmjax.tasks import contrastive

BODY = dict(width=16, layers=1, heads=2, hidden=32)
SPECTROGRAM = dict(name="ast", bins=6, frames=24, patch_size=4, frame_stride=3, bin_stride=2)
WHISPER = dict(name="whisper_encoder", bins=6, frames=24, transformer=BODY)
WAVES = dict(
    name="wav2vec2", front=(dict(width=8, taps=10, stride=5), dict(width=8)), front_norm="layer",
    position_taps=4, position_groups=2, transformer=BODY,
)  # fmt: skip
TOWERS = {
    "ast class": dict(SPECTROGRAM, transformer=BODY, pool="class"),
    "ast mean": dict(SPECTROGRAM, transformer=BODY, pool="mean"),
    "ast attention": dict(SPECTROGRAM, transformer=BODY, pool="attention"),
    "whisper mean": dict(name="pooled_audio", encoder=WHISPER),
    "whisper attention": dict(name="pooled_audio", encoder=WHISPER, pool="attention"),
    "waves mean": dict(name="pooled_audio", encoder=WAVES),
    "waves attention": dict(name="pooled_audio", encoder=WAVES, pool="attention"),
}
WORDS = dict(name="text", vocab_size=32, context_length=6, transformer=BODY)
LENGTHS = np.array([24, 13, 5, 2])


@functools.cache
def pair(name):
    """A model with one of the towers, and its parameters."""
    config = configs.build(clap.Config, dict(audio=TOWERS[name], text=WORDS, embedding=8))
    model = clap.Model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *clap.inputs(config))["params"]
    rng = np.random.default_rng(0)
    draw = lambda x: jnp.asarray(0.4 * rng.normal(size=x.shape), jnp.float32)  # noqa: E731
    return model, jax.tree.map(draw, nn.unbox(shapes))


def sounds(name):
    """Noise of LENGTHS (in samples twenty times as long) with something behind it, and its mask."""
    waves = name.startswith("waves")
    lengths = LENGTHS * 20 if waves else LENGTHS
    length = lengths.max()
    rng = np.random.default_rng(1)
    own = rng.normal(size=(4, lengths.max(), *(() if waves else (6,)))).astype(np.float32)
    values = np.full((4, length, *own.shape[2:]), 0.0, np.float32)
    mask = np.arange(length)[None] < lengths[:, None]
    for row, count in enumerate(lengths):
        values[row, :count] = own[row, :count]
    return values, mask


QUICK = ("ast mean", "waves mean")
each = pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in TOWERS]
)


@each
def test_a_clip_says_the_same_whatever_it_is_padded_to(name):
    model, params = pair(name)
    values, mask = sounds(name)
    encode = jax.jit(functools.partial(model.apply, method="encode_audio"))
    vectors = encode({"params": params}, values, mask)
    np.testing.assert_allclose(jnp.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    # the second clip alone, cut to its own length and a little more
    short = mask[1].sum() + 3
    alone = encode({"params": params}, values[1:2, :short], mask[1:2, :short])
    np.testing.assert_allclose(alone[0], vectors[1], atol=2e-5)
    assert float(np.abs(np.asarray(vectors)[0] - np.asarray(vectors)[1]).max()) > 3e-4


def test_what_lies_behind_a_clip_is_not_seen_by_patches():
    model, params = pair("ast mean")
    values, mask = sounds("ast mean")
    encode = jax.jit(functools.partial(model.apply, method="encode_audio"))
    noisy = np.where(mask[..., None], values, 7.0)
    vectors = encode({"params": params}, values, mask)
    np.testing.assert_allclose(encode({"params": params}, noisy, mask), vectors, atol=1e-6)


def test_patches_see_every_frame_and_a_window_has_as_many_as_published():
    assert (ast.VARIANTS["B"].rows, ast.VARIANTS["B"].columns) == (12, 101)
    assert ast.patches(ast.VARIANTS["B"], 1_024) == 101
    small = pair("ast mean")[0].config.audio
    # of 4 frames, one every 3
    assert ast.patches(small, np.array([0, 1, 4, 5, 7, 8, 24])).tolist() == [1, 1, 1, 2, 2, 3, 7]


@pytest.mark.slow
@pytest.mark.parametrize("name", TOWERS)
def test_the_contrastive_task_trains_any_pair(name):
    model, params = pair(name)
    task = contrastive.build(contrastive.Config(), model)
    values, mask = sounds(name)
    ids = np.random.default_rng(2).integers(0, 32, (4, 6), dtype=np.int32)
    batch = {
        "audio": values, "audio_mask": mask, "text": ids, "text_mask": np.ones((4, 6), bool),
        "weight": np.ones(4, np.float32),
    }  # fmt: skip
    batch = jax.tree.map(jnp.asarray, batch)
    made = nn.unbox(jax.eval_shape(task.init, jax.random.key(0), batch)["params"])
    assert set(tree.flatten(made)) == set(tree.flatten(params))
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        def loss(params):
            variables = {"params": params}
            encoded = task.encode(variables, batch, jax.random.key(0), train=True)
            parts = task.loss(variables, batch, encoded, None, 0, train=True).parts
            return parts["audio_text"].values.mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    losses = []
    for _ in range(40):
        params, state, value = step(params, state)
        losses.append(float(value))
    assert losses[-1] < 0.7 * losses[0]


def test_texts_against_sounds_have_a_factor_of_their_own():
    config = dataclasses.replace(pair("ast mean")[0].config, text_scale=True)
    model = clap.Model(config)
    params = {**pair("ast mean")[1], "log_text_scale": jnp.float32(1.0)}
    of = functools.partial(model.apply, {"params": params}, method="scale_and_bias")
    np.testing.assert_allclose(of("text")[0], np.exp(1.0), rtol=1e-6)
    np.testing.assert_allclose(of("audio")[0], np.exp(params["log_scale"]), rtol=1e-6)


def test_wrong_sizes_and_letters_are_refused():
    model, params = pair("ast mean")
    with pytest.raises(ValueError, match="at most 24 frames of 6 bins, got 25 of 6"):
        encode = functools.partial(model.apply, method="encode_audio")
        jax.eval_shape(encode, {"params": params}, jnp.zeros((1, 25, 6)))
    with pytest.raises(ConfigError, match="bins=3 holds no patch of 4"):
        configs.build(clap.Config, dict(audio=dict(name="ast", bins=3, patch_size=4)))
    with pytest.raises(ConfigError, match="letters is for CTC"):
        tower = dict(name="pooled_audio", encoder=dict(WAVES, letters=32))
        configs.build(clap.Config, dict(audio=tower))
