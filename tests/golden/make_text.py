"""Makes tests/golden/{bert,gpt2,llama}: tiny random checkpoints of `transformers`, what they say.

    python tests/golden/make_text.py [bert/masked ...]      # needs torch and transformers 5

With names: those alone.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import family_reference  # noqa: E402

SIZES = dict(
    vocab_size=30,
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=20,
)
IDS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
LABELS = dict(id2label={0: "cat", 1: "dog", 2: "cow"}, label2id={"cat": 0, "dog": 1, "cow": 2})
ROPE = dict(
    rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)  # fmt: skip
CASES = {
    "bert/bert": ("BertModel", SIZES),
    # files of a model with a head have a prefix, and no pooler here
    "bert/masked": ("BertForMaskedLM", {**SIZES, "hidden_act": "relu"}),
    "bert/pretraining": ("BertForPreTraining", {**SIZES, "type_vocab_size": 3}),
    "bert/tokens": ("BertForTokenClassification", {**SIZES, **LABELS}),
    "bert/answer": ("BertForQuestionAnswering", {**SIZES, "pad_token_id": 4}),
    "bert/roberta": ("RobertaModel", {**SIZES, "type_vocab_size": 1}),
    "bert/roberta_masked": ("RobertaForMaskedLM", {**SIZES, "hidden_act": "relu"}),
    "bert/roberta_classes": ("RobertaForSequenceClassification", {**SIZES, **LABELS}),
    "gpt2/gpt2": (
        "GPT2LMHeadModel",
        dict(vocab_size=30, n_positions=20, n_embd=12, n_layer=2, n_head=3, n_inner=20, **IDS),
    ),
    "llama/llama": (
        "LlamaForCausalLM",
        {**SIZES, **IDS, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
         "hidden_size": 12, "rope_parameters": ROPE},
    ),
    "llama/qwen2": (
        "Qwen2ForCausalLM",
        {**SIZES, **IDS, "num_key_value_heads": 1, "use_sliding_window": True,
         "sliding_window": 3, "max_window_layers": 1, "tie_word_embeddings": True},
    ),
    "llama/gemma": ("GemmaForCausalLM", {**SIZES, **IDS, "num_key_value_heads": 1, "head_dim": 8}),
    "llama/gemma2": (
        "Gemma2ForCausalLM",
        {**SIZES, **IDS, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
         "sliding_window": 4, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 2.0,
         "final_logit_softcapping": 1.5},
    ),
}  # fmt: skip


def main():
    for place in sys.argv[1:] or CASES:
        name, fields = CASES[place]
        folder = HERE / place
        shutil.rmtree(folder, ignore_errors=True)
        model = family_reference.build(name, **fields)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        padding = model.config.pad_token_id if "roberta" in place else None
        ids, valid = family_reference.batch(SIZES["vocab_size"], padding)
        said = family_reference.outputs(model, ids, valid)
        np.savez_compressed(folder / "outputs.npz", ids=ids, valid=valid, **said)


if __name__ == "__main__":
    main()
