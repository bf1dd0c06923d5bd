"""Image and text checkpoints of other projects: tiny ones with what their own code computes.

tests/golden/make_checkpoints.py made them. Here: the same outputs to 1e-4, load -> save -> load bit
for bit, and the spellings of one checkpoint that are about (sharded, 16 bits, old names, Flax).
"""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmjax.conversion import load
from mmjax.layers.patches import Patches

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
        ({"qkv_bias": False}, "qkv_bias = False is not supported; True is"),
        ({"image_size": [20, 30]}, r"image_size = \[20, 30\] is not square"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "architectures = .*Masked"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=message):
            load.load(tmp_path)
