"""BERT and RoBERTa live against `transformers`, at odd shapes, padded on both sides."""

import pytest
import text_checks
import text_reference

from mmjax.conversion import load

pytestmark = pytest.mark.parity

SIZES = dict(
    vocab_size=61,
    hidden_size=30,
    num_hidden_layers=3,
    num_attention_heads=5,
    intermediate_size=44,
    max_position_embeddings=17,
)
CASES = {
    "bert": ("BertModel", SIZES),
    "bert_one_head_relu": (
        "BertModel",
        {**SIZES, "num_attention_heads": 1, "hidden_act": "relu", "type_vocab_size": 3},
    ),
    "bert_masked_words": ("BertForMaskedLM", {**SIZES, "hidden_act": "gelu_new"}),
    "roberta": ("RobertaModel", {**SIZES, "pad_token_id": 2, "layer_norm_eps": 1e-5}),
}


@pytest.mark.parametrize("case", CASES)
def test_parity(case, tmp_path):
    name, fields = CASES[case]
    reference = text_reference.build(name, **fields)
    ids, valid = text_reference.batch(61, 2 if case == "roberta" else None)
    expected = text_reference.outputs(reference, ids, valid)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    text_checks.agree(text_checks.ours(loaded, ids, valid), expected, valid)
    load.save(loaded, tmp_path / "ours")
    opened = text_reference.opened(name, tmp_path / "ours")
    if case == "bert_masked_words":  # the head stays behind; the encoder is the same
        expected = {"hidden": expected["hidden"]}
    text_checks.agree(text_reference.outputs(opened, ids, valid), expected, valid, 1e-5)
