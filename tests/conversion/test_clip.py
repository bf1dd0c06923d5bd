"""Image and text checkpoints of other projects: tiny ones with what their own code computes.

tests/golden/make_checkpoints.py made them. Here: the same outputs to 1e-4, load -> save -> load bit
for bit, and the spellings of one checkpoint that are about (sharded, 16 bits, old names, Flax).
"""

import dataclasses
import functools
import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmjax.conversion import load, siglip
from mmjax.layers.patches import Patches
from tests.golden.make_sentencepiece import written

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
PAIRS = ("clip", "siglip", "siglip2", "open_clip_vit", "open_clip_rn", "flax_clip")
CLASSIFIERS = ("vit", "deit", "flax_vit")


@functools.cache
def opened(name):
    return load.load(GOLDEN / name)


@functools.cache
def expected(name):
    return dict(np.load(GOLDEN / name / "expected.npz"))


def same(a, b):
    return jax.tree.all(
        jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    )


def close(ours, theirs, tolerance=1e-4):
    np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", PAIRS)
def test_embeddings_are_those_of_the_reference(name):
    want, loaded = expected(name), opened(name)
    if name == "siglip2":
        images = Patches(*(jnp.asarray(want[key]) for key in ("values", "shapes", "valid")))
    else:
        images = want["images"]
    mask = want["mask"] if name.endswith("clip") else None
    image, words = jax.jit(loaded.model.apply)(loaded.variables, images, want["ids"], mask)
    close(image, want["image"])
    close(words, want["text"])
    if "logits" in want:
        scale, bias = loaded.model.apply(loaded.variables, method="scale_and_bias")
        close(scale * image @ words.T + (0 if bias is None else bias), want["logits"])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_are_those_of_the_reference(name):
    want, loaded = expected(name), opened(name)
    out = jax.jit(loaded.model.apply)(loaded.variables, want["images"])
    close(out.pooled if name == "vit" else out.logits, want["out"])
    if name == "flax_vit":
        return
    image = dataclasses.replace(loaded.config.image, any_size=True)
    model = type(loaded.model)(dataclasses.replace(loaded.config, image=image))
    out = jax.jit(model.apply)(loaded.variables, want["other"])
    close(out.pooled if name == "vit" else out.logits, want["other_out"])
    if name == "deit":
        assert loaded.config.labels == ("cat", "dog", "cow")
    with pytest.raises(ValueError, match="built for images of 20 x 20 x 3, got 20 x 26 x 3"):
        jax.eval_shape(loaded.model.apply, loaded.variables, want["other"])


@pytest.mark.parametrize("name", (*PAIRS, *CLASSIFIERS))
def test_saved_and_loaded_again_bit_for_bit(tmp_path, name):
    first = opened(name)
    load.save(first, tmp_path)
    again = load.load(tmp_path)
    assert (first.family, first.config) == (again.family, again.config)
    assert same(first.params, again.params)
    kept = [one for one in (GOLDEN / name).glob("*.safetensors")]
    for path in kept:  # and the tensors are those of the reference's own file
        theirs, ours = load_file(path), load_file(next(tmp_path.glob("*.safetensors")))
        theirs = {key: x for key, x in theirs.items() if "num_batches_tracked" not in key}
        assert set(theirs) == set(ours)
        assert all((theirs[key] == ours[key]).all() for key in theirs)


