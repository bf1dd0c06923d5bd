"""Generation live against `transformers`: the same tokens under the same options, greedy and with
four beams, behind 20 prompts of different lengths, padded on the left, up to 32 new tokens."""

import family_reference
import jax.numpy as jnp
import numpy as np
import pytest
from family_reference import GPT2, LLAMA, LLAMA3, rope

from mmjax.conversion import load
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options

pytestmark = pytest.mark.parity

PROMPTS = 20
END = (5, 14, 20, 31, 38, 44)
DECODERS = {
    "gpt2": ("GPT2LMHeadModel", dict(GPT2, n_head=5, n_positions=64)),
    "llama": (
        "LlamaForCausalLM",
        dict(LLAMA, max_position_embeddings=64, num_key_value_heads=2, head_dim=10,
             **rope("llama3", **LLAMA3)),
    ),
    "gemma2": (
        "Gemma2ForCausalLM",
        dict(LLAMA, max_position_embeddings=64, num_key_value_heads=2, head_dim=16,
             sliding_window=4, query_pre_attn_scalar=20, attn_logit_softcapping=2.0,
             final_logit_softcapping=9.0),
    ),
}  # fmt: skip
# Our options -> the reference's.
CASES = {
    "greedy": (dict(), dict()),
    "greedy, penalties": (
        dict(repetition_penalty=1.4, no_repeat_ngram=2, min_new_tokens=6, suppressed=(7, 9),
             suppressed_first=(11,), forced_end=END[0]),
        dict(repetition_penalty=1.4, no_repeat_ngram_size=2, min_new_tokens=6,
             suppress_tokens=[7, 9], begin_suppress_tokens=[11], forced_eos_token_id=END[0]),
    ),
    "beams": (dict(beams=4, returns=3), dict(num_beams=4, num_return_sequences=3)),
    "beams, early": (
        dict(beams=4, early_stopping=True, length_penalty=0.6),
        dict(num_beams=4, early_stopping=True, length_penalty=0.6),
    ),
    "beams, never early": (
        dict(beams=4, early_stopping="never", length_penalty=1.5, no_repeat_ngram=3),
        dict(num_beams=4, early_stopping="never", length_penalty=1.5, no_repeat_ngram_size=3),
    ),
    "beams, end at once": (
        dict(beams=3, length_penalty=-1.0, max_new_tokens=9),
        dict(num_beams=3, length_penalty=-1.0, max_new_tokens=9),
    ),
}  # fmt: skip


def prompts(vocabulary, ragged):
    """Of different lengths, padded on the left, or all of 11 tokens.

    The reference counts padding among what was said: its rules that look back make a row depend on
    its batch mates.
    """
    rng = np.random.default_rng(0)
    ids = rng.integers(6, vocabulary, (PROMPTS, 11))
    lengths = rng.integers(1, 12, PROMPTS) if ragged else np.full(PROMPTS, 11)
    mask = np.arange(11)[None] >= 11 - lengths[:, None]
    return np.where(mask, ids, 1), mask  # 1: a token that no prompt has


@pytest.fixture(scope="module", params=DECODERS)
def both(request, tmp_path_factory):
    """The reference, and ours with its weights."""
    name, fields = DECODERS[request.param]
    fields = dict(fields, bos_token_id=0, eos_token_id=list(END), pad_token_id=1)
    reference = family_reference.build(name, scale=0.3, **fields)
    folder = tmp_path_factory.mktemp(request.param)
    reference.save_pretrained(folder)
    loaded = load.load(folder)
    return reference, Generator(loaded.model, loaded.variables)


@pytest.mark.parametrize("case", CASES)
def test_the_same_tokens(both, case):
    import torch

    reference, generator = both
    ours, theirs = CASES[case]
    options = Options(**dict(max_new_tokens=32, end_ids=END, padding_id=1) | ours)
    looks_back = options.no_repeat_ngram or options.repetition_penalty != 1
    ids, mask = prompts(61, ragged=not looks_back)
    said = generator(dict(inputs=ids, mask=mask), options)
    theirs = dict(max_new_tokens=32, do_sample=False) | theirs
    with torch.no_grad():
        out = reference.generate(
            torch.tensor(ids), attention_mask=torch.tensor(mask.astype(int)), pad_token_id=1,
            eos_token_id=list(END), return_dict_in_generate=True, output_scores=True, **theirs,
        )  # fmt: skip
    wanted = out.sequences[:, ids.shape[1] :].numpy()
    found = said.tokens.reshape(-1, said.tokens.shape[-1])
    np.testing.assert_array_equal(found[:, : wanted.shape[1]], wanted)
    assert (found[:, wanted.shape[1] :] == 1).all()
    if case == "greedy":
        assert len(np.unique(said.lengths)) > 1  # some end before, some do not
    if options.beams > 1:
        scores = out.sequences_scores.numpy()
        np.testing.assert_allclose(said.scores.reshape(-1), scores, atol=1e-4)


WHISPER = dict(
    vocab_size=61, pad_token_id=1, bos_token_id=0, eos_token_id=END[0], decoder_start_token_id=3,
    begin_suppress_tokens=None, d_model=24, encoder_layers=2, decoder_layers=2,
    encoder_attention_heads=4, decoder_attention_heads=2, encoder_ffn_dim=40, decoder_ffn_dim=56,
    max_source_positions=21, max_target_positions=48, num_mel_bins=10,
)  # fmt: skip


@pytest.mark.parametrize("case", ["greedy", "greedy, penalties", "beams", "beams, never early"])
def test_the_same_words_of_a_recording(case, tmp_path):
    import torch
    import transformers

    reference = family_reference.build("WhisperForConditionalGeneration", scale=0.3, **WHISPER)
    reference.save_pretrained(tmp_path)
    loaded = load.load(tmp_path)
    generator = Generator(loaded.model, loaded.variables)
    ours, theirs = CASES[case]
    rng = np.random.default_rng(0)
    features = rng.normal(size=(PROMPTS, loaded.config.frames, 10)).astype(np.float32)
    ids = np.concatenate([np.full((PROMPTS, 1), 3), rng.integers(6, 61, (PROMPTS, 3))], axis=1)
    context = loaded.model.apply(loaded.variables, jnp.asarray(features), method="encode_audio")
    options = Options(**dict(max_new_tokens=32, end_ids=END, padding_id=1) | ours)
    said = generator(dict(inputs=ids, context=context), options)
    theirs = dict(max_new_tokens=32, do_sample=False) | theirs
    with torch.no_grad():
        # Whisper's own `generate` adds windows and languages: what it calls is compared with.
        out = transformers.GenerationMixin.generate(
            reference, torch.tensor(features.transpose(0, 2, 1)),
            decoder_input_ids=torch.tensor(ids), pad_token_id=1, eos_token_id=list(END), **theirs,
        )  # fmt: skip
    wanted = out[:, ids.shape[1] :].numpy()
    found = said.tokens.reshape(-1, said.tokens.shape[-1])
    np.testing.assert_array_equal(found[:, : wanted.shape[1]], wanted)
