"""Spellings and heads of BERT and RoBERTa; what the reference says of them: test_families.py."""

import dataclasses
import functools
import json
from pathlib import Path

import family_checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax.conversion import bert, load
from mmjax.conversion.formats import files
from mmjax.conversion.mapping import fields, table
from mmjax.models import bert as model

GOLDEN = Path(__file__).parents[1] / "golden" / "bert"


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
    family_checks.same(plain.params, load.load(copy(tmp_path, None, old)).params)
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
    encode = jax.jit(functools.partial(loaded.model.apply, method="encode_text"))
    mean = encode(loaded.variables, ids, valid)
    short = encode(loaded.variables, ids[:1, :3])
    np.testing.assert_allclose(mean[:1], short, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(mean, axis=-1), 1, rtol=1e-6)
    # the same tensors serve a model that pools so
    pooled = model.Model(dataclasses.replace(loaded.config, pool="mean"))
    rest = {name: part for name, part in loaded.params.items() if name != "pooler"}
    out = jax.jit(pooled.apply)({"params": rest}, ids, valid).pooled
    np.testing.assert_allclose(out / jnp.linalg.norm(out, axis=-1, keepdims=True), mean, atol=1e-6)


def test_a_file_of_two_heads_is_read_for_the_one_that_its_config_names(tmp_path, capsys):
    """As bert-base-uncased: BertForMaskedLM with the tensors of BertForPreTraining."""
    pretraining = GOLDEN / "pretraining"
    tensors = dict(files.safetensors(pretraining / "model.safetensors"))
    decoder = np.array(tensors["bert.embeddings.word_embeddings.weight"])
    tensors["cls.predictions.decoder.weight"] = decoder
    files.save(tmp_path / "model.safetensors", tensors)
    config = json.loads((pretraining / "config.json").read_text())
    config["architectures"] = ["BertForMaskedLM"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load.load(tmp_path)
    assert loaded.config.head == "words" and "next_sentence" not in loaded.params
    left = "cls.seq_relationship.bias, cls.seq_relationship.weight"
    assert f"left out, heads that are not here: {left}\n" in capsys.readouterr().out


def test_heads_that_are_not_written():
    roberta = model.VARIANTS["RoBERTa-B"]
    with pytest.raises(fields.Unsupported, match="RoBERTa has no head 'pretraining'"):
        bert.upstream(dataclasses.replace(roberta, head="pretraining"))
    classes = dataclasses.replace(roberta, head="classes", labels=("yes", "no"), pool="mean")
    with pytest.raises(fields.Unsupported, match="head 'classes' with pool = 'mean'"):
        bert.upstream(classes)


def test_an_encoder_without_a_pooler_is_written_as_one():
    bare = dataclasses.replace(model.VARIANTS["tiny"], pool="first")
    written = bert.upstream(bare)
    assert written["architectures"] == ["BertModel"] and bert.config(written) == bare


def test_labels_belong_to_heads_of_classes():
    with pytest.raises(ValueError, match="head = 'answer' with labels"):
        model.Config(head="answer", labels=("a", "b"))
    with pytest.raises(ValueError, match="head = 'classes' with labels = ()"):
        model.Config(head="classes")
    named = dict(model_type="bert", architectures=["BertForSequenceClassification"])
    read = bert.config({**named, "id2label": {"1": "dog", "0": "cat", "10": "owl", "2": "cow"}})
    assert read.labels == ("cat", "dog", "cow", "owl")
    assert bert.config({**named, "num_labels": 3}).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.mark.slow
def test_real_sentence_embeddings():
    """all-MiniLM-L6-v2, from text to cosine: known answers of the reference."""
    loaded = mmjax.load("minilm")
    texts = ["A lion.", "A big wild cat with a mane.", "A recipe for mince pies."]
    batch = jax.tree.map(jnp.asarray, loaded.processor(text=texts))
    found = loaded.model.apply(loaded.variables, batch["ids"], batch["mask"], method="encode_text")
    np.testing.assert_allclose(found[1:] @ found[0], [0.4656, 0.0522], atol=1e-3)
