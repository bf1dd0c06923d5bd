"""Where a decoder looked: whose weights they are, and models that look at one patch."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import haste
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox
from models.test_vlm import batch, longer, start
from PIL import Image

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.conversion.load import Loaded
from mmjax.data.source import InMemory
from mmjax.evaluation.drawing import page
from mmjax.generation import attention
from mmjax.layers import transformer
from mmjax.layers.attention import WEIGHTS
from mmjax.layers.projectors import linear, resampler
from mmjax.models import blip, gpt2, vit, vlm
from mmjax.processors import dialogue
from mmjax.run.attention import attended, look

ROOT = Path(__file__).parents[2]
BODY = transformer.Config(width=8, layers=2, heads=2, hidden=8)
TOWER = vit.Config(8, 4, pool="mean", transformer=transformer.Config(8, 0, 2, 8))
READ = transformer.Config(8, 2, 2, 8, norm="post", initialisation="bert")
BLIP = blip.Config(
    vit.Config(8, 4, transformer=BODY), 9, 12, READ, embedding=4, start_id=7, match_id=8,
    end_ids=(4,),
)  # fmt: skip
SHARP = 60.0


def rigged(model, inputs, changes):
    """Parameters that are 0 but for some entries of a few."""
    shapes = unbox(jax.eval_shape(model.init, jax.random.key(0), *inputs))["params"]
    flat = {path: np.zeros(leaf.shape, np.float32) for path, leaf in tree.flatten(shapes).items()}
    for path, place, value in changes:
        flat[path][place] = value
    return tree.unflatten({path: jnp.asarray(leaf) for path, leaf in flat.items()})


def looking(attention):
    """A query that asks for the first entry of what it attends to."""
    return [
        (f"{attention}/query/bias", np.s_[..., 0], SHARP),
        (f"{attention}/key/kernel", np.s_[:, 0, :, 0], 1.0),
    ]


def test_cross_attention_of_a_model_that_looks_at_one_position():
    model = blip.Model(BLIP)
    params = rigged(model, blip.inputs(BLIP), looking("text/transformer/blocks/cross"))
    context = np.zeros((2, 5, 8), np.float32)
    context[0, 3, 0] = context[1, 1, 0] = 1
    prompt = dict(inputs=jnp.array([[0, 7], [7, 5]]), mask=jnp.array([[0, 1], [1, 1]], bool))
    tokens = jnp.array([[5, 6, 4], [6, 4, 0]])
    prompt["context"] = jnp.asarray(context)
    arguments = (model, {"params": params}, prompt, tokens, tokens > 0)
    of_layer = functools.partial(attention.over_context, *arguments)
    weights = jax.jit(of_layer)()
    assert weights.shape == (2, 3, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(weights[0, :, 3], 1, atol=1e-6)
    np.testing.assert_allclose(weights[1, :, 1], 1, atol=1e-6)
    maps = attention.on_picture(weights, BLIP.image)
    assert maps.shape == (2, 3, 1, 2, 2)  # the class token is on no patch
    assert maps[0, 0, 0].round(3).tolist() == [[0, 0], [1, 0]]
    assert maps[1, 0, 0].round(3).tolist() == [[1, 0], [0, 0]]
    with pytest.raises(ConfigError, match="layer=2: the model has 2, 0 to 1"):
        jax.eval_shape(functools.partial(of_layer, layer=2))


@pytest.mark.slow
def test_self_attention_to_the_pictures_of_a_prompt():
    """Those of the places before each token; other numbers of pictures in each row."""
    model, variables = start("causal")
    prompt, whole = jax.tree.map(jnp.asarray, (batch(), longer(batch())))
    said = whole["inputs"][:, 13:]

    @jax.jit
    def run():
        found = attention.over_pictures(model, variables, prompt, said, jnp.ones_like(said))
        arguments = {name: value for name, value in whole.items() if name != "prefix"}
        _, kept = model.apply(variables, **arguments, mutable=[WEIGHTS])
        return found, kept[WEIGHTS]["language"]["transformer"]["blocks"]["attention"]["weights"]

    found, (weights,) = run()
    assert found.shape == (3, 3, 3, 2, 2)
    weights = np.asarray(weights).mean((0, 2))[:, 12:15]  # of the places before the three tokens
    first = np.stack([weights[0, :, 1:5], weights[0, :, 7:11]], axis=1)
    np.testing.assert_allclose(found[0, :, :2].reshape(3, 2, 4), first, atol=1e-6)
    np.testing.assert_allclose(found[1, :, 0].reshape(3, 4), weights[1, :, 6:10], atol=1e-6)
    assert not found[0, :, 2].any() and not found[1, :, 1:].any() and not found[2].any()
    assert found[0].sum() > 0.1


@functools.cache
def onlooker():
    """A vision-language GPT that looks at what is white, and says one word again and again."""
    kwargs = dict(image_size=8, patch_size=4, max_images=2, max_length=40, tokenizer="words")
    data = InMemory([{"text": "where is it", "answer": "here"}])
    processor = dialogue.build(dialogue.Config(**kwargs, vocab_size=40), lambda: [data], None)
    language = gpt2.Config(processor.vocab_size, 48, BODY)
    config = vlm.Config(TOWER, linear.Config(), language, image_id=processor.sizes["image_id"])
    model = vlm.Model(config)
    word = processor.tokenizer.encode("here")[0]
    blocks = "language/transformer/blocks"
    params = rigged(model, vlm.inputs(config), [
        *looking(f"{blocks}/attention"),
        ("image/patch_embedding/kernel", np.s_[..., 0], 1.0),
        ("image/norm/scale", np.s_[:], 1.0),
        ("projector/map/kernel", np.s_[0, 0], 1.0),
        (f"{blocks}/attention_norm/scale", np.s_[:], 1.0),
        ("language/norm/bias", np.s_[1], 1.0),
        ("language/tokens", np.s_[word, 1], 1.0),
    ])  # fmt: skip
    return Loaded("native", model, params, processor, config)


def picture(line, column):
    """Black, with one white patch."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[4 * line : 4 * line + 4, 4 * column : 4 * column + 4] = 255
    return pixels


