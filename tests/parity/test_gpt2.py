"""GPT-2 live against `transformers`, at odd shapes, padded on both sides, whole and cached."""

import pytest
import text_checks

pytestmark = pytest.mark.parity

SIZES = dict(vocab_size=61, n_positions=23, n_embd=30, n_layer=3, bos_token_id=0, eos_token_id=0)
CASES = {
    "five_heads": dict(n_head=5),
    "one_head_relu": dict(n_head=1, activation_function="relu", n_inner=50),
    "own_head": dict(n_head=3, tie_word_embeddings=False, layer_norm_epsilon=1e-3),
}


@pytest.mark.parametrize("case", CASES)
def test_parity(case, tmp_path):
    text_checks.decoder(
        "GPT2LMHeadModel", {**SIZES, **CASES[case]}, 61, tmp_path, cached=case == "five_heads"
    )
