"""Made clips and pictures, judged: with a model that gives the data back, or something else."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.contexts import context

from mmjax.config import ConfigError
from mmjax.conversion.load import Loaded, load
from mmjax.data.source import InMemory
from mmjax.datasets import bundled, emoji, moving_digits
from mmjax.evaluation import base, generated_digits, generated_pictures
from mmjax.evaluation.generated import digit_judge
from mmjax.transforms.decode import DecodeImage

ROWS = 40
CLIPS = moving_digits.open(
    moving_digits.Config(
        split="test", rows=ROWS, frames=12, side=24, most=1, actions=("goes on", "stops")
    )
)


def batch():
    video = np.stack([CLIPS[row]["video"] for row in range(ROWS)])
    values = video.astype(np.float32) / 127.5 - 1
    return {
        "video": values[..., :1], "index": np.arange(ROWS), "weight": np.ones(ROWS, np.float32)
    }  # fmt: skip


def predict(variables, batch, keys, guidance=4.0):
    """The clips themselves; below a guidance of 2 they run backwards."""
    strong = jnp.broadcast_to(jnp.asarray(guidance), (ROWS,)).reshape(-1, 1, 1, 1, 1) >= 2
    return {"video": jnp.where(strong, batch["video"], batch["video"][:, ::-1])}


class ByHand(digit_judge.Judge):
    """A judge that is wrong about every fourth clip."""

    def digits(self, clips):
        return np.where(np.arange(len(clips)) % 4, CLIPS.column("digit"), -1)


def test_agreement_and_the_sweep(monkeypatch):
    monkeypatch.setattr(digit_judge, "judge", lambda side, steps: ByHand({}, 0.98))
    evaluator = generated_digits.Config(scales=(1.0, 4.0), keep=3)
    evaluator.check(context(CLIPS))
    result = base.run(evaluator, predict, {}, [batch()], context(CLIPS))
    assert result.metrics["digit_agreement"] == 0.75
    assert result.metrics["motion_agreement"] == 1.0
    assert result.metrics["both"] == 0.75
    assert result.metrics["classifier_accuracy"] == 0.98
    assert result.metrics["diversity"] == pytest.approx(1.0)
    assert result.baselines["real"]["motion_agreement"] == 1.0
    assert result.baselines["no_guidance"]["motion_agreement"] == 0.0
    assert result.metrics["guidance_1/motion_agreement"] == 0.0
    assert result.metrics["guidance_4/motion_agreement"] == 1.0
    assert result.media["clips"].shape == (12, 76, 3 * 76, 3)
    assert "       4   0.750   1.000   0.750" in result.media["guidance_table"]
    assert "guidance" in result.media["guidance"].info["Description"].lower()
    # an empty clip is of no digit and moves nowhere
    nothing = np.zeros((2, 12, 24, 24), np.uint8)
    assert digit_judge.directions(nothing).tolist() == [-1, -1]
    assert len(digit_judge.windows(nothing)[0]) == 0


@pytest.mark.slow
def test_the_classifier_is_good_enough():
    """Seen: 0.970 of drawings, 0.965 of 200 clips; of their directions all."""
    judge = digit_judge.judge()
    source = moving_digits.open(dataclasses.replace(CLIPS.config, rows=200))
    clips = np.stack([source[row]["video"][..., 0] for row in range(len(source))])
    right = (judge.digits(clips) == source.column("digit")).mean()
    ways = (digit_judge.directions(clips) == source.column("direction")).mean()
    print(f"drawings {judge.accuracy:.3f}, clips {right:.3f}, directions {ways:.3f}")
    assert judge.accuracy >= 0.96
    assert right >= 0.95
    assert ways >= 0.99


def test_a_caption_that_the_judge_does_not_know_is_an_empty_one():
    judge = load(bundled.model("emoji_clip"))
    vectors = generated_pictures._said(judge, ["sloth, lazy, slow", "sloth", "big cat"])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.abs(vectors[0] - vectors[2]).max() > 0.01


def test_pictures_by_a_clip(monkeypatch):
    """Pictures that are given back rank as the real ones do; others do not."""
    drawings = emoji.open(emoji.Config("test/unseen_concept"))
    source = InMemory([drawings[row] for row in range(0, 80, 2)])
    decode = DecodeImage()

    class Judge(Loaded):
        """Vectors are the mean colours of a picture; a caption's are those of its picture."""

        def __init__(self):
            pass

        def encode_image(self, pictures, batch_size):
            means = np.stack([np.asarray(one, np.float32).reshape(-1, 3) for one in pictures])
            return means.reshape(len(means), -1)[:, ::97] - 128

        def encode_text(self, texts, batch_size, refuse_unknown):
            assert not refuse_unknown
            found = {source[row]["text"]: images[row] for row in range(len(source))}
            return self.encode_image([found[text] for text in texts], batch_size)

    images = np.stack([decode(source[row])["image"] for row in range(len(source))])
    monkeypatch.setattr(generated_pictures, "_judge", lambda name: Judge())
    count = len(source)

    def predict(variables, batch, keys, guidance=4.0):
        scale = jnp.broadcast_to(jnp.asarray(guidance), (count,)).reshape(-1, 1, 1, 1)
        return {"image": jnp.where(scale > 1, batch["image"], -batch["image"][::-1])}

    evaluator = generated_pictures.Config(scales=(0.0, 4.0), shown=4)
    rows = {
        "image": images.astype(np.float32) / 127.5 - 1,
        "index": np.arange(count), "weight": np.ones(count, np.float32),
    }  # fmt: skip
    given = context(
        source, training=lambda: [source],
        decode=lambda row, source: {**source[row], "image": images[row]},
    )  # fmt: skip
    evaluator.check(given)
    result = base.run(evaluator, predict, {}, [rows], given)
    assert result.metrics["clip_r5"] == result.metrics["clip_r1"] == 1.0
    assert result.baselines["real"]["clip_r5"] == 1.0
    assert result.baselines["chance"]["clip_r5"] == 5 / count
    assert result.metrics["guidance_0/clip_r5"] < 0.6
    assert result.metrics["frechet/emoji_clip"] == pytest.approx(0, abs=1e-6)
    assert "1.00" in result.media["nearest_training_picture"].info["Description"]
    with pytest.raises(ConfigError, match="no column 'text'"):
        evaluator.check(context(InMemory([{"image": images[0]}])))
