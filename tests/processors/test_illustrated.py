"""Sentences with clips and pictures: what is made of both, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample, InMemory
from mmjax.processors import illustrated, video
from mmjax.processors.image_text import Augmentation

RNG = np.random.default_rng(0)
CLIP = RNG.integers(0, 256, (4, 10, 8, 3), np.uint8)
SOURCE = InMemory([{"video": CLIP, "text": "a one moves up"}])
CLIPS = dict(tokenizer="words", image_size=8, max_length=8, pad_to=8)


def made(source=SOURCE, **fields):
    config = illustrated.Config(**{**CLIPS, "frames": video.Frames(4), **fields})
    return illustrated.build(config, lambda: [source], None)


def test_clips_and_their_sentence():
    processor = made(grey=True)
    batch = processor.encode([{"video": CLIP, "text": ("a one moves up", "a one")}])
    assert batch["video"].shape == (1, 4, 8, 8, 1) and batch["text"].shape == (1, 6)
    assert -1 <= batch["video"].min() and batch["video"].max() <= 1
    shown = processor.show(batch, 0)
    assert shown["text"] == "a one moves up"
    grey = CLIP[:, 1:9].astype(float).mean(-1)
    np.testing.assert_allclose(shown["video"][..., 0], grey, atol=1)
    sizes = processor.sizes
    assert sizes["shape"] == (4, 8, 8, 1) and sizes["field"] == "video"
    words = processor.tokenizer.special
    assert sizes["empty"] == (words["<start>"], words["<end>"])
    # without augmentation training sees what evaluation does
    rng = np.random.default_rng(1)
    example = {"video": CLIP, "text": "a one moves up"}
    for step in processor.train:
        example = step(example, rng)
    np.testing.assert_allclose(example["video"], batch["video"][0], atol=1e-6)


def test_pictures():
    picture = np.asarray(Image.fromarray(CLIP[0]).resize((12, 12)))
    source = InMemory([{"image": picture, "text": ("a one", "one")}])
    processor = made(source, frames=None, augmentation=Augmentation(flip=1.0, drop_words=0.5))
    example = {"image": picture, "text": ("a one", "one")}
    for step in processor.train:
        example = step(example, np.random.default_rng(0))
    batch = processor.encode([{"image": picture, "text": ("a one", "one")}])
    np.testing.assert_allclose(example["image"][:, ::-1], batch["image"][0], atol=0.2)
    assert processor.sizes["shape"] == (8, 8, 3) and processor.sizes["field"] == "image"
    assert processor.show(batch, 0)["text"] == "a one"
    assert illustrated.paper(processor.config)["image"].shape == (8, 8, 3)


def test_what_is_asked_for():
    processor = made()
    asked = processor.asked(["a one moves up", "one"])
    assert asked["text"].shape == (2, 8)
    assert asked["text_mask"].sum(1).tolist() == [6, 3]
    with pytest.raises(CorruptExample, match="7 tokens, and the model reads 6: shorten it"):
        processor.asked(["a one moves up a one moves"])
    with pytest.raises(CorruptExample, match="no word that the tokenizer knows"):
        processor.asked(["elephants"])
    with pytest.raises(ConfigError, match="pack=4"):
        made(pack=4)
