"""wav2vec 2.0 and HuBERT: old names, padding, sizes; what the reference says: test_families.py."""

import dataclasses
import shutil
from pathlib import Path

import family_checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax import tree
from mmjax.conversion import hubert, wav2vec2
from mmjax.conversion import load as checkpoints
from mmjax.conversion.formats import files
from mmjax.conversion.mapping import fields, table
from mmjax.models import wav2vec2 as models

GOLDEN = Path(__file__).parents[1] / "golden" / "wav2vec2"
NAMES = ("group", "stable")


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    return request.param, checkpoints.load(GOLDEN / request.param)


def test_old_names_of_weight_norm(case, tmp_path):
    """weight_g and weight_v, and a base model's names without a prefix."""
    name, loaded = case
    old = {}
    for key, tensor in files.safetensors(GOLDEN / name / "model.safetensors").items():
        for before, now in wav2vec2.OLD.items():
            key = key.replace(now, before)
        if name == "stable":
            key = key.removeprefix("hubert.")
        old[key] = np.array(tensor)
    assert any(key.endswith("conv.weight_g") for key in old)
    shutil.copy(GOLDEN / name / "config.json", tmp_path)
    files.save(tmp_path / "model.safetensors", old)
    family_checks.same(checkpoints.load(tmp_path).params, loaded.params)


def test_padding_is_not_heard():
    loaded = checkpoints.load(GOLDEN / "stable")
    samples = jax.random.normal(jax.random.key(0), (1, 203))
    apply = jax.jit(loaded.model.apply)
    mask = jnp.arange(203)[None] < 120
    one = apply(loaded.variables, samples, mask).tokens
    other = apply(loaded.variables, jnp.where(mask, samples, 7.0), mask).tokens
    alone = apply(loaded.variables, samples[:, :120], mask[:, :120]).tokens
    np.testing.assert_allclose(one[:, : alone.shape[1]], alone, atol=2e-6)
    np.testing.assert_allclose(other[:, : alone.shape[1]], alone, atol=2e-6)


@pytest.mark.parametrize(
    "module, field, value",
    [
        (hubert, "add_adapter", True),
        (wav2vec2, "conv_pos_batch_norm", True),
        (wav2vec2, "adapter_attn_dim", 16),
        (wav2vec2, "hidden_act", "mish"),
        (wav2vec2, "feat_extract_norm", "batch"),
        (wav2vec2, "architectures", ["Wav2Vec2ForXVector"]),
    ],
)
def test_what_is_refused(module, field, value):
    with pytest.raises(fields.Unsupported, match=field):
        module.config({field: value})


def test_what_only_one_of_both_has_is_not_written():
    config = models.VARIANTS["base"]
    with pytest.raises(fields.Unsupported, match="HuBERT has no adapter"):
        hubert.upstream(dataclasses.replace(config, adapter=models.Adapter()))
    with pytest.raises(fields.Unsupported, match="wav2vec 2.0 has no batch norm"):
        wav2vec2.upstream(dataclasses.replace(config, position_norm="batch"))


def test_frames_behind_an_adapter():
    config = dataclasses.replace(models.VARIANTS["base"], adapter=models.Adapter())
    shapes = jax.eval_shape(
        lambda samples: models.Model(config).init_with_output(jax.random.key(0), samples)[0],
        jax.ShapeDtypeStruct((1, 16_000), jnp.float32),
    )
    assert models.frames(config, 16_000) == 7  # of 49
    assert shapes.tokens.shape == (1, 7, 1024)


@pytest.mark.parametrize(
    "module, variant, count",
    [(wav2vec2, "base", 94_370_944), (hubert, "large-lv60", 315_437_696)],
)
def test_published_sizes(module, variant, count):
    """The reference's count less the vector for masked frames."""
    config = models.VARIANTS[variant]
    boxed = jax.eval_shape(module.model(config).init, jax.random.key(0), *module.inputs(config))
    assert sum(leaf.size for leaf in jax.tree.leaves(boxed)) == count
    shapes = tree.flatten(unbox(boxed["params"]))
    fresh = module.config(module.upstream(config))
    assert fresh == config
    rows = module.table(config)
    assert {row.path for row in rows} == set(shapes)
    needed = {name for row in rows for name in row.names}
    with pytest.raises(table.CheckpointMismatch, match=f"0 tensors match, {len(needed)} missing"):
        table.check(rows, {}, shapes)


def test_too_short_a_clip():
    config = models.VARIANTS["base"]
    assert models.frames(config, 400) == 1 and models.frames(config, 399) == 0
    module = models.Model(config)
    with pytest.raises(ValueError, match="399 samples are too few for one frame"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 399)))
