"""mmjax's own format: every model has it, what is written is read bit for bit, nothing is run."""

import dataclasses
import json
import shutil
import types
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import mmjax
from mmjax import models, registry, tree
from mmjax.commands import export
from mmjax.config import ConfigError
from mmjax.conversion import load, native
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.conversion.mapping.table import CheckpointMismatch
from mmjax.data.source import CorruptExample
from mmjax.datasets import bundled, emoji
from mmjax.errors import UserError
from mmjax.layers.adapters import Adapted, Rule
from mmjax.models import bert, clip, text
from mmjax.processors import image_text, vocabularies
from mmjax.run.restore import Restored
from mmjax.tokenizers import bpe, words

CLIP = Path(__file__).parents[1] / "golden" / "checkpoints" / "clip"


def saved(folder, params=None, processor=None):
    """The golden CLIP in mmjax's own format."""
    loaded = mmjax.load(CLIP)
    params = loaded.params if params is None else params
    mmjax.save(load.Loaded("native", loaded.model, params, processor, loaded.config), folder)
    return loaded


def equal(one, other):
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), one, other))


def test_every_model_has_it():
    """A model is opened for stating `inputs`; there is no list of models."""
    for name in registry.names(models.__name__):
        module = registry.find(models.__name__, name)
        config = module.Config()
        assert native.name(config) == name
        made = jax.eval_shape(module.Model(config).init, jax.random.key(0), *module.inputs(config))
        assert len(native.table(config)) == len(tree.flatten(nn.unbox(made["params"]))) > 3


@pytest.mark.parametrize("name", ["text", "vit", "resnet", "image_classifier", "bagged"])
def test_tables_without_computing(name):
    module = registry.find(models.__name__, name)
    config = next(iter(module.VARIANTS.values()))
    written = json.loads(json.dumps(native.upstream(config)))
    assert native.config(written) == config
    paths = [entry.path for entry in native.table(config)]
    assert len(paths) == len(set(paths)) > 3
    assert native.model(config).config == config


def test_saved_and_loaded_bit_for_bit(tmp_path):
    before = saved(tmp_path)
    again = mmjax.load(tmp_path)
    assert (again.family, again.processor, again.config) == ("native", None, before.config)
    assert equal(before.params, again.params)
    assert "image/transformer/blocks/mlp/up/kernel" in load_file(tmp_path / "model.safetensors")
    mmjax.save(again, tmp_path / "again")
    files = [
        (folder / "model.safetensors").read_bytes() for folder in (tmp_path, tmp_path / "again")
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("size", ["RN50-quickgelu", "SigLIP-B/16"])
def test_a_pair_of_any_towers_comes_back_as_itself(size):
    config = clip.VARIANTS[size]
    with_bert = dataclasses.replace(config, text=bert.VARIANTS["MiniLM-L6"])
    for one in (config, with_bert, dataclasses.replace(config, image=None)):
        written = json.loads(json.dumps(native.upstream(one)))
        assert native.config(written) == one


def test_halves_are_read_as_float32(tmp_path):
    halves = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), mmjax.load(CLIP).params)
    saved(tmp_path, halves)
    for dtype, expected in ((None, jnp.float32), ("bfloat16", jnp.bfloat16)):
        found = tree.flatten(mmjax.load(tmp_path, dtype=dtype).params)
        assert {leaf.dtype for leaf in found.values()} == {jnp.dtype(expected)}
    again = mmjax.load(tmp_path).params
    assert equal(again, jax.tree.map(lambda leaf: leaf.astype(np.float32), halves))


def test_a_file_names_models_of_mmjax_alone(tmp_path):
    saved(tmp_path)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    for change, error, message in (
        ({"model": "os.path"}, CheckpointFileError, "os.path is no part of mmjax.models"),
        ({"model": None}, CheckpointFileError, "there is no 'None' in mmjax.models"),
        ({"config": {"sizes": 3}}, ConfigError, "config.json: config.sizes"),
        ({"processor": {"name": "os"}}, ConfigError, "processor.name: there is no .os. in"),
        (
            {"config": {**written["config"], "embedding": 3}},
            CheckpointMismatch,
            "image_head/kernel",
        ),
    ):
        path.write_text(json.dumps({**written, **change}))
        with pytest.raises(error, match=message):
            mmjax.load(tmp_path)


