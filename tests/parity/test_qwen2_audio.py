"""Qwen2-Audio live against `transformers`: logits, generated tokens, ids and frames."""

import audio_reference
import family_reference
import jax.numpy as jnp
import numpy as np
import pytest
from family_reference import LLAMA

from mmjax.conversion import load
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options

pytestmark = pytest.mark.parity

NAME = "Qwen2AudioForConditionalGeneration"
AUDIO = 60  # the audio token
WINDOW = 46  # frames
BINS = 7
EARS = dict(
    num_mel_bins=BINS, d_model=24, encoder_layers=3, encoder_attention_heads=3,
    encoder_ffn_dim=40, max_source_positions=WINDOW // 2,
)  # fmt: skip
WORDS = dict(
    LLAMA, model_type="qwen2", max_position_embeddings=128, num_key_value_heads=2, head_dim=10
)
# Case -> fields of its audio_config, fields of its text_config.
CASES = {
    "grouped": (EARS, WORDS),
    "gelu_tanh_one_head": (
        dict(EARS, activation_function="gelu_new", encoder_attention_heads=1),
        dict(WORDS, num_attention_heads=5, num_key_value_heads=5, head_dim=6, hidden_act="relu"),
    ),
}
# Frames of each row's clips: several, none, odd and even, a whole window, one token.
LENGTHS = [[13, 46, 3], [], [30], [4, 45]]


def build(case, scale=0.15):
    audio, text = CASES[case]
    fields = dict(audio_config=audio, text_config=text, audio_token_index=AUDIO)
    return family_reference.build(NAME, scale, **fields)


@pytest.mark.parametrize("case", CASES)
def test_logits(case, tmp_path):
    """Of clips of other lengths in each row; saved and opened again."""
    import torch

    reference = build(case)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    batch = audio_reference.prompts(LENGTHS, WINDOW, BINS, AUDIO, range(6, 50))
    valid = batch["mask"]
    place = torch.tensor(np.maximum(valid.cumsum(1) - 1, 0))
    with torch.no_grad():
        expected = reference(**audio_reference.theirs(batch), position_ids=place).logits.numpy()
    arrays = {key: jnp.asarray(value) for key, value in batch.items()}
    found = loaded.model.apply(loaded.variables, **arrays).logits
    np.testing.assert_allclose(np.asarray(found)[valid], expected[valid], atol=1e-4, rtol=0)
    load.save(loaded, tmp_path / "ours")
    opened = family_reference.opened(NAME, tmp_path / "ours")
    with torch.no_grad():
        again = opened(**audio_reference.theirs(batch), position_ids=place).logits.numpy()
    np.testing.assert_allclose(again[valid], expected[valid], atol=1e-5, rtol=0)


END = (5, 14, 20, 31, 38, 44)


def test_the_same_tokens(tmp_path):
    """Greedy, behind 12 prompts of different lengths, padded on the left."""
    import torch

    reference = build("grouped", scale=0.3)
    reference.save_pretrained(tmp_path)
    loaded = load.load(tmp_path)
    batch = audio_reference.prompts(LENGTHS * 3, WINDOW, BINS, AUDIO, range(6, 50), seed=1)
    said = Generator(loaded.model, loaded.variables)(
        batch, Options(max_new_tokens=32, end_ids=END, padding_id=1)
    )
    with torch.no_grad():
        out = reference.generate(
            **audio_reference.theirs(batch), max_new_tokens=32, do_sample=False, pad_token_id=1,
            eos_token_id=list(END),
        )  # fmt: skip
    expected = out[:, batch["inputs"].shape[1] :].numpy()
    found = said.tokens[:, 0]
    np.testing.assert_array_equal(found[:, : expected.shape[1]], expected)
    assert (found[:, expected.shape[1] :] == 1).all()
    assert len(np.unique(said.lengths)) > 1  # some end before, some do not


def test_from_sounds_on(tmp_path):
    """A conversation's clips of less than a window, all the way to the logits; the processor's
    files opened by the reference."""
    import torch
    import transformers

    audio = dict(EARS, num_mel_bins=audio_reference.BINS, max_source_positions=50)
    text = dict(WORDS, vocab_size=340)
    reference = family_reference.build(
        NAME, audio_config=audio, text_config=text, audio_token_index=audio_reference.AUDIO
    )
    reference.save_pretrained(tmp_path)
    whole = audio_reference.processor()
    whole.save_pretrained(tmp_path)
    loaded = load.load(tmp_path)
    clips = audio_reference.clips()
    chat = audio_reference.conversation(clips[0])
    chat[2]["content"][0] = {"type": "audio", "audio": clips[2]}
    wanted = whole(
        text=[whole.apply_chat_template(chat[:3], add_generation_prompt=True)],
        audio=[clips[0], clips[2]], return_tensors="pt",
    )  # fmt: skip
    batch = loaded.processor.chat([chat[:3]])
    np.testing.assert_array_equal(batch["inputs"], wanted["input_ids"])
    with torch.no_grad():
        expected = reference(**wanted).logits.numpy()
    arrays = {key: jnp.asarray(value) for key, value in batch.items()}
    found = np.asarray(loaded.model.apply(loaded.variables, **arrays).logits)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    load.save(loaded, tmp_path / "ours")
    again = transformers.Qwen2AudioProcessor.from_pretrained(tmp_path / "ours")
    texts = list(audio_reference.TEXTS)
    ids = whole(text=texts, audio=clips, padding=True)["input_ids"]
    assert again(text=texts, audio=clips, padding=True)["input_ids"] == ids
