"""One tower on its own: those of the pairs under tests/golden compute what they do in the pair."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmjax import tree
from mmjax.conversion import load
from mmjax.conversion.mapping.table import CheckpointMismatch
from mmjax.layers.patches import Patches

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
TOWERS = {
    "CLIPVisionModelWithProjection": ("clip", "vision"),
    "CLIPVisionModel": ("clip", "vision"),
    "CLIPTextModelWithProjection": ("clip", "text"),
    "CLIPTextModel": ("clip", "text"),
    "SiglipVisionModel": ("siglip", "vision"),
    "SiglipTextModel": ("siglip", "text"),
    "Siglip2VisionModel": ("siglip2", "vision"),
    "Siglip2TextModel": ("siglip2", "text"),
}


def cut(folder, name, prefix=True):
    """A tower of a golden pair as a checkpoint; without the prefix, as later releases may write."""
    pair, part = TOWERS[name]
    whole = json.loads((GOLDEN / pair / "config.json").read_text())
    config = {**whole[f"{part}_config"], "architectures": [name]}
    own = [f"{part}_model."]
    if name.endswith("Projection"):
        config["projection_dim"] = whole["projection_dim"]
        own.append("visual_projection." if part == "vision" else "text_projection.")
    tensors = load_file(GOLDEN / pair / "model.safetensors")
    tensors = {key: x for key, x in tensors.items() if key.startswith(tuple(own))}
    if not prefix:
        tensors = {key.removeprefix(own[0]): x for key, x in tensors.items()}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def inputs(name):
    """What the tower is called with, and the unit vectors that it then has in the pair."""
    pair, part = TOWERS[name]
    want = dict(np.load(GOLDEN / pair / "expected.npz"))
    if part == "text":
        return (want["ids"], want["mask"] if pair == "clip" else None), want["text"]
    if pair == "siglip2":
        return (Patches(*(jnp.asarray(want[k]) for k in ("values", "shapes", "valid"))),), want[
            "image"
        ]
    return (want["images"],), want["image"]


@pytest.mark.parametrize("name", TOWERS)
def test_computes_what_it_does_in_the_pair(tmp_path, name):
    loaded = load.load(cut(tmp_path / "one", name))
    arguments, want = inputs(name)
    run = jax.jit(lambda *a: loaded.model.apply(*a, mutable=["intermediates"]))
    out, kept = run(loaded.variables, *arguments)
    pair, part = TOWERS[name]
    side = "image" if part == "vision" else "text"
    (hidden,) = kept["intermediates"][side]["transformer"]["hidden_states"]
    assert hidden.shape[1:] == out.tokens.shape
    pooled, whole = out.pooled, tree.flatten(load.load(GOLDEN / pair).params)
    if name in ("CLIPVisionModel", "CLIPTextModel"):
        pooled = pooled @ whole[f"{side}_head/kernel"]
    length = np.linalg.norm(pooled, axis=-1, keepdims=True)
    np.testing.assert_allclose(pooled / length, want, atol=1e-4)
    own = tree.flatten(loaded.params)
    assert own and all(np.array_equal(x, whole[path]) for path, x in own.items())


@pytest.mark.parametrize("name", TOWERS)
def test_saved_and_loaded_again_bit_for_bit(tmp_path, name):
    first = load.load(cut(tmp_path / "one", name, prefix=False))
    load.save(first, tmp_path / "two")
    again = load.load(tmp_path / "two")
    assert (first.family, first.config) == (again.family, again.config)
    assert jax.tree.all(jax.tree.map(np.array_equal, first.params, again.params))
    theirs = load_file(cut(tmp_path / "three", name) / "model.safetensors")
    ours = load_file(tmp_path / "two" / "model.safetensors")
    assert set(theirs) == set(ours)
    assert all(np.array_equal(theirs[key], ours[key]) for key in theirs)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["architectures"] == [name]


def test_its_processor_prepares_what_it_takes(tmp_path):
    folder = cut(tmp_path / "one", "CLIPVisionModelWithProjection")
    size = {"shortest_edge": 20}
    pixels = dict(image_processor_type="CLIPImageProcessor", size=size, crop_size=20)
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    loaded = load.load(folder)
    batch = loaded.processor(images=np.zeros((30, 40, 3), np.uint8))
    assert jax.jit(loaded.model.apply)(loaded.variables, **batch).pooled.shape == (1, 12)
    load.save(loaded, tmp_path / "two")
    assert load.load(tmp_path / "two").processor == loaded.processor


def test_another_towers_tensors_are_named(tmp_path):
    folder = cut(tmp_path / "one", "CLIPVisionModel")
    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"] = np.zeros((12, 24), np.float32)
    del tensors["vision_model.post_layernorm.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointMismatch) as error:
        load.load(folder)
    assert "missing   post_layernorm.bias" in str(error.value)
    assert "extra     visual_projection.weight" in str(error.value)