def test_the_flax_file_holds_what_the_safetensors_file_would(tmp_path):
    """Names and layouts by the general rule, nothing of one family."""
    load.save(opened("flax_clip"), tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert names == set(load_file(GOLDEN / "clip" / "model.safetensors"))


def clip_copy(folder, change):
    """The clip checkpoint with its tensors changed by a function."""
    folder.mkdir()
    shutil.copy(GOLDEN / "clip" / "config.json", folder)
    save_file(
        change(load_file(GOLDEN / "clip" / "model.safetensors")), folder / "model.safetensors"
    )
    return folder


def test_position_ids_of_old_files_are_left_aside(tmp_path):
    def older(tensors):
        ids = np.arange(8)[None]
        return {**tensors, "text_model.embeddings.position_ids": ids}

    loaded = load.load(clip_copy(tmp_path / "old", older))
    assert same(loaded.params, opened("clip").params)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_files_of_16_bits(tmp_path, kind):
    def half(tensors):
        return {key: x.astype(jnp.dtype(kind)) for key, x in tensors.items()}

    folder = clip_copy(tmp_path / kind, half)
    loaded = load.load(folder)
    assert {x.dtype for x in jax.tree.leaves(loaded.params)} == {jnp.dtype(kind)}
    load.save(loaded, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["dtype"] == kind
    assert same(load.load(tmp_path / "again").params, loaded.params)
    full = load.load(folder, dtype="float32").params
    rounded = lambda x: np.asarray(x).astype(jnp.dtype(kind)).astype(np.float32)  # noqa: E731
    assert same(full, jax.tree.map(rounded, opened("clip").params))


def test_sharded_files_and_other_spellings(tmp_path):
    def newer(name):  # as the layers are called in memory
        name = name.replace("encoder.layer.", "layers.")
        name = name.replace(".attention.attention.query.", ".attention.q_proj.")
        return "vit." + name.replace(".intermediate.dense.", ".mlp.fc1.")

    shutil.copy(GOLDEN / "vit" / "config.json", tmp_path)
    tensors = sorted(load_file(GOLDEN / "vit" / "model.safetensors").items())
    where = {}
    for number, start in enumerate(range(0, len(tensors), 10), 1):
        part = {newer(name): x for name, x in tensors[start : start + 10]}
        file = f"model-{number:05d}-of-00004.safetensors"
        save_file(part, tmp_path / file)
        where |= dict.fromkeys(part, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert same(load.load(tmp_path).params, opened("vit").params)


def test_fields_that_change_the_mathematics_are_refused(tmp_path):
    config = json.loads((GOLDEN / "vit" / "config.json").read_text())
    shutil.copy(GOLDEN / "vit" / "model.safetensors", tmp_path)
    for change, message in (
        ({"hidden_act": "mish"}, "hidden_act = 'mish' is not supported; gelu"),
        ({"image_size": [20, 30]}, r"image_size = \[20, 30\] is not square"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "architectures = .*Masked"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=message):
            load.load(tmp_path)


def test_a_vit_without_biases_of_queries_keys_and_values(tmp_path):
    """What the reference computes with biases of zero, and a file without them, both ways."""
    kept = load_file(GOLDEN / "vit" / "model.safetensors")
    lost = {name for name in kept if re.search(r"attention\.(query|key|value)\.bias", name)}
    zeros = {name: np.zeros_like(x) if name in lost else x for name, x in kept.items()}
    config = json.loads((GOLDEN / "vit" / "config.json").read_text())
    out = []
    for folder, tensors, bias in (
        (tmp_path / "zeros", zeros, True),
        (tmp_path / "without", {name: x for name, x in kept.items() if name not in lost}, False),
    ):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config, "qkv_bias": bias}))
        save_file(tensors, folder / "model.safetensors")
        loaded = load.load(folder)
        out.append(jax.jit(loaded.model.apply)(loaded.variables, expected("vit")["images"]).pooled)
    close(out[1], out[0], 1e-6)
    assert len(lost) == 6
    load.save(loaded, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["qkv_bias"] is False
    assert not lost & set(load_file(tmp_path / "again" / "model.safetensors"))
    again = load.load(tmp_path / "again")
    assert again.config == loaded.config and same(again.params, loaded.params)


@pytest.mark.parametrize("name", ["clip", "siglip", "open_clip_vit"])
def test_the_scale_of_a_checkpoint_is_not_limited(tmp_path, name):
    """Published SigLIP weights hold 117; their logits have that factor, and it may be trained."""
    first = opened(name)
    params = {**first.params, "log_scale": jnp.full_like(first.params["log_scale"], np.log(117))}
    load.save(dataclasses.replace(first, params=params), tmp_path)
    loaded = load.load(tmp_path)
    assert loaded.config.scale_max is None

    def scale(params):
        return loaded.model.apply({"params": params}, method="scale_and_bias")[0]

    value, gradient = jax.value_and_grad(scale)(loaded.params)
    np.testing.assert_allclose(value, 117, rtol=1e-6)
    np.testing.assert_allclose(gradient["log_scale"], 117, rtol=1e-6)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2"])
def test_special_ids_of_the_text_tower_are_kept(tmp_path, name):
    ids = {"pad_token_id": 1, "bos_token_id": 38, "eos_token_id": 39}  # make_checkpoints.py
    theirs = json.loads((GOLDEN / name / "config.json").read_text())["text_config"]
    assert {key: theirs[key] for key in ids} == ids
    load.save(opened(name), tmp_path)
    ours = json.loads((tmp_path / "config.json").read_text())["text_config"]
    assert {key: ours[key] for key in ids} == ids


def test_the_processor_of_siglip_hides_no_padding(tmp_path):
    folder = written(tmp_path / "siglip", "siglip_bare")
    config = opened("siglip").config
    processor = siglip.processor(folder, config)
    batch = processor(text=["a cat", "a dog and a cat"])
    length = config.text.context_length
    assert batch["ids"].shape == batch["mask"].shape == (2, length)
    assert batch["mask"].all() and (batch["ids"][0] == processor.tokens.pad).any()


@pytest.mark.parametrize("name", ["siglip", "siglip2"])
def test_a_mask_that_is_given_to_siglip_hides_padding(name):
    """tests/parity/test_clip.py compares it with the reference."""
    want, loaded = expected(name), opened(name)
    words = jax.jit(functools.partial(loaded.model.apply, method="encode_text"))
    ids = jnp.asarray(want["ids"])
    close(words(loaded.variables, ids), want["text"])
    close(words(loaded.variables, ids, jnp.ones_like(ids)), want["text"])  # the processor's
    hidden = words(loaded.variables, ids, jnp.asarray(want["mask"]))
    row = int(want["mask"].sum(1).argmin())
    assert np.abs(hidden[row] - want["text"][row]).max() > 1e-3
    close(hidden[1 - row], want["text"][1 - row])  # which has no padding