@pytest.mark.parametrize("change, message", [
    ({"heads": 0}, "transformer.heads = 0"), ({"width": -16}, "transformer.width = -16"),
    ({"layers": 2**40}, "transformer.layers = 1099511627776"),
])  # fmt: skip
def test_sizes_that_no_model_has_are_refused(tmp_path, change, message):
    saved(tmp_path)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    written["config"]["image"]["transformer"].update(change)
    path.write_text(json.dumps(written))
    with pytest.raises(ConfigError, match=f"config.json: .*{message} .*is not int from"):
        mmjax.load(tmp_path)


@pytest.mark.parametrize("change", [
    dict(num_attention_heads=0), dict(patch_size=0), dict(hidden_size="wide"), dict(image_size=-3),
    dict(num_hidden_layers=-1), dict(num_attention_heads=None), dict(num_channels=2**40),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("tower", ["vision_config", "text_config"])
def test_a_config_of_others_that_no_model_has_is_refused(tmp_path, change, tower):
    shutil.copytree(CLIP, tmp_path / "clip")
    path = tmp_path / "clip" / "config.json"
    written = json.loads(path.read_text())
    known = [name for name in change if name in written[tower]]
    written[tower].update(change)
    path.write_text(json.dumps(written))
    if not known:  # a text has no pixels
        mmjax.load(tmp_path / "clip")
        return
    with pytest.raises(UserError, match="config.json"):
        mmjax.load(tmp_path / "clip")
    path.write_text(json.dumps(written)[:-100])
    with pytest.raises(CheckpointFileError, match="config.json is not JSON"):
        mmjax.load(tmp_path / "clip")


def test_an_export_that_changed_is_named(tmp_path):
    """One bit of one of its tensors; the package's own weights have a hash of each file."""
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointFileError, match="is damaged: 1 of [0-9]+ tensors are not what"):
        mmjax.load(tmp_path)


def test_lora_is_merged_and_a_bottleneck_refused(tmp_path, monkeypatch, processor):
    loaded = mmjax.load(CLIP)

    def restored(kind):
        rules = (Rule(".*/attention/query|text_head", kind=kind, rank=2),)
        model = Adapted(loaded.model, rules)
        shapes = jax.eval_shape(model.init, jax.random.key(0), *native.inputs(loaded.config))
        rng = np.random.default_rng(0)  # the update is not zero, as it is at the start
        params = jax.tree.map(
            lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32),
            nn.unbox(shapes["params"]),
        )
        part = types.SimpleNamespace(processor=inner)
        task = types.SimpleNamespace(training_state=("queue",))  # which an export leaves out
        run = types.SimpleNamespace(
            part=lambda *unused: part, model=model, task=task, workdir="run"
        )
        made = object.__new__(Restored)  # of a run that has nothing else
        variables = {"params": params, "state": {"queue": {"image": np.ones(3)}}}
        for name, value in dict(run=run, variables=variables).items():
            object.__setattr__(made, name, value)
        return made

    inner = image_text.Processor(processor.config, processor.tokenizer)
    run = restored("lora")
    monkeypatch.setattr(export, "restore", lambda *unused: run)
    export.export("run", tmp_path / "model")
    merged = mmjax.load(tmp_path / "model")
    example = native_inputs(loaded.config)
    plain = jax.jit(merged.model.apply)(merged.variables, *example)
    adapted = jax.jit(run.model.apply)({"params": run.params}, *example)
    for one, other in zip(plain, adapted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    monkeypatch.setattr(export, "restore", lambda *unused: restored("bottleneck"))
    with pytest.raises(ConfigError, match="cannot be merged"):
        export.export("run", tmp_path / "other")


def native_inputs(config):
    """Ones of the shapes that the model is initialised with."""
    return [jnp.ones(one.shape, one.dtype) for one in native.inputs(config)]


@pytest.fixture(scope="module")
def processor():
    config = image_text.Config(image_size=24, max_length=9, vocab_size=300)
    return image_text.Processor(config, bpe.train(["a cat", "a dog", "a dog and a cat"], 300))


def test_the_processor_prepares_as_the_run_did(tmp_path, processor):
    saved(tmp_path, processor=processor)
    found = mmjax.load(tmp_path).processor
    assert found.config == processor.config
    assert found.tokenizer.fingerprint == processor.tokenizer.fingerprint
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    shown = (pixels, Image.fromarray(pixels), tmp_path / "a.png", (tmp_path / "a.png").read_bytes())
    batch = found(images=shown, text=["a cat", "a dog and a cat and more than there is room for"])
    assert batch["images"].shape == (4, 24, 24, 3) and batch["images"].dtype == np.float32
    assert (batch["images"] == batch["images"][:1]).all()
    assert batch["ids"].shape == batch["mask"].shape == (2, 9)
    assert batch["mask"].sum(1).tolist()[1] == 9 and not batch["mask"][0, -1]
    inner = image_text.Processor(processor.config, processor.tokenizer)
    example = {"image": pixels, "text": "a cat"}
    for transform in inner.evaluate:
        example = transform(example, np.random.default_rng(0))
    np.testing.assert_array_equal(batch["images"][0], example["image"])
    np.testing.assert_array_equal(batch["ids"][0][batch["mask"][0]], example["text"])
    assert found(text="a cat")["ids"].tolist() == batch["ids"][:1].tolist()


def test_a_tokenizer_that_mends_texts_comes_back_as_itself(tmp_path, processor):
    config = dataclasses.replace(processor.config, tokenizer="open_clip")
    saved(tmp_path, processor=image_text.Processor(config, vocabularies.load("open_clip")))
    found = mmjax.load(tmp_path).processor
    assert found.tokenizer.fingerprint == vocabularies.load("open_clip").fingerprint


def test_a_text_of_unknown_words_is_refused():
    known = words.train(["a red fox"], 100)
    found = image_text.Processor(image_text.Config(max_length=6, tokenizer="words"), known)
    assert found(text=["a blue fox", "red"])["mask"].sum(1).tolist() == [4, 3]
    with pytest.raises(CorruptExample, match="'blue owl' holds no word that the tokenizer knows"):
        found(text=["a fox", "blue owl"])


def test_the_emoji_clip_in_the_package():
    record = bundled.provenance("emoji_clip")
    assert record["result"]["unseen_style/image_to_text/r1"] > 0.5
    assert record["made_with"]["model"]["name"] == "clip"
    loaded = mmjax.load("emoji_clip")
    assert isinstance(loaded.config, clip.Config) and isinstance(loaded.config.text, text.Config)
    batch = loaded.processor(
        images=[np.full((50, 40, 3), 255, np.uint8)] * 2, text=["a cat", "a cat"]
    )
    images, texts = jax.jit(loaded.model.apply)(loaded.variables, **batch)
    assert images.shape == texts.shape == (2, loaded.config.embedding)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    dtypes = {leaf.dtype for leaf in tree.flatten(loaded.params).values()}
    assert dtypes == {jnp.dtype("float32")}
    assert loaded.config.image.transformer.dtype == "float32"  # the same everywhere


def test_the_emoji_clip_keeps_its_numbers():
    """As halves, and in float32: what the run measured, to two of 185 drawings."""
    loaded, source = mmjax.load("emoji_clip"), emoji.open(emoji.Config("test/unseen_style"))
    rows = [source[number] for number in range(len(source))]
    batch = loaded.processor([row["image"] for row in rows], [row["text"] for row in rows])
    images, texts = jax.jit(loaded.model.apply)(loaded.variables, **batch)
    found = (images @ texts.T).argmax(1) == np.arange(len(rows))
    expected = bundled.provenance("emoji_clip")["result"]["unseen_style/image_to_text/r1"]
    assert float(found.mean()) == pytest.approx(expected, abs=2.5 / 185)
