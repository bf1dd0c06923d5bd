"""wav2vec 2.0 and HuBERT of the hub: loaded, compared with the reference, written back."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax import tree
from mmjax.conversion import fields, files, hubert, table, wav2vec2
from mmjax.conversion import load as checkpoints
from mmjax.models import wav2vec2 as models

GOLDEN = Path(__file__).parents[1] / "golden" / "wav2vec2"
NAMES = ("group", "stable")


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    loaded = checkpoints.load(GOLDEN / request.param)
    with np.load(GOLDEN / request.param / "outputs.npz") as found:
        return request.param, loaded, {name: found[name] for name in found.files}


def same(one, other):
    one, other = tree.flatten(one), tree.flatten(other)
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path], err_msg=path)


def test_what_the_reference_says(case):
    """From the sound on: the extractor's samples, and what the model makes of them."""
    name, loaded, golden = case
    inputs = loaded.processor([golden["clip_0"], golden["clip_1"]])
    np.testing.assert_allclose(inputs.samples, golden["samples"], atol=1e-6)
    assert (inputs.mask is not None) == (name == "stable")
    arguments = [jnp.asarray(one) for one in inputs if one is not None]
    out = jax.jit(loaded.model.apply)(loaded.variables, *arguments)
    got, want = np.asarray(out.logits if name == "group" else out.tokens), golden["said"]
    if inputs.mask is not None:
        valid = np.asarray(models.frame_mask(loaded.config, jnp.asarray(inputs.mask)))
        assert valid.sum(1).tolist() == [9, 4]
        got, want = got[valid], want[valid]
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_load_save_load_is_exact(case, tmp_path):
    name, loaded, _ = case
    assert loaded.family == ("hubert" if name == "stable" else "wav2vec2")
    checkpoints.save(loaded, tmp_path)
    again = checkpoints.load(tmp_path)
    same(again.params, loaded.params)
    assert again.config == loaded.config
    assert (again.processor.mask, again.processor.normalize) == (name == "stable", True)
    if name == "group":
        assert again.processor.tokenizer.vocab == loaded.processor.tokenizer.vocab


def test_old_names_of_weight_norm(case, tmp_path):
    """weight_g and weight_v, and a base model's names without a prefix."""
    name, loaded, _ = case
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
    same(checkpoints.load(tmp_path).params, loaded.params)


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
    "field, value",
    [
        ("add_adapter", True),
        ("adapter_attn_dim", 16),
        ("hidden_act", "mish"),
        ("feat_extract_norm", "batch"),
        ("architectures", ["Wav2Vec2ForXVector"]),
    ],
)
def test_what_is_refused(field, value):
    with pytest.raises(fields.Unsupported, match=field):
        wav2vec2.config({field: value})
    with pytest.raises(fields.Unsupported, match="conv_pos_batch_norm"):
        hubert.config({"conv_pos_batch_norm": True})


@pytest.mark.parametrize(
    "module, variant, count",
    [(wav2vec2, "base", 94_370_944), (hubert, "large-lv60", 315_437_696)],
)
def test_published_sizes(module, variant, count):
    """The reference's count less the vector for masked frames."""
    config = models.VARIANTS[variant]
    boxed = jax.eval_shape(module.model(config).init, jax.random.key(0), *module.inputs(config))
    assert sum(leaf.size for leaf in jax.tree.leaves(boxed)) == count
    shapes = tree.flatten(_plain(boxed["params"]))
    fresh = module.config(module.upstream(config))
    assert fresh == config
    rows = module.table(config)
    assert {row.path for row in rows} == set(shapes)
    needed = {name for row in rows for name in row.names}
    with pytest.raises(table.CheckpointMismatch, match=f"0 tensors match, {len(needed)} missing"):
        table.check(rows, {}, shapes)


def _plain(boxed):
    from flax.linen import unbox

    return unbox(boxed)


def test_too_short_a_clip():
    config = models.VARIANTS["base"]
    assert models.frames(config, 400) == 1 and models.frames(config, 399) == 0
    module = models.Model(config)
    with pytest.raises(ValueError, match="399 samples are too few for one frame"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 399)))
