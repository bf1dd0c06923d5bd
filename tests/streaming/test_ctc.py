"""CTC in a stream: what equals the whole, exactly, and what cannot."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.layers import transformer
from mmjax.models import wav2vec2
from mmjax.streaming.ctc import Frames, Reading, recogniser, words
from mmjax.streaming.recognition import Window
from mmjax.tokenizers.letters import Letters

LETTERS = Letters({"<pad>": 0, "|": 1, "a": 2, "b": 3, "c": 4})
TINY = wav2vec2.Config(
    front=(wav2vec2.Stage(8, 10, 5), wav2vec2.Stage(8, 3, 2), wav2vec2.Stage(8, 2, 2)),
    front_norm="layer", front_bias=True, position_taps=8, position_groups=2, letters=5,
    transformer=transformer.Config(width=16, layers=1, heads=2, hidden=32, norm="pre"),
)  # fmt: skip


def test_reading_in_pieces_equals_reading_at_once():
    rng = np.random.default_rng(0)
    for seed in range(20):
        ids = rng.choice(5, size=200, p=[0.5, 0.1, 0.2, 0.1, 0.1]).repeat(rng.integers(1, 4, 200))
        whole = LETTERS.collapse(ids)
        reading = Reading(LETTERS.blank)
        edges = np.sort(rng.integers(0, len(ids), seed))
        letters = [one for part in np.split(ids, edges) for one in reading.push(part)]
        letters += reading.close()
        assert LETTERS.decode(letter.id for letter in letters) == whole
        found = words(letters, LETTERS, 0.02)
        assert " ".join(word.text for word in found) == " ".join(whole.split())
        for letter in letters:
            assert (ids[letter.start : letter.end] == letter.id).all()


def test_words_have_the_times_of_their_letters():
    ids = [0, 2, 2, 0, 3, 1, 1, 4, 0, 0]
    hear = recogniser(lambda samples: np.eye(5)[ids], LETTERS, 0.02)
    found = hear(Window(np.zeros(3200, np.float32), 0))
    assert [word.text for word in found] == ["ab", "c"]
    np.testing.assert_allclose([word[1:] for word in found], [(0.02, 0.1), (0.14, 0.16)])


def front(norm):
    """The convolutions alone, of random weights."""
    module = wav2vec2.Front(dataclasses.replace(TINY, front_norm=norm))
    variables = nn.unbox(jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 400))))
    return jax.jit(lambda x: module.apply(variables, x[None])[0])


@pytest.mark.parametrize("norm, same", [("layer", True), ("group", False)])
def test_frames_of_the_front_are_the_same_in_any_chunks(norm, same):
    """Where each is normalised for itself; with "group" each depends on the whole clip."""
    x = np.random.default_rng(1).normal(size=4000).astype(np.float32)
    field, stride = 30, 20  # samples
    assert [wav2vec2.frames(TINY, field + n) for n in (-1, 0, stride - 1, stride)] == [0, 1, 1, 2]
    call = front(norm)
    stream = Frames(call, field, stride)
    parts = [stream.push(x[at : at + 1000]) for at in range(0, 4000, 1000)]
    got = np.concatenate([part for part in parts if part is not None])
    want = np.asarray(call(x))
    assert got.shape == want.shape
    assert np.allclose(got, want, atol=1e-6) == same
    assert Frames(call, field, stride).push(x[:20]) is None


@pytest.mark.slow
def test_logits_of_a_longer_window_are_others():
    """The blocks look both ways: why a window is computed whole, and words confirmed by agreement
    instead of frame by frame."""
    model = wav2vec2.Model(TINY)
    variables = nn.unbox(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 400))))
    x = np.random.default_rng(2).normal(size=(1, 2000)).astype(np.float32)
    run = jax.jit(lambda x: model.apply(variables, x).logits)
    whole = np.asarray(run(x))[0]
    half = np.asarray(run(x[:, :1000]))[0]
    assert not np.allclose(whole[: len(half)], half, atol=1e-4)
