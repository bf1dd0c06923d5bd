"""Pitches against their formula, onsets where they are, and keys that move with the sound."""

import numpy as np
import pytest

from mmjax.data.source import CorruptExample
from mmjax.transforms.log_frequency import LogFrequency, Transpose

FRONT = LogFrequency(octaves=4)


def test_magnitudes_are_those_of_the_definition():
    samples = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    found = FRONT.magnitudes(samples)
    assert found.shape == (10, 48)
    padded = np.pad(samples, 5000)
    for frame, k in ((0, 0), (4, 17), (9, 47)):
        size = FRONT.windows()[k]
        time = np.arange(size) - size // 2
        window = np.sin(np.pi * np.arange(1, size + 1) / (size + 1)) ** 2  # Hann without its zeros
        middle = 5000 + frame * FRONT.hop
        cut = padded[middle - size // 2 : middle + size // 2 + 1]
        turned = np.exp(-2j * np.pi * FRONT.frequencies[k] * time / FRONT.rate)
        expected = 2 * abs((cut * window * turned).sum()) / window.sum()
        np.testing.assert_allclose(found[frame, k], expected, rtol=1e-3, atol=1e-5)


def test_a_sine_is_its_amplitude_in_its_bin():
    time = np.arange(16_000) / 16_000
    sine = 0.3 * np.sin(2 * np.pi * 440 * time).astype(np.float32)
    middle = FRONT.magnitudes(sine)[10]
    assert middle.argmax() == 33  # A4, from C2
    np.testing.assert_allclose(middle.max(), 0.3, rtol=1e-3)


def test_onsets_are_where_notes_begin():
    sound = np.zeros(16_000, np.float32)
    time = np.arange(4000) / 16_000
    for start in (3000, 9000):
        sound[start : start + 4000] = np.sin(2 * np.pi * 500 * time) * np.exp(-9 * time)
    onsets = FRONT.beginnings(sound).sum(1)
    found = np.sort(onsets.argsort()[-2:]) * FRONT.hop / FRONT.onsets
    np.testing.assert_allclose(found, [3000, 9000], atol=400)


def test_a_clip_becomes_frames_of_pitches_and_onsets():
    rng = np.random.default_rng(2)
    made = FRONT({"audio": rng.normal(size=4000).astype(np.float32)})["audio"]
    assert made.shape == (5, FRONT.width)
    assert made.dtype == np.float32
    assert 0 <= made[:, :48].min() and made[:, :48].max() == 1
    assert not FRONT({"audio": np.zeros(4000, np.float32)})["audio"].any()
    with pytest.raises(CorruptExample, match="799 samples"):
        FRONT({"audio": np.zeros(799, np.float32)})


def test_keys_are_shifted_with_the_pitches():
    frames = np.zeros((1, FRONT.width), np.float32)
    frames[0, 20] = 1
    frames[0, 50] = 2  # an onset
    shift = Transpose(FRONT.bins, most=4, labels=(("key", 4), ("signature", 1)))
    example = {"audio": frames, "key": 4 * 11 + 2, "signature": -1, "metre": 3}
    seen = set()
    for seed in range(40):
        out = shift(example, np.random.default_rng(seed))
        semitones = int(out["audio"][0, :48].argmax()) - 20
        seen.add(semitones)
        assert out["key"] == (4 * (11 + semitones) + 2) % 48
        assert (out["signature"], out["metre"], out["audio"][0, 50]) == (-1, 3, 2)
    assert seen == set(range(-4, 5))
    assert example["audio"][0, 20] == 1  # which is cached: it stays as it was


def test_a_higher_bin_than_the_rate_holds_is_refused():
    with pytest.raises(ValueError, match="half the rate"):
        LogFrequency(octaves=8)
