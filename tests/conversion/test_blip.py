"""BLIP beyond the table of families: what has no class of the reference, how captions begin, and
what is refused. Live beside the reference: tests/parity/test_blip.py."""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.config import ConfigError
from mmjax.conversion import blip as conversion
from mmjax.conversion import load
from mmjax.conversion.mapping import fields
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.models import blip, vit
from mmjax.processors import vocabularies

GOLDEN = Path(__file__).parents[1] / "golden" / "blip"
BODY = transformer.Config(width=16, layers=2, heads=2, hidden=32)
READ = dataclasses.replace(BODY, norm="post", initialisation="bert")
IMAGE = vit.Config(image_size=8, patch_size=4, transformer=BODY)
CONFIG = blip.Config(IMAGE, 23, 24, READ, embedding=6, start_id=21, match_id=22, end_ids=(4,))
UPSTREAM = {"text_config": {"bos_token_id": 30_522}}


def close(a, b):
    np.testing.assert_allclose(a, b, atol=2e-5, rtol=0)


@functools.cache
def shared():
    """A model of pre-training, with noise on everything."""
    model = blip.Model(CONFIG)
    variables = unbox(jax.jit(model.init)(jax.random.key(0), *batch()[:2]))
    leaves, form = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return model, jax.tree.unflatten(form, noisy)


def batch():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 8, 8, 3)).astype(np.float32)
    ids = rng.integers(5, 21, (3, 6)).astype(np.int32)
    mask = np.arange(6) < np.array([[6], [3], [5]])
    return images, ids, mask, ids[:, :4][::-1], mask[:, :4]


@pytest.mark.slow
def test_a_shared_model_taken_apart_says_the_same():
    model, variables = shared()
    images, ids, mask, answers, answer_mask = batch()
    everything = jax.jit(model.apply)
    whole = everything(variables, images, ids, mask)
    answered = everything(variables, *batch())
    for texts in ("encoder", "decoder", "both"):
        config, params = conversion.separated(CONFIG, variables["params"], texts)
        given = batch() if texts == "both" else batch()[:3]
        out = jax.jit(blip.Model(config).apply)({"params": params}, *given)
        if texts == "encoder":
            close(out.matching, whole.matching)
            close(out.text_embedding, whole.text_embedding)
            close(out.image_embedding, whole.image_embedding)
        elif texts == "decoder":
            close(np.asarray(out.logits)[mask], np.asarray(whole.logits)[mask])
        else:
            close(np.asarray(out.logits)[answer_mask], np.asarray(answered.logits)[answer_mask])


@pytest.mark.slow
def test_captions_are_what_the_whole_text_says():
    """Token by token from the cache, and each from all before it; prompts padded on the left."""
    model, variables = shared()
    images = batch()[0]
    context = jax.jit(functools.partial(model.apply, method="image_tokens"))(variables, images)
    inputs = np.array([[0, 0, 21], [21, 7, 9], [0, 21, 6]])
    mask = inputs > 0
    said = Generator(model, variables)(
        dict(inputs=inputs, mask=mask, context=context), Options(max_new_tokens=5)
    )
    text = np.concatenate([inputs, said.tokens[:, 0]], axis=1)
    real = np.concatenate([mask, np.ones((3, 5), bool)], axis=1)
    decode = jax.jit(functools.partial(model.apply, method="decode"))
    logits = decode(variables, text, real, context=context).logits
    np.testing.assert_array_equal(np.asarray(logits).argmax(-1)[:, 2:-1], said.tokens[:, 0])


def test_what_no_class_of_the_reference_has_is_refused():
    with pytest.raises(fields.Unsupported, match=r"share parameters: .*blip\.separated"):
        conversion.upstream(CONFIG)
    with pytest.raises(fields.Unsupported, match="Retrieval has both of the heads"):
        conversion.upstream(dataclasses.replace(CONFIG, texts="encoder", matching=False))
    answers = dict(texts="both", embedding=0, matching=False, scale_init=None)
    wide = dataclasses.replace(IMAGE, transformer=dataclasses.replace(BODY, width=32))
    with pytest.raises(fields.Unsupported, match="they are 32 and 16 wide"):
        conversion.upstream(dataclasses.replace(CONFIG, image=wide, **answers))
    with pytest.raises(fields.Unsupported, match="BlipModel"):
        conversion.config({"architectures": ["BlipModel"]})
    with pytest.raises(fields.Unsupported, match="is_decoder = False"):
        conversion.config({"text_config": {"is_decoder": False}})


def test_configs_that_contradict_themselves_are_refused():
    with pytest.raises(ConfigError, match="set embedding=0 and matching=False"):
        dataclasses.replace(CONFIG, texts="decoder")
    with pytest.raises(ConfigError, match="set scale_init=None"):
        dataclasses.replace(CONFIG, embedding=0)
    with pytest.raises(ConfigError, match="set text.norm to 'post'"):
        dataclasses.replace(CONFIG, text=BODY)


def test_a_part_that_a_checkpoint_lacks_is_named():
    images, ids, mask, _, _ = batch()
    for name, method, lack in (
        ("captions", "encode_text", "compares nothing"),
        ("retrieval", "embed", "writes no texts: it has texts='encoder'"),
    ):
        loaded = load.load(GOLDEN / name)
        call = functools.partial(loaded.model.apply, method=method)
        with pytest.raises(ConfigError, match=f"this BLIP {lack}"):
            jax.eval_shape(call, loaded.variables, ids)


def test_how_captions_begin(tmp_path):
    """[DEC] in the place of [CLS], no [SEP], padding on the left."""
    (tmp_path / "tokenizer.json").write_text(vocabularies.named("bert").json)
    config = conversion.config(UPSTREAM)
    assert (config.start_id, config.match_id, config.end_ids) == (30_522, 30_523, (102,))
    processor = conversion.processor(tmp_path, config)
    cat = processor(text="a cat")["ids"][0, 1:-1].tolist()
    prompt = processor.prompt(["a cat", ""])
    assert prompt["inputs"].tolist() == [[30_522, *cat], [0, 0, 30_522]]
    assert prompt["mask"].tolist() == [[True] * 3, [False, False, True]]
    assert processor.decode([30_522, *cat, 102, 0]) == "a cat"
    without = dataclasses.replace(processor, tokens=None)
    with pytest.raises(ConfigError, match="has no tokenizer: put its tokenizer.json or vocab.txt"):
        without.prompt([""])
    with pytest.raises(ConfigError, match="names no bos_token_id"):
        dataclasses.replace(processor, start_id=None).prompt([""])
