"""Text and speech live against `transformers`, a row for each model at odd shapes: hidden states of
every layer and what the heads say, padded on both sides, whole and token by token; saved and opened
by the reference."""

import dataclasses

import family_checks
import family_reference
import jax.numpy as jnp
import numpy as np
import pytest
from family_reference import GPT2, LLAMA, LLAMA3, rope

from mmjax.conversion import load
from mmjax.models import wav2vec2

pytestmark = pytest.mark.parity

BERT = dict(
    vocab_size=61, hidden_size=30, num_hidden_layers=3, num_attention_heads=5,
    intermediate_size=44, max_position_embeddings=17,
)  # fmt: skip
ROBERTA = dict(BERT, pad_token_id=2, bos_token_id=0, eos_token_id=1, layer_norm_eps=1e-5)
CLASSES = dict(id2label={0: "a", 1: "b", 2: "c", 3: "d"})
ONE_HEAD = dict(num_attention_heads=1, num_key_value_heads=1)


# Case -> the reference's class and the fields of its config.
TEXT = {
    "bert": ("BertModel", BERT),
    "bert_one_head_relu": (
        "BertModel", dict(BERT, num_attention_heads=1, hidden_act="relu", type_vocab_size=3)
    ),
    "bert_words": ("BertForMaskedLM", dict(BERT, hidden_act="gelu_new")),
    "bert_words_untied": ("BertForMaskedLM", dict(BERT, tie_word_embeddings=False)),
    "bert_pretraining": ("BertForPreTraining", dict(BERT, pad_token_id=3)),
    "bert_next_sentence": ("BertForNextSentencePrediction", BERT),
    "bert_classes": ("BertForSequenceClassification", dict(BERT, **CLASSES)),
    "bert_token_classes": ("BertForTokenClassification", dict(BERT, num_labels=5)),
    "bert_choice": ("BertForMultipleChoice", BERT),
    "bert_answer": ("BertForQuestionAnswering", BERT),
    "roberta": ("RobertaModel", ROBERTA),
    "roberta_words": ("RobertaForMaskedLM", dict(ROBERTA, hidden_act="relu")),
    "roberta_words_untied": ("RobertaForMaskedLM", dict(ROBERTA, tie_word_embeddings=False)),
    "roberta_classes": ("RobertaForSequenceClassification", dict(ROBERTA, **CLASSES)),
    "roberta_token_classes": ("RobertaForTokenClassification", ROBERTA),
    "roberta_choice": ("RobertaForMultipleChoice", ROBERTA),
    "roberta_answer": ("RobertaForQuestionAnswering", ROBERTA),
    "gpt2_five_heads": ("GPT2LMHeadModel", dict(GPT2, n_head=5)),
    "gpt2_one_head_relu": (
        "GPT2LMHeadModel", dict(GPT2, n_head=1, activation_function="relu", n_inner=50)
    ),
    "gpt2_scaled_by_layer": (
        "GPT2LMHeadModel", dict(GPT2, n_head=3, scale_attn_by_inverse_layer_idx=True)
    ),
    "gpt2_own_head": (
        "GPT2LMHeadModel",
        dict(GPT2, n_head=3, tie_word_embeddings=False, layer_norm_epsilon=1e-3),
    ),
    "llama_llama3": (
        "LlamaForCausalLM",
        dict(LLAMA, num_key_value_heads=2, head_dim=10, eos_token_id=[2, 5],
             **rope("llama3", **LLAMA3)),
    ),
    "llama_linear_one_head_biases_tied": (
        "LlamaForCausalLM",
        dict(LLAMA, **ONE_HEAD, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
             hidden_act="gelu", rms_norm_eps=1e-3, **rope("linear", factor=2.5)),
    ),
    "llama_yarn": (
        "LlamaForCausalLM",
        dict(LLAMA, num_key_value_heads=6, head_dim=8,
             **rope("yarn", factor=2.5, original_max_position_embeddings=16)),
    ),
    "qwen2_windows": (
        "Qwen2ForCausalLM",
        dict(LLAMA, num_key_value_heads=3, head_dim=6, use_sliding_window=True, sliding_window=3,
             max_window_layers=1),
    ),
    "qwen2_one_key_tied": (
        "Qwen2ForCausalLM",
        dict(LLAMA, num_key_value_heads=1, head_dim=4, tie_word_embeddings=True,
             hidden_act="relu"),
    ),
    "qwen2_one_head": ("Qwen2ForCausalLM", dict(LLAMA, **ONE_HEAD)),
    "gemma": ("GemmaForCausalLM", dict(LLAMA, num_key_value_heads=1, head_dim=16)),
    "gemma_one_head_biases": (
        "GemmaForCausalLM", dict(LLAMA, **ONE_HEAD, head_dim=14, attention_bias=True)
    ),
    "gemma_old_activation": (
        "GemmaForCausalLM", dict(LLAMA, num_key_value_heads=3, head_dim=2, hidden_act="gelu")
    ),
    "gemma2": (
        "Gemma2ForCausalLM",
        dict(LLAMA, num_key_value_heads=2, head_dim=16, sliding_window=4,
             query_pre_attn_scalar=20, attn_logit_softcapping=2.0, final_logit_softcapping=1.5),
    ),
    "gemma2_one_head_no_caps": (
        "Gemma2ForCausalLM",
        dict(LLAMA, **ONE_HEAD, head_dim=12, sliding_window=2, attn_logit_softcapping=None,
             final_logit_softcapping=None),
    ),
    "gemma2_windows_everywhere": (
        "Gemma2ForCausalLM",
        dict(LLAMA, num_key_value_heads=3, head_dim=8, sliding_window=3,
             tie_word_embeddings=False, layer_types=["sliding_attention"] * 3,
             hidden_activation="relu"),
    ),
}  # fmt: skip
# Token by token too; the others: tests/conversion/test_families.py.
CACHED = ("gpt2_five_heads", "gpt2_scaled_by_layer", "llama_llama3", "gemma2")
# What the reference has and does not read, a bias and a counter: nothing is lost without it.
UNREAD = {
    "bert_words_untied": {"cls.predictions.bias"},
    "roberta_words_untied": {"lm_head.bias"},
    "hubert_batch_norm": {"encoder.pos_conv_embed.batch_norm.num_batches_tracked"},
}


