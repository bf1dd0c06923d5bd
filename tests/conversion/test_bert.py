"""BERT and RoBERTa from golden checkpoints of the reference, and back."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import text_checks

import mmjax
from mmjax.conversion import bert, fields, files, load, table
from mmjax.models import bert as model

GOLDEN = Path(__file__).parents[1] / "golden" / "bert"


@pytest.mark.parametrize("name", ["bert", "masked", "roberta"])
def test_golden(name, tmp_path):
    loaded = load.load(GOLDEN / name)
    with np.load(GOLDEN / name / "outputs.npz") as said:
        expected = dict(said)
    ids, valid = expected.pop("ids"), expected.pop("valid")
    assert loaded.family == "bert" and ("pooled" in expected) == (name != "masked")
    text_checks.agree(text_checks.ours(loaded, ids, valid), expected, valid)
    load.save(loaded, tmp_path)
    again = load.load(tmp_path)
    assert again.config == loaded.config and text_checks.same(loaded, again)


def copy(tmp_path, change=None, tensors=None):
    """The golden checkpoint with another config or other tensors."""
    config = json.loads((GOLDEN / "bert" / "config.json").read_text()) | (change or {})
    (tmp_path / "config.json").write_text(json.dumps(config))
    files.save(tmp_path / "model.safetensors", tensors)
    return tmp_path


def test_other_spellings_of_names(tmp_path, capsys):
    """A prefix, gamma and beta, position ids and heads that stay behind."""
    plain = load.load(GOLDEN / "bert")
    tensors = files.safetensors(GOLDEN / "bert" / "model.safetensors")
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): np.array(one)
        for name, one in tensors.items()
    }
    old["bert.embeddings.position_ids"] = np.arange(20)[None]
    old["cls.predictions.bias"] = np.zeros(30, np.float32)
    assert "left out" not in capsys.readouterr().out
    assert text_checks.same(plain, load.load(copy(tmp_path, None, old)))
    said = capsys.readouterr().out
    assert said == f"note: {tmp_path}: left out, heads that are not here: cls.predictions.bias\n"
    extra = {**old, "bert.surprise.weight": np.zeros(3, np.float32)}
    with pytest.raises(table.CheckpointMismatch, match=r"extra +surprise\.weight"):
        load.load(copy(tmp_path, None, extra))


@pytest.mark.parametrize(
    "change",
    [dict(position_embedding_type="relative_key"), dict(is_decoder=True), dict(hidden_act="tanh")],
)
def test_other_mathematics_is_refused(change):
    ((key, value),) = change.items()
    with pytest.raises(fields.Unsupported, match=rf"{key} = {value!r} is not supported"):
        bert.config({"model_type": "bert", **change})


def test_old_releases_leave_defaults_out():
    assert bert.config({"model_type": "bert"}) == model.VARIANTS["B"]
    large = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16)
    assert bert.config({**large, "intermediate_size": 4096}) == model.VARIANTS["L"]


def test_sentence_embeddings_are_the_mean_of_real_tokens():
    loaded = load.load(GOLDEN / "bert")
    ids, valid = jnp.array([[3, 4, 5, 0], [3, 6, 7, 8]]), jnp.array([[1, 1, 1, 0], [1] * 4], bool)
    mean = loaded.model.apply(loaded.variables, ids, valid, method="encode_text")
    short = loaded.model.apply(loaded.variables, ids[:1, :3], method="encode_text")
    np.testing.assert_allclose(mean[:1], short, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(mean, axis=-1), 1, rtol=1e-6)
    # the same tensors serve a model that pools so
    pooled = model.Model(dataclasses.replace(loaded.config, pool="mean"))
    rest = {name: part for name, part in loaded.params.items() if name != "pooler"}
    out = pooled.apply({"params": rest}, ids, valid).pooled
    np.testing.assert_allclose(out / jnp.linalg.norm(out, axis=-1, keepdims=True), mean, atol=1e-6)


@pytest.mark.slow
def test_real_sentence_embeddings():
    """all-MiniLM-L6-v2, from text to cosine: known answers of the reference."""
    loaded = mmjax.load("minilm")
    texts = ["A lion.", "A big wild cat with a mane.", "A recipe for mince pies."]
    batch = jax.tree.map(jnp.asarray, loaded.processor(text=texts))
    found = loaded.model.apply(loaded.variables, batch["ids"], batch["mask"], method="encode_text")
    np.testing.assert_allclose(found[1:] @ found[0], [0.4656, 0.0522], atol=1e-3)
