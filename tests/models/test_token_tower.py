"""What a language model hears and watches with: real lengths, frames side by side, any tower."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.config import ConfigError
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.layers.projectors import linear, mlp
from mmjax.models import (
    ast,
    frame_tower,
    gpt2,
    htsat,
    music,
    token_tower,
    video_vit,
    vit,
    vlm,
    wav2vec2,
    whisper_encoder,
)

BODY = transformer.Config(width=16, layers=2, heads=2, hidden=32, initialisation="gpt2")
EARS = whisper_encoder.Config(5, 40, BODY)
STAGES = (wav2vec2.Stage(8, 10, 5), wav2vec2.Stage(8, 3, 2))
WAVES = wav2vec2.Config(
    STAGES, front_norm="layer", position_taps=4, position_groups=2, transformer=BODY
)
TOWERS = {
    "pooled": token_tower.Config(
        whisper_encoder.Config(5, 40, BODY, pool=2), projector=linear.Config()
    ),
    "stacked": token_tower.Config(EARS, stack=3),
    "waves": token_tower.Config(WAVES, stack=2),
}
IMAGE, AUDIO = 2, 3
SEES = vit.Config(8, 4, transformer=BODY)
MIXED = vlm.Config(
    SEES, mlp.Config(), gpt2.Config(23, 64, BODY), IMAGE, audio=TOWERS["stacked"], audio_id=AUDIO
)


def drawn(shapes):
    """Parameters that leave no part without influence."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(0.4 * rng.normal(size=x.shape), jnp.float32), shapes)


@functools.cache
def tower(name):
    model = token_tower.Model(TOWERS[name], 12)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *token_tower.inputs(TOWERS[name]))
    return model, drawn(unbox(shapes))


@pytest.mark.parametrize(
    "name, lengths, tokens",
    [
        ("pooled", [40, 21, 5, 3, 0], [10, 5, 1, 1, 0]),
        ("stacked", [40, 21, 5, 1, 0], [7, 4, 1, 1, 0]),
        ("waves", [200, 100, 25, 20, 0], [10, 5, 1, 1, 0]),
    ],
)
def test_a_clip_makes_as_many_tokens_as_its_own_length_gives(name, lengths, tokens):
    """And what they say depends on its own frames alone."""
    model, variables = tower(name)
    config = TOWERS[name]
    assert [config.tokens(length) for length in lengths] == tokens
    assert config.tokens(np.array(lengths)).tolist() == tokens
    longest = lengths[0]
    shape = (len(lengths), longest) + ((5,) if name != "waves" else ())
    audio = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mask = np.arange(longest)[None] < np.array(lengths)[:, None]
    run = jax.jit(model.apply)
    heard = run(variables, audio, mask)
    assert heard.valid.sum(1).tolist() == tokens
    reach = 5 if name != "waves" else 0  # convolutions look at some frames behind the last
    far = np.arange(longest)[None] >= np.array(lengths)[:, None] + reach
    other = run(variables, np.where(far if name == "waves" else far[..., None], 7, audio), mask)
    np.testing.assert_allclose(
        np.asarray(heard.tokens)[heard.valid], np.asarray(other.tokens)[heard.valid], atol=1e-5
    )


def batch():
    """A clip and a picture; two clips, of which one stands behind one that is not there; words."""
    picture = [IMAGE] * 4
    rows = [
        [5, *[AUDIO] * 4, 6, *picture, 7],
        [*[AUDIO] * 2, 8, *[AUDIO] * 7, 9],
        [10, 11, 12],
    ]
    length = max(map(len, rows))
    ids = np.array([[AUDIO] * (length - len(row)) + row for row in rows])  # padding has the same id
    mask = np.array([[0] * (length - len(row)) + [1] * len(row) for row in rows], bool)
    lengths = np.array([[21, 0, 0], [12, 0, 40], [0, 0, 0]])
    rng = np.random.default_rng(3)
    return dict(
        inputs=ids, mask=mask, images=rng.normal(size=(3, 1, 8, 8, 3)).astype(np.float32),
        image_mask=np.array([[1], [0], [0]], bool),
        sounds=rng.normal(size=(3, 3, 40, 5)).astype(np.float32),
        audio_mask=np.arange(40) < lengths[..., None],
    )  # fmt: skip


@functools.cache
def mixed():
    model = vlm.Model(MIXED)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *vlm.inputs(MIXED))
    return model, drawn(unbox(shapes))


def test_sounds_and_pictures_go_where_their_tokens_are():
    model, variables = mixed()
    prompts = batch()

    @jax.jit
    def run(inputs, mask, images, image_mask, sounds, audio_mask):
        apply = functools.partial(model.apply, variables)
        both = apply(inputs, images, image_mask, mask, sounds, audio_mask, method="embed")
        picture = apply(images[:, 0], method="encode_image")
        flat = sounds.reshape(-1, 40, 5), audio_mask.reshape(-1, 40)
        return both, apply(inputs, method="embed"), picture, apply(*flat, method="encode_audio")[0]

    vectors, words, pictures, clips = map(np.asarray, run(**prompts))
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0, 1:5], clips[0, :4], atol=1e-6)
    np.testing.assert_allclose(vectors[0, 6:10], pictures[0], atol=1e-6)
    np.testing.assert_allclose(vectors[1, 0:2], clips[3, :2], atol=1e-6)
    np.testing.assert_allclose(vectors[1, 3:10], clips[5], atol=1e-6)
    np.testing.assert_array_equal(vectors[2], words[2])  # padding with that id too
    np.testing.assert_array_equal(vectors[1, [2, 10]], words[1, [2, 10]])