@pytest.mark.parametrize("case", TEXT)
def test_text(case, tmp_path):
    name, fields = TEXT[case]
    reference = family_reference.build(name, **fields)
    ids, valid = family_reference.batch(61, 2 if case.startswith("roberta") else None)
    expected = family_reference.outputs(reference, ids, valid)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    found = family_checks.ours(loaded, ids, valid)
    family_checks.agree(found, expected, valid)
    if case in CACHED:
        family_checks.cached_is_full(loaded, ids, valid, found["logits"])
    load.save(loaded, tmp_path / "ours")
    opened = family_reference.opened(name, tmp_path / "ours", UNREAD.get(case, set()))
    again = family_reference.outputs(opened, ids, valid)
    assert again.keys() == expected.keys()
    for output, theirs in expected.items():
        np.testing.assert_allclose(again[output], theirs, atol=1e-5, rtol=0, err_msg=output)


SOUND = dict(conv_dim=[12, 10, 14], conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2])
STABLE = dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
WAVEFORMS = {
    "group": (
        "Wav2Vec2ForCTC",
        dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
             num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=3, vocab_size=17),
    ),
    "stable": (
        "Wav2Vec2Model",
        dict(STABLE, hidden_size=18, num_hidden_layers=2, num_attention_heads=1,
             intermediate_size=7, num_conv_pos_embeddings=7, num_conv_pos_embedding_groups=2,
             hidden_act="gelu_new", mask_time_prob=0.0),
    ),
    "adapter": (
        "Wav2Vec2Model",
        dict(STABLE, hidden_size=18, num_hidden_layers=2, num_attention_heads=3,
             intermediate_size=7, num_conv_pos_embeddings=6, num_conv_pos_embedding_groups=2,
             add_adapter=True, output_hidden_size=14, num_adapter_layers=2, layer_norm_eps=1e-3),
    ),
    "adapter_of_one_width": (
        "Wav2Vec2ForCTC",
        dict(hidden_size=24, num_hidden_layers=1, num_attention_heads=4, intermediate_size=40,
             num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=3, vocab_size=17,
             add_adapter=True, num_adapter_layers=1, adapter_stride=3, pad_token_id=5),
    ),
    "hubert": (
        "HubertForCTC",
        dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=8, intermediate_size=64,
             num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, hidden_act="relu",
             feat_extract_activation="relu", feat_proj_layer_norm=False, vocab_size=9),
    ),
    "hubert_stable": (
        "HubertModel",
        dict(STABLE, hidden_size=20, num_hidden_layers=2, num_attention_heads=5,
             intermediate_size=24, num_conv_pos_embeddings=6, num_conv_pos_embedding_groups=1),
    ),
    "hubert_batch_norm": (
        "HubertModel",
        dict(hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=24,
             num_conv_pos_embeddings=6, num_conv_pos_embedding_groups=2,
             conv_pos_batch_norm=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WAVEFORMS)
def test_waveforms(case, tmp_path):
    """With a mask and without one."""
    name, fields = WAVEFORMS[case]
    reference = family_reference.build(name, scale=0.05, **SOUND, **fields)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    samples, mask = family_reference.sound()
    front = dataclasses.replace(loaded.config, adapter=None)
    valid = np.asarray(wav2vec2.frame_mask(front, jnp.asarray(mask)))
    assert valid.sum(1).tolist() == [19, 12, 2]
    sounding = family_reference.sounding(reference, valid.shape[1], mask, adapter=False)
    np.testing.assert_array_equal(valid, sounding)
    for given in (mask, None):
        expected = family_reference.heard(reference, samples, given)
        found = family_checks.ours(loaded, samples, given)
        family_checks.agree(found, expected, None if given is None else valid)
    if loaded.config.adapter is not None:
        shorter = np.asarray(wav2vec2.frame_mask(loaded.config, jnp.asarray(mask)))
        assert shorter.shape == found["tokens"].shape[:2]
        sounding = family_reference.sounding(reference, shorter.shape[1], mask, adapter=True)
        np.testing.assert_array_equal(shorter, sounding)
    load.save(loaded, tmp_path / "ours")
    opened = family_reference.opened(name, tmp_path / "ours", UNREAD.get(case, set()))
    for given in (mask, None):
        again = family_reference.heard(opened, samples, given)
        expected = family_reference.heard(reference, samples, given)
        assert again.keys() == expected.keys()
        for output, theirs in expected.items():
            np.testing.assert_allclose(again[output], theirs, atol=1e-5, rtol=0, err_msg=output)


SMALL = dict(
    vocab_size=50, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    begin_suppress_tokens=None,
)  # fmt: skip
WHISPERS = {  # unequal widths and depths of the sides, one head, other activations, 128 bins
    "uneven": dict(
        d_model=24, encoder_layers=3, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=2, encoder_ffn_dim=40, decoder_ffn_dim=56,
        max_source_positions=21, max_target_positions=13, num_mel_bins=10,
    ),
    "one_head": dict(
        d_model=18, encoder_layers=1, decoder_layers=3, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=7, decoder_ffn_dim=30,
        max_source_positions=16, max_target_positions=12, num_mel_bins=128,
        activation_function="relu",
    ),
    "tanh": dict(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=8,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
        max_source_positions=25, max_target_positions=16, num_mel_bins=80,
        activation_function="gelu_new",
    ),
    "bare": dict(  # a WhisperModel: its names lack the first part
        d_model=24, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=2, encoder_ffn_dim=40, decoder_ffn_dim=56,
        max_source_positions=21, max_target_positions=13, num_mel_bins=10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WHISPERS)
def test_whispers(case, tmp_path):
    whole = "WhisperForConditionalGeneration"
    name = "WhisperModel" if case == "bare" else whole
    reference = family_reference.build(name, scale=0.05, **SMALL, **WHISPERS[case])
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    features, ids, mask = family_reference.frames(loaded.config.frames, loaded.config.bins)
    expected = family_reference.transcribed(reference, features, ids, mask)
    found = family_checks.ours(loaded, features, ids, mask)
    family_checks.agree(found, expected, mask)
    load.save(loaded, tmp_path / "ours")
    opened = family_reference.opened(whole, tmp_path / "ours")
    again = family_reference.transcribed(opened, features, ids, mask)
    for output, theirs in expected.items():
        np.testing.assert_allclose(again[output], theirs, atol=1e-6, rtol=0, err_msg=output)
