"""CTC and spectrograms against the live reference: torch's loss, the hub's letters, extractors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.generation import ctc as decoding
from mmjax.layers.spectrogram import log_mel
from mmjax.objectives.ctc import ctc
from mmjax.tokenizers import letters
from mmjax.transforms.mel_ast import AstMel
from mmjax.transforms.mel_clap import ClapMel

pytestmark = pytest.mark.parity


def batch():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 30, 7)).astype(np.float32)
    frames = np.array([30, 22, 15, 9])
    lengths = np.array([12, 5, 7, 0])
    text = rng.integers(1, 7, (4, 12))
    text[1, :4] = 3  # repeated letters
    return logits, frames, text, lengths


def test_the_loss_of_torch():
    import torch

    logits, frames, text, lengths = batch()
    mask = np.arange(30)[None] < frames[:, None]
    text_mask = np.arange(12)[None] < lengths[:, None]
    given = torch.tensor(logits, requires_grad=True)
    want = torch.nn.functional.ctc_loss(
        given.log_softmax(-1).transpose(0, 1), torch.tensor(text), torch.tensor(frames),
        torch.tensor(lengths), reduction="none",
    )  # fmt: skip
    want.sum().backward()
    got, gradient = jax.value_and_grad(
        lambda x: ctc(x, jnp.asarray(mask), jnp.asarray(text), jnp.asarray(text_mask)).sum()
    )(jnp.asarray(logits))
    np.testing.assert_allclose(got, want.sum().item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, given.grad.numpy(), atol=2e-5)


def test_greedy_is_what_the_hub_decodes(tmp_path):
    import transformers

    names = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N"]
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({name: number for number, name in enumerate(names)}))
    theirs = transformers.Wav2Vec2CTCTokenizer(str(path))
    ours = letters.Letters(json.loads(path.read_text()))
    rng = np.random.default_rng(1)
    ids = rng.choice([0, 4, 5, 6, 7, 8, 9], (50, 40), p=[0.4] + [0.1] * 6)
    want = [" ".join(text.split()) for text in theirs.batch_decode(ids)]
    logits = jax.nn.one_hot(ids, len(names))
    found = decoding.greedy(logits, jnp.ones(ids.shape, bool), ours.blank)
    got = [
        " ".join(ours.decode(np.asarray(text)[np.asarray(kept)]).split())
        for text, kept in zip(found.text, found.mask, strict=True)
    ]
    assert got == want


def sound(seconds, rate):
    rng = np.random.default_rng(2)
    time = np.arange(round(seconds * rate)) / rate
    chirp = 0.3 * np.sin(2 * np.pi * 300 * time * (1 + time))
    return (chirp + 0.02 * rng.normal(size=len(time))).astype(np.float32)


def test_extractors():
    import transformers

    whisper = transformers.WhisperFeatureExtractor()
    want = whisper(sound(3, 16_000), sampling_rate=16_000, return_tensors="np")["input_features"]
    padded = np.pad(sound(3, 16_000), (0, 27 * 16_000))[None]
    np.testing.assert_allclose(log_mel(padded).features[0], want[0].T, atol=1e-4)
    ast = transformers.ASTFeatureExtractor()
    want = ast(sound(4, 16_000), sampling_rate=16_000, return_tensors="np")["input_values"][0]
    np.testing.assert_allclose(AstMel().of(sound(4, 16_000))[0], want, atol=1e-4)
    for truncation in ("rand_trunc", "fusion"):
        clap = transformers.ClapFeatureExtractor(truncation=truncation, frequency_min=50)
        made = clap(sound(4, 48_000), sampling_rate=48_000, return_tensors="np")
        got = ClapMel(truncation).of(sound(4, 48_000)).features
        np.testing.assert_allclose(got, made["input_features"][0], atol=1e-4)
