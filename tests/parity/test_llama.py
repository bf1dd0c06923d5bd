"""Llama, Qwen2, Gemma live against `transformers`, at odd shapes, padded on both sides, whole and
cached."""

import pytest
import text_checks

pytestmark = pytest.mark.parity

SIZES = dict(
    vocab_size=61,
    hidden_size=30,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=44,
    max_position_embeddings=40,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)


def rope(kind, **fields):
    return {"rope_parameters": dict(rope_type=kind, rope_theta=300.0, **fields)}


LLAMA3 = dict(
    factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)
ONE_HEAD = dict(num_attention_heads=1, num_key_value_heads=1)
CASES = {
    "llama_llama3": (
        "Llama",
        dict(num_key_value_heads=2, head_dim=10, eos_token_id=[2, 5], **rope("llama3", **LLAMA3)),
    ),
    "llama_linear_one_head_biases_tied": (
        "Llama",
        dict(ONE_HEAD, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
             hidden_act="gelu", rms_norm_eps=1e-3, **rope("linear", factor=2.5)),
    ),
    "llama_yarn": (
        "Llama",
        dict(num_key_value_heads=6, head_dim=8,
             **rope("yarn", factor=2.5, original_max_position_embeddings=16)),
    ),
    "qwen2_windows": (
        "Qwen2",
        dict(num_key_value_heads=3, head_dim=6, use_sliding_window=True, sliding_window=3,
             max_window_layers=1),
    ),
    "qwen2_one_key_tied": (
        "Qwen2",
        dict(num_key_value_heads=1, head_dim=4, tie_word_embeddings=True, hidden_act="relu"),
    ),
    "qwen2_one_head": ("Qwen2", ONE_HEAD),
    "gemma": ("Gemma", dict(num_key_value_heads=1, head_dim=16)),
    "gemma_one_head_biases": ("Gemma", dict(ONE_HEAD, head_dim=14, attention_bias=True)),
    "gemma_old_activation": (
        "Gemma", dict(num_key_value_heads=3, head_dim=2, hidden_act="gelu")
    ),
    "gemma2": (
        "Gemma2",
        dict(num_key_value_heads=2, head_dim=16, sliding_window=4, query_pre_attn_scalar=20,
             attn_logit_softcapping=2.0, final_logit_softcapping=1.5),
    ),
    "gemma2_one_head_no_caps": (
        "Gemma2",
        dict(ONE_HEAD, head_dim=12, sliding_window=2, attn_logit_softcapping=None,
             final_logit_softcapping=None),
    ),
    "gemma2_windows_everywhere": (
        "Gemma2",
        dict(num_key_value_heads=3, head_dim=8, sliding_window=3, tie_word_embeddings=False,
             layer_types=["sliding_attention"] * 3, hidden_activation="relu"),
    ),
}  # fmt: skip


CACHED = ("llama_llama3", "gemma2")  # the others: tests/test_conversion_llama.py


@pytest.mark.parametrize("case", CASES)
def test_parity(case, tmp_path):
    kind, fields = CASES[case]
    text_checks.decoder(f"{kind}ForCausalLM", {**SIZES, **fields}, 61, tmp_path, case in CACHED)