@pytest.mark.slow
def test_cached_is_whole():
    """A prompt with sounds and pictures, then token by token."""
    model, variables = mixed()
    prompts = batch()
    more = np.array([[7, 8], [4, 5], [20, 21]])
    whole = dict(
        prompts,
        inputs=np.concatenate([prompts["inputs"], more], axis=1),
        mask=np.concatenate([prompts["mask"], np.ones((3, 2), bool)], axis=1),
    )
    logits = np.asarray(jax.jit(model.apply)(variables, **whole).logits)
    prefill = jax.jit(functools.partial(model.apply, slots=13, method="prefill"))
    extend = jax.jit(functools.partial(model.apply, method="extend"))
    step = prefill(variables, **prompts)
    said = [step.logits]
    for i in range(2):
        step = extend(variables, more[:, i : i + 1], step.cache)
        said.append(step.logits)
    valid = whole["mask"]
    said = np.concatenate(said, axis=1)
    np.testing.assert_allclose(said[valid], logits[valid], atol=1e-5)


MISTAKES = {
    "row 0 has 2 clips, more than its 4 audio tokens": dict(
        audio_mask=np.arange(40) < np.array([[21, 3, 0], [12, 0, 40], [0, 0, 0]])[..., None]
    ),
    "row 1 has 1 clips, fewer than its 9 audio tokens": dict(
        audio_mask=np.arange(40) < np.array([[21, 0, 0], [0, 0, 40], [0, 0, 0]])[..., None]
    ),
    "row 1 has 2 clips, fewer than its 9 audio tokens": dict(  # a shorter one
        audio_mask=np.arange(40) < np.array([[21, 0, 0], [12, 0, 34], [0, 0, 0]])[..., None]
    ),
    "row 0 has 0 clips, fewer than its 4 audio tokens": dict(sounds=None),
    "row 0 has 0 pictures, fewer than its 4 image tokens": dict(images=None),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_said_before_anything_compiles(message):
    generator = Generator(vlm.Model(MIXED), {"params": {"nothing": jnp.zeros(1)}})
    with pytest.raises(ConfigError, match=message):
        generator(batch() | MISTAKES[message], Options(max_new_tokens=4))


def test_a_row_that_would_be_read_wrongly_is_nan():
    model, variables = mixed()
    prompts = batch() | MISTAKES["row 1 has 2 clips, fewer than its 9 audio tokens"]
    logits = jax.jit(model.apply)(variables, **prompts).logits
    assert np.isfinite(np.asarray(logits)).all((1, 2)).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(image=None), "image, audio and video are all None"),
        (dict(image=None, image_id=3), "image_id says nothing where image is None"),
        (dict(image=None, projector=linear.Config()), "projector says nothing where image"),
        (dict(image=None, learned_tokens=True), "learned_tokens says nothing where image"),
        (dict(audio_id=3), "audio_id says nothing where audio is None"),
        (dict(image_id=3, audio_id=3), "image_id and audio_id are both 3"),
        (dict(audio_id=23), "audio_id=23 is missing from the vocabulary"),
    ],
)
def test_configs_that_cannot_be(fields, message):
    hears = TOWERS["stacked"]
    audio = None if message.startswith(("image, audio", "audio_id says")) else hears
    language = gpt2.Config(23, 64, BODY)
    with pytest.raises(ConfigError, match=message):
        vlm.Config(**{"image": SEES, "language": language, "audio": audio, **fields})


def test_a_sense_that_is_not_there():
    deaf = vlm.Config(SEES, language=gpt2.Config(23, 64, BODY), image_id=IMAGE)
    with pytest.raises(ConfigError, match="the model takes no sounds: its audio tower is None"):
        vlm.check(deaf, np.array([[5]]), sounds=np.zeros((1, 1, 40, 5)))
    with pytest.raises(ConfigError, match="encoder.letters is for CTC"):
        token_tower.Config(wav2vec2.Config(letters=5))


SMALL_PICTURES = vit.Config(8, 4, transformer=BODY)
WHOLE = {  # towers of things that are all alike -> a thing, and how many tokens it makes
    "music": (
        music.Config(24, onsets=2, bands=2, channels=2, taps=3, width=8, lags=6, strides=1), 14
    ),
    "ast": (ast.Config(5, 12, 2, 3, 3, BODY), 2 + 2 * 4),
    "htsat": (htsat.Config(8, 16, 2, 16, (2, 2), (2, 4), 4, hidden_ratio=2.0), 16),
    "joint": (video_vit.Config(4, 8, 4, transformer=BODY), 1 + 2 * 4),
    "space": (
        video_vit.Config(
            4, 8, 4, tubelet=1, attention="space", positions="space", transformer=BODY
        ),
        4 * (1 + 4),
    ),
    "frames": (frame_tower.Config(SMALL_PICTURES, 4, transformer=BODY), 4),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_any_tower_makes_the_tokens_that_it_counts(name):
    """Shapes alone: nothing is compiled."""
    encoder, count = WHOLE[name]
    config = token_tower.Config(encoder, count=count)
    (thing,) = token_tower.inputs(config)
    mask = jnp.ones(thing.shape[:2], bool)
    model = token_tower.Model(config, 12)
    made, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), thing, mask)
    assert made.tokens.shape == (1, count, 12) and made.valid.shape == (1, count)
    assert config.tokens(np.array([thing.shape[1], 0])).tolist() == [count, 0]
    with pytest.raises(ConfigError, match=f"room for 3 tokens, and the tower makes {count}"):
        token_tower.Config(encoder, count=3)


def test_a_clip_of_fewer_frames_has_fewer_tokens():
    joint, _ = WHOLE["joint"]
    assert [joint.vectors(frames) for frames in (4, 3, 2, 1, 0)] == [9, 9, 5, 5, 0]
    assert joint.vectors(np.array([9, 2, 0])).tolist() == [9, 5, 0]