@pytest.mark.slow
def test_a_model_that_looks_at_one_patch_shows_it():
    model = onlooker()
    looked = attended(model, [picture(1, 0), picture(0, 1)], "where is it")
    assert set(looked.words) == {"here"} and len(looked.words) == len(looked.maps)
    np.testing.assert_array_equal(looked.picture[:, :8], picture(1, 0))
    for maps in looked.maps:
        np.testing.assert_allclose(maps, [[[0, 0], [0.5, 0]], [[0, 0.5], [0, 0]]], atol=1e-3)
    sheet = look(model, [picture(1, 0), picture(0, 1)], "where is it", layer=-1)
    assert "here: line 2, column 1 of 2 in picture 1" in sheet.info[page.DESCRIPTION]


def test_what_has_no_places_is_refused():
    model = onlooker()
    config = vlm.Config(TOWER, resampler.Config(queries=4), model.config.language)
    other = Loaded("native", vlm.Model(config), model.params, model.processor, config)
    with pytest.raises(ConfigError, match="a vlm says nothing about the places of a picture"):
        look(other, picture(0, 0), "where is it")
    with pytest.raises(ConfigError, match="tokens that stand for no part of a picture"):
        attention.over_pictures(vlm.Model(config), {}, {}, *[jnp.ones((1, 1), int)] * 2)


RUN = """
import numpy as np, mmjax, sys
from mmjax.generation.options import Options
from mmjax.run.attention import attended
from mmjax.transforms.dialogue import SPECIALS

few = "train.steps=6,train.evaluate_every=6,task.generate.min_new_tokens=2"
config = mmjax.load_config(f"configs/vlm/vlm_easyvqa.py:smoke,{few}")
config.task.generate.suppressed = tuple(range(len(SPECIALS)))  # so young a model says little else
mmjax.train(config, sys.argv[1])
restored = mmjax.restore(sys.argv[1])
special = tuple(restored.processor.tokenizer.special.values())
white = np.full((20, 20, 3), 255, np.uint8)
options = Options(max_new_tokens=2, suppressed=special)
looked = attended(restored, white, "is it red?", options)
assert looked.maps.shape[1:] == (1, 8, 8) and 0 < looked.maps[0].sum() < 1
assert looked.picture.shape == (64, 64, 3) and looked.picture.min() == 255
"""


@pytest.mark.slow
def test_a_run_shows_answers_and_where_it_looked_for_them(tmp_path):
    """Through the data, the processor and the task; in the pictures of the work directory."""
    environment = {**os.environ, "XLA_FLAGS": haste.FLAGS}
    subprocess.run([sys.executable, "-c", RUN, tmp_path], cwd=ROOT, env=environment, check=True)
    for split in ("validation", "test"):
        folder = tmp_path / "pictures" / "00000006" / split / "vqa"
        assert {path.name for path in folder.iterdir()} == {"answers.png", "attention.png"}
        with Image.open(folder / "attention.png") as sheet:
            words = sheet.info[page.DESCRIPTION]
        assert words.startswith("Where the model looked") and "of 8" in words
