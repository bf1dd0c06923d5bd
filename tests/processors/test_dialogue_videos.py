"""Conversations with tunes and videos: things of one shape, and what is said of a shifted tune."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.config import ConfigError
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Mixture, Sequential
from mmjax.data.source import CorruptExample, InMemory
from mmjax.datasets import moving_digits, music, programmes
from mmjax.datasets.prepared.tune_words import phrases
from mmjax.layers import transformer
from mmjax.models import frame_tower, gpt2, token_tower, vit, vlm
from mmjax.models.towers import hierarchical
from mmjax.processors import dialogue, melody, tunes, watched
from mmjax.processors.video import Frames
from mmjax.tasks import language
from mmjax.training import gradients
from tests.talks import talk

BODY = transformer.Config(width=16, layers=1, heads=2, hidden=32)
WATCHES = watched.Config(tokens=4, most=2, image_size=8, frames=Frames(4))
TUNES = tunes.Config(
    tokens=14,
    melody=melody.Config(
        transpose=3, labels=(melody.Label("key", 4), melody.Label("key_signature", 1))
    ),
    names={"key": phrases("key"), "key_signature": phrases("key_signature")},
)


def clip(level):
    return np.full((6, 10, 8, 3), level, np.uint8)


SOURCE = InMemory([
    {"video": clip(0), "conversation": talk("what is it", "a cat")},
    {"video": [clip(255), clip(90)], "conversation": talk("is <video> as <video>", "no")},
    {"conversation": talk("what", "a dog")},
    {"video": [clip(0)] * 3, "conversation": talk("what", "a dog")},  # corrupt: too many
])  # fmt: skip


@functools.cache
def processor():
    config = dialogue.Config(max_images=0, video=WATCHES, max_length=40, tokenizer="words")
    return dialogue.build(config, lambda: [SOURCE], None)


def test_videos_between_words():
    """Rows with another number of them; a tower reads what the tokens have room for."""
    one = processor()
    plan = one.plan(Mixture((len(SOURCE),), len(SOURCE), seed=1, steps=1), [SOURCE])
    batch, corrupt = Pipeline([SOURCE], plan, one.train, seed=0).batch(0)
    assert "3 videos, more than video.most=2" in corrupt[0].reason
    special = one.tokenizer.special["<video>"]
    counts = {int(index): int((text == special).sum())
              for index, text in zip(batch["index"], batch["text"], strict=True)}  # fmt: skip
    assert [counts[index] for index in range(3)] == [4, 8, 0]
    assert batch["video"].shape == (4, 2, 4, 8, 8, 3)
    shape = one.shape(SOURCE)
    asked = Pipeline([SOURCE], Sequential(4, 4, shape), one.evaluate, seed=0).batch(0).arrays
    assert asked["video_mask"].any(2).sum(1).tolist() == [1, 2, 0, 0]
    assert one.show(asked, 1)["video"].shape == (8, 8, 8, 3)

    sizes = one.sizes
    encoder = frame_tower.Config(vit.Config(8, 4, transformer=BODY), 4, transformer=BODY)
    config = vlm.Config(
        None, language=gpt2.Config(one.vocab_size, 64, BODY),
        video=token_tower.Config(encoder, count=sizes["video.count"]), video_id=sizes["video_id"],
    )  # fmt: skip
    task = language.build(language.Config(), vlm.Model(config))
    made = jax.eval_shape(task.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape)), unbox(made))

    @jax.jit
    def loss(batch):
        variables = {"params": params["params"], "state": {}}
        key = jax.random.key(0)
        found = gradients.gradients(task, variables, params["params"], batch, key, jnp.int32(0), 1)
        return found[0]

    value = loss(batch)
    assert np.isfinite(value)  # NaN: rows whose tokens and videos do not agree
    assert abs(loss({**batch, "video": -batch["video"]}) - value) > 1e-4


def test_a_chat_with_a_video():
    parts = [{"type": "video", "video": clip(9)}, {"type": "text", "text": "what is it"}]
    made = processor().chat([[{"role": "user", "content": parts}]])
    assert made["videos"].shape == (1, 1, 4, 8, 8, 3) and made["video_mask"].all()
    assert processor().sizes["video.encoder.image.image_size"] == 8
    blind = dialogue.build(dialogue.Config(tokenizer="words"), lambda: [SOURCE], None)
    with pytest.raises(CorruptExample, match="has videos, and the processor takes none: video"):
        blind.chat([[{"role": "user", "content": parts}]])


def test_what_is_said_of_a_tune_moves_with_it():
    source = music.open(music.Config(sound="tones", question="what is heard?"))
    config = dialogue.Config(max_images=0, audio=TUNES, max_length=64, tokenizer="words")
    one = dialogue.build(config, lambda: [source], None)
    example = source[1]
    assert example["answer"].startswith("a strathspey in C major with the notes of C major")
    longest = one.lengths(source)["text"][1]
    moved = set()
    for seed in range(5):
        made = example
        for transform in one.train[:-1]:  # all but the ids
            made = transform(made, np.random.default_rng(seed))
        key = music.CLASSES["key"][made["key"]]
        signature = music.CLASSES["key_signature"][made["key_signature"]]
        said = made["conversation"][1]["content"]
        assert f"in {key} with the notes of {signature} major, in 3/4" in said
        moved.add(key)
        assert made["audio"].shape == (1, *TUNES.shape) and made["audio_tokens"] == (14,)
        ids = one.train[-1](made)["text"]
        assert len(ids) <= longest
    assert len(moved) > 1
    heard = example
    for transform in one.evaluate:
        heard = transform(heard, np.random.default_rng(0))
    assert "C major" in heard["conversation"][1]["content"]
    with pytest.raises(ConfigError, match=r"names.key are 2 names; melody.labels has 48 classes"):
        tunes.Config(tokens=14, melody=TUNES.melody, names={"key": ("a", "b")})


def test_no_clip_is_drawn_to_know_what_is_said(monkeypatch):
    source = moving_digits.open(moving_digits.Config(rows=6, caption="what happens?"))
    assert source[5]["answer"] == source[5]["text"] and source[5]["question"] == "what happens?"
    drawn = []
    draw = moving_digits.draw
    monkeypatch.setattr(moving_digits, "draw", lambda *args: drawn.append(1) or draw(*args))
    config = dialogue.Config(
        max_images=0, video=WATCHES, question="question", max_length=40, tokenizer="words"
    )
    one = dialogue.build(config, lambda: [source], None)
    lengths = one.lengths(source)
    assert len(drawn) <= 2 and lengths["text"].min() > 4 + 6 and set(lengths["video"]) == {4}


SCALES = (hierarchical.Scale("short", 4), hierarchical.Scale("long", 0, 16))
LASTS = watched.Config(
    tokens=34, image_size=24, frames=Frames(480, "pace", 2.0), scales=SCALES, buckets=(200,)
)


def test_clips_of_their_own_lengths(monkeypatch):
    """Tokens follow from the frames of each; none is drawn to know how many there are."""
    source = programmes.open(programmes.Config(rows=6, longest=90, questions=3))
    config = dialogue.Config(max_images=0, video=LASTS, max_length=120, tokenizer="words")
    frames = [len(clip.frames) for clip in source.column("video")]
    drawn = []
    draw = programmes.draw
    monkeypatch.setattr(programmes, "draw", lambda *args: drawn.append(1) or draw(*args))
    one = dialogue.build(config, lambda: [source], None)
    assert one.lengths(source)["video"].tolist() == frames and not drawn
    assert one.sizes["video.encoder.scales"] == SCALES and one.sizes["video.encoder.frames"] == 480
    plan = one.plan(Mixture((6,), 2, seed=1, steps=3), [source])
    special = one.tokenizer.special["<video>"]
    encoder = hierarchical.Config(scales=SCALES, frames=480)
    tower = token_tower.Config(encoder, count=one.sizes["video.count"])
    for step in range(3):
        batch = Pipeline([source], plan, one.train, seed=0).batch(step).arrays
        own = np.array(frames)[batch["index"]]
        np.testing.assert_array_equal(batch["video_mask"].sum((1, 2)), own)
        assert batch["video"].shape[2] in (max(frames), 200)
        assert (batch["video"][~batch["video_mask"]] == 0).all()
        counts = (batch["text"] == special).sum(1)
        np.testing.assert_array_equal(counts, tower.tokens(own))
    assert one.shape(source)["video"] == (1, max(frames))
    said = talk("how often", "never")
    clips = [[clip(3)], []]
    made = one.encode([{"video": each, "conversation": said} for each in clips])
    assert made["video_mask"].sum((1, 2)).tolist() == [12, 0]  # six frames, one a second


def test_lengths_that_scales_do_not_make():
    with pytest.raises(ConfigError, match="tokens=33, and of 480 frames the scales make 34"):
        watched.Config(tokens=33, frames=LASTS.frames, scales=SCALES)
    with pytest.raises(ConfigError, match="frames.pick='parts' takes as many of each clip"):
        watched.Config(tokens=34, frames=Frames(480), scales=SCALES)
    with pytest.raises(ConfigError, match="buckets and alike are for clips of their own lengths"):
        watched.Config(tokens=4, buckets=(3,))
