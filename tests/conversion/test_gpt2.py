"""GPT-2's spellings of names and configs; what the reference says of it: test_families.py."""

import functools
from pathlib import Path

import family_checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.conversion import gpt2, load
from mmjax.conversion.formats import files
from mmjax.conversion.mapping import fields
from mmjax.models import gpt2 as model

GOLDEN = Path(__file__).parents[1] / "golden" / "gpt2" / "gpt2"


@pytest.fixture(scope="module")
def loaded():
    return load.load(GOLDEN)


def test_names_without_prefix_and_with_masks(loaded, tmp_path):
    tensors = files.safetensors(GOLDEN / "model.safetensors")
    bare = {name.removeprefix("transformer."): np.array(one) for name, one in tensors.items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 20, 20), np.uint8)
    bare["lm_head.weight"] = bare["wte.weight"]
    (tmp_path / "config.json").write_bytes((GOLDEN / "config.json").read_bytes())
    files.save(tmp_path / "model.safetensors", bare)
    family_checks.same(load.load(tmp_path).params, loaded.params)


def test_config():
    assert gpt2.config({"model_type": "gpt2"}).transformer == model.VARIANTS["small"].transformer
    scaled = gpt2.config({"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True})
    assert scaled.transformer.scale_by_layer and gpt2.config(gpt2.upstream(scaled)) == scaled
    with pytest.raises(fields.Unsupported, match="scale_attn_weights = False"):
        gpt2.config({"model_type": "gpt2", "scale_attn_weights": False})


def test_past_the_position_table_nothing_is_finite(loaded):
    ids = jnp.full((1, 20), 5)
    apply = functools.partial(loaded.model.apply, loaded.variables)
    prefill = jax.jit(functools.partial(apply, slots=24, method="prefill"))
    extend = jax.jit(functools.partial(apply, method="extend"))
    step = prefill(ids)
    assert bool(jnp.isfinite(step.logits).all())
    step = extend(ids[:, :1], step.cache)
    assert bool(jnp.isnan(step.logits).all())
