"""Pictures of another size, and another type to compute in, from the moment of loading."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers import positions
from mmjax.models import clip
from mmjax.processors import image_text
from mmjax.processors.checkpoints import checkpoint
from mmjax.processors.checkpoints.pixels import Pixels
from mmjax.tokenizers import words

GOLDEN = Path(__file__).parents[1] / "golden"
CHECKPOINTS = GOLDEN / "checkpoints"


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.slow
def test_a_pair_sees_larger_pictures_as_with_positions_resized_at_each_call(tmp_path):
    stored = mmjax.load(CHECKPOINTS / "clip")
    larger = mmjax.load(CHECKPOINTS / "clip", image_size=33)
    assert larger.config.image.image_size == 33 and larger.config.image.grid == 5
    assert larger.params["image"]["positions"].shape == (1 + 25, 24)
    any_size = dataclasses.replace(stored.config.image, any_size=True)
    model = clip.Model(dataclasses.replace(stored.config, image=any_size))
    pixels = np.random.default_rng(0).normal(size=(2, 33, 33, 3)).astype(np.float32)
    (found,) = larger(images=pixels).output
    (expected,) = jax.jit(model.apply)(stored.variables, pixels)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # what is saved is a checkpoint of that size
    mmjax.save(larger, tmp_path)
    again = mmjax.load(tmp_path)
    assert again.config == larger.config
    flat = tree.flatten(larger.params)
    for path, value in tree.flatten(again.params).items():
        np.testing.assert_array_equal(value, flat[path])


@pytest.mark.parametrize(
    "name, first", [("vit", 1), slow("deit", 2), slow("siglip", 0), slow("open_clip_rn", 1)]
)
def test_learned_tokens_stay_and_patches_are_resized(name, first):
    stored = mmjax.load(CHECKPOINTS / name)
    tower = stored.config.image
    size = 2 * tower.image_size
    larger = mmjax.load(CHECKPOINTS / name, image_size=size, dtype="float32")
    old = np.asarray(stored.params["image"]["positions"])
    new = np.asarray(larger.params["image"]["positions"])
    grid = larger.config.image.grid
    np.testing.assert_array_equal(new[:first], old[:first])
    patches = jnp.asarray(old[first:].reshape(tower.grid, tower.grid, -1))
    np.testing.assert_allclose(new[first:], positions.bicubic(patches, grid, grid), atol=1e-6)
    assert mmjax.load(CHECKPOINTS / name, image_size=tower.image_size).config == stored.config


REFUSED = {
    "0": ("checkpoints/clip", 0, "image_size=0 is no number of pixels"),
    "negative": ("checkpoints/clip", -20, "image_size=-20 is no number of pixels"),
    "too small": ("checkpoints/clip", 5, "less than one patch of 6 pixels"),
    "odd": ("checkpoints/open_clip_rn", 33, "image_size=33 is no multiple of"),
    "any shape": ("checkpoints/siglip2", 32, "takes pictures of any shape"),
    "no pictures": ("gpt2/gpt2", 32, "no positions of patches of pictures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sizes_that_make_no_sense(name):
    folder, size, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        mmjax.load(GOLDEN / folder, image_size=size)


PIXELS = {
    "CLIP": (dict(size=24, crop_size=20), Pixels(shortest=48, crop=(40, 40), resample=3)),
    "ViT": (dict(size=20), Pixels(height=40, width=40, resample=2)),
    "DeiT": (dict(size=24, crop_size=20), Pixels(height=48, width=48, crop=(40, 40), resample=3)),
}


@pytest.mark.parametrize("kind", PIXELS)
def test_a_processor_of_files_says_so_in_its_file(kind, tmp_path):
    written, expected = PIXELS[kind]
    named = {"image_processor_type": f"{kind}ImageProcessor", "image_mean": [0.5] * 3, **written}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(named | {"image_std": [0.5] * 3}))
    larger = checkpoint.load(tmp_path).resized(40)
    assert larger.pixels == dataclasses.replace(expected, mean=(0.5,) * 3, std=(0.5,) * 3)
    larger.save(tmp_path)
    assert checkpoint.load(tmp_path).pixels == larger.pixels


def test_processors_of_runs_and_what_has_no_size():
    config = image_text.Config(image_size=8, tokenizer="words")
    larger = image_text.Processor(config, words.train(["a cat"], 20)).resized(12)
    assert larger(images=np.zeros((20, 30, 3), np.uint8))["images"].shape == (1, 12, 12, 3)
    with pytest.raises(ConfigError, match="speech has no size of pictures"):
        mmjax.load(GOLDEN / "whisper").processor.resized(12)
    with pytest.raises(ConfigError, match="not brought to one size|not brought to an image_size"):
        Pixels(patch=4).resized(12)


@pytest.mark.parametrize(
    "name, parts",
    [
        ("checkpoints/clip", ("image.transformer", "text.transformer")),
        slow("checkpoints/open_clip_rn", ("image", "text.transformer")),
        slow("llama/gemma2", ("decoder",)),
        slow("whisper", ("encoder", "decoder")),
    ],
)
def test_the_type_of_parameters_is_what_is_computed_in(name, parts):
    for dtype, computed in (("bfloat16", "bfloat16"), ("float16", "float32"), (None, "float32")):
        loaded = mmjax.load(GOLDEN / name, dtype=dtype)
        for part in parts:
            config = loaded.config
            for field in part.split("."):
                config = getattr(config, field)
            assert config.dtype == computed, (dtype, part)
        assert loaded.model.config == loaded.config
        kept = {str(leaf.dtype) for leaf in jax.tree.leaves(loaded.params)}
        assert kept == {dtype or "float32"}
