"""GPT-2 from a golden checkpoint of the reference, and back; cached = full."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import text_checks

from mmjax.conversion import fields, files, gpt2, load
from mmjax.models import gpt2 as model

GOLDEN = Path(__file__).parents[1] / "golden" / "gpt2" / "gpt2"


@pytest.fixture(scope="module")
def loaded():
    return load.load(GOLDEN)


def test_golden_and_cached(loaded):
    with np.load(GOLDEN / "outputs.npz") as said:
        expected = dict(said)
    ids, valid = expected.pop("ids"), expected.pop("valid")
    found = text_checks.ours(loaded, ids, valid)
    text_checks.agree(found, expected, valid)
    text_checks.cached_is_full(loaded, ids, valid, found["logits"])


def test_saved_is_what_was_loaded(loaded, tmp_path):
    load.save(loaded, tmp_path)
    again = load.load(tmp_path)
    assert again.config == loaded.config and text_checks.same(loaded, again)
    assert loaded.config.end_ids == (2,) and loaded.config.padding_id == 0


def test_names_without_prefix_and_with_masks(loaded, tmp_path):
    tensors = files.safetensors(GOLDEN / "model.safetensors")
    bare = {name.removeprefix("transformer."): np.array(one) for name, one in tensors.items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 20, 20), np.uint8)
    bare["lm_head.weight"] = bare["wte.weight"]
    (tmp_path / "config.json").write_bytes((GOLDEN / "config.json").read_bytes())
    files.save(tmp_path / "model.safetensors", bare)
    assert text_checks.same(loaded, load.load(tmp_path))


def test_config():
    assert gpt2.config({"model_type": "gpt2"}).transformer == model.VARIANTS["small"].transformer
    scaled = gpt2.config({"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True})
    assert scaled.transformer.scale_by_layer and gpt2.config(gpt2.upstream(scaled)) == scaled
    with pytest.raises(fields.Unsupported, match="scale_attn_weights = False"):
        gpt2.config({"model_type": "gpt2", "scale_attn_weights": False})


def test_past_the_position_table_nothing_is_finite(loaded):
    ids = jnp.full((1, 20), 5)
    step = loaded.model.apply(loaded.variables, ids, slots=24, method="prefill")
    assert bool(jnp.isfinite(step.logits).all())
    step = loaded.model.apply(loaded.variables, ids[:, :1], step.cache, method="extend")
    assert bool(jnp.isnan(step.logits).all())
