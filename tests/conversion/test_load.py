"""Where a checkpoint comes from and lies, and what is said of one that cannot be opened."""

import json
import pickle
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mmjax
from mmjax.conversion import families, load
from mmjax.conversion.formats import hub
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.conversion.mapping.table import CheckpointMismatch
from mmjax.training import sharding

CLIP = Path(__file__).parents[1] / "golden" / "checkpoints" / "clip"


def test_public_face(tmp_path):
    """Onto a mesh, saved from it, and the file itself is opened."""
    mesh = sharding.make_mesh(sharding.Config(fsdp=4, tensor=1))
    loaded = mmjax.load(CLIP, dtype="bfloat16", mesh=mesh)
    kernel = loaded.params["image"]["transformer"]["blocks"]["mlp"]["up"]["kernel"]
    assert kernel.shape == (2, 24, 40) and kernel.dtype == "bfloat16"
    assert kernel.addressable_shards[0].data.shape == (2, 6, 40)
    mmjax.save(loaded, tmp_path / "new" / "folder")
    again = mmjax.load(tmp_path / "new" / "folder" / "model.safetensors")
    assert again.family == "clip" and again.processor is None
    assert jax.tree.all(
        jax.tree.map(lambda a, b: np.array_equal(a, b), loaded.params, again.params)
    )


def test_a_wrong_file_names_every_tensor_and_the_family(tmp_path):
    shutil.copy(CLIP / "config.json", tmp_path)
    tensors = load_file(CLIP / "model.safetensors")
    del tensors["logit_scale"]
    tensors["text_model.head.bias"] = np.zeros(3, np.float32)
    tensors["text_projection.weight"] = np.zeros((12, 17), np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointMismatch) as error:
        load.load(tmp_path)
    for part in (
        "model_type = 'clip', architectures = ['CLIPModel'], so it was read as",
        "missing   logit_scale",
        "extra     text_model.head.bias",
        "misshapen text_projection.weight: needs (12, 16), found (12, 17)",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "spiece.model"])
def test_what_a_clone_without_git_lfs_leaves(name, tmp_path):
    shutil.copytree(CLIP, tmp_path, dirs_exist_ok=True)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 437964\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(CheckpointFileError, match=f"Git LFS pointer: {name}. `git lfs pull`"):
        load.load(tmp_path)


def test_pickles_are_refused_with_the_reason(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    shutil.copy(CLIP / "config.json", tmp_path)
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickle.dumps(Trap()))
    for where in (tmp_path, path):
        with pytest.raises(CheckpointFileError, match="pytorch_model.bin.*runs whatever code"):
            load.load(where)


def test_folders_that_are_no_checkpoints(tmp_path):
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(CheckpointFileError, match="holds no checkpoint.*It holds notes.md"):
        load.load(tmp_path)
    shutil.copy(CLIP / "model.safetensors", tmp_path)
    config = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointFileError, match="model_type = 'mamba'.*Taken are: .*clip"):
        load.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointFileError, match="config.json is not JSON"):
        load.load(tmp_path)


def test_a_pipeline_names_its_models(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    for name in ("vae", "unet", "scheduler"):
        (tmp_path / name).mkdir()
    for name in ("vae", "unet"):
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(CheckpointFileError, match="a pipeline of diffusers.*: unet, vae$"):
        load.load(tmp_path)


def test_the_first_releases_wrote_no_model_type(tmp_path):
    assert families.reads({"architectures": ["CLIPModel"]}).name == "clip"
    assert families.reads({"model_type": "deit"}).name == "vit"
    assert families.reads({"model_type": "siglip2"}).name == "siglip"


NAMES = ["config.json", "model.safetensors", "pytorch_model.bin", "flax_model.msgpack", "a.onnx"]


@pytest.mark.parametrize(
    "names, chosen",
    [
        (NAMES, ["config.json", "model.safetensors"]),
        (["config.json", "flax_model.msgpack"], ["config.json", "flax_model.msgpack"]),
        (
            ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"],
            ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"],
        ),
        (
            ["config.json", "open_clip_config.json", "open_clip_model.safetensors"],
            ["open_clip_config.json", "open_clip_model.safetensors"],
        ),
        (
            ["config.json", "diffusion_pytorch_model.safetensors"],
            ["config.json", "diffusion_pytorch_model.safetensors"],
        ),
        (["config.json", "pytorch_model.bin"], []),
    ],
)
def test_which_file_is_read(names, chosen):
    assert hub.weights(names) == chosen
