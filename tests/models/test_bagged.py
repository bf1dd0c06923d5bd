"""A text tower beside a bag of trained token vectors."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax import config as configs
from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers import transformer
from mmjax.models import bagged, bert, clip, text, vit

BODY = transformer.Config(width=16, layers=2, heads=2, hidden=32)
CONFIG = clip.Config(
    vit.Config(image_size=8, patch_size=4, transformer=BODY),
    bagged.Config(32, 6, 8, text.Config(40, 7, BODY)),
    embedding=16,
    text_projection=False,
)
HALVES = slice(None, 8), slice(8, None)  # of the embedding: the tower's, the bag's


def inputs(rows=8):
    """Pixels, ids and their mask."""
    ids = jax.random.randint(jax.random.key(2), (rows, 6), 0, 32)
    mask = jnp.arange(6)[None] < 2 + jnp.arange(rows)[:, None] % 5
    return jax.random.normal(jax.random.key(1), (rows, 8, 8, 3)), ids, mask


def test_parameter_paths():
    made = jax.eval_shape(clip.Model(CONFIG).init, jax.random.key(0), *inputs())["params"]
    paths = tree.flatten(nn.unbox(made))
    assert {path for path in paths if "bag" in path} == {"text/bag/tokens"}
    assert {"text/tower/tokens", "text/head/kernel", "image_head/kernel"} <= set(paths)
    assert "text_head/kernel" not in paths


@pytest.mark.parametrize("variants, kind", [
    ("", bert), (":scratch", text), (":clipart", bagged), (":clipart,stamps", bagged),
    (":clipart,scratch", text), (":clipart,without_bag", bert), (":smoke", bert),
])  # fmt: skip
def test_text_towers_of_lit_minilm(variants, kind):
    whole = configs.load(f"configs/contrastive/lit_minilm.py{variants}").to_dict()
    whole["model"].pop("name")
    whole["model"]["text"].update(vocab_size=30_522)  # what the data gives
    whole["model"]["text"].setdefault("context_length", 18)
    built = configs.build(clip.Config, whole["model"])
    assert type(built.text) is kind.Config
    assert built.embedding == (384 if kind is bagged else 192)
    frozen = [group["match"] for group in whole["optimizer"]["groups"] if "frozen" in str(group)]
    started = [key for key, source in dict(whole["warm_start"] or {}).items() if source]
    part = {bert: "text", bagged: "text/tower", text: None}[kind]
    assert frozen == ([f"{part}/.*"] if part else [])
    assert started == ([part] if part and variants != ":smoke" else [])


def test_a_bag_beside_the_tower():
    """In training the readers take turns; later a cosine is the mean of theirs."""
    module = clip.Model(CONFIG)
    pixels, ids, mask = inputs()
    variables = nn.unbox(jax.jit(module.init)(jax.random.key(0), pixels, ids, mask))
    apply = jax.jit(module.apply, static_argnames="train")
    image, both = apply(variables, pixels, ids, mask)
    seeds = [{"dropout": jax.random.key(seed)} for seed in range(12)]
    turns = [apply(variables, pixels, ids, mask, train=True, rngs=seed)[1] for seed in seeds]
    for vectors in (image, both, *turns):
        np.testing.assert_allclose(jnp.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    by_tower = np.array([(turn[:, 8:] == 0).all(1) for turn in turns])
    assert (by_tower[:, ::2] != by_tower[:, 1::2]).all()  # one of two neighbours
    assert by_tower.any(0).all() and not by_tower.all(0).any()  # never the same ones for good
    for turn, tower in zip(turns, by_tower, strict=True):
        np.testing.assert_allclose(both[tower, :8] * 2**0.5, turn[tower, :8], atol=1e-6)
        np.testing.assert_allclose(both[~tower, 8:] * 2**0.5, turn[~tower, 8:], atol=1e-6)
        assert not turn[~tower, :8].any()
    halves = (clip.unit(image[:, half]) @ clip.unit(both[:, half]).T for half in HALVES)
    np.testing.assert_allclose(image @ both.T, sum(halves) / 2, atol=1e-6)
    # the bag knows no order, and what the mask hides does not count
    _, turned = apply(variables, pixels, ids[:, ::-1], mask[:, ::-1])
    np.testing.assert_allclose(turned[:, 8:], both[:, 8:], atol=1e-6)


@pytest.mark.parametrize(
    "change, rows, message",
    [
        (dict(embedding=15), 8, "embedding=15 has no 2 equal parts"),
        (dict(), 7, "7 captions cannot be divided between two readers"),
        (dict(text_projection=True), 8, "has projections of its own: set text_projection=False"),
        (dict(embedding=24), 8, "embedding=24 must be the width of the text tower, 16"),
    ],
)
def test_a_bag_that_cannot_be(change, rows, message):
    module = clip.Model(dataclasses.replace(CONFIG, **change))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda key: module.init(key, *inputs(rows), train=True), jax.random.key(0))


@pytest.mark.parametrize("sizes", [(31, 6), (32, 5)])
def test_an_inner_tower_that_knows_too_little(sizes):
    inner = dict(name="text", vocab_size=sizes[0], context_length=sizes[1])
    bag = dict(name="bagged", vocab_size=32, context_length=6, tower=inner)
    with pytest.raises(ConfigError, match=r"config.text: tower.*, but captions need"):
        configs.build(clip.Config, dict(text=bag))
