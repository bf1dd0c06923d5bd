"""Augmentation of recordings: what it does, and that its draws are the generator's alone."""

import numpy as np
import pytest
import soundfile

from mmjax.config import ConfigError
from mmjax.transforms import augment_audio
from mmjax.transforms.augment_audio import Gain, MaskFrames, Noise, Speed

RATE = 16_000


def tone(hertz=440.0, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def loudest(samples):
    """Hertz of the strongest frequency."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * RATE / len(samples)


def test_faster_is_shorter_and_higher():
    example = {"audio": tone(), "times": [0.25, 0.5], "end": None, "text": "hum"}
    found = Speed((1.1, 1.1))(example, np.random.default_rng(0))
    assert abs(len(found["audio"]) - RATE / 1.1) <= 1 and found["audio"].dtype == np.float32
    assert loudest(found["audio"]) == pytest.approx(440 * 1.1, abs=2)
    np.testing.assert_allclose(found["times"], [0.25 / 1.1, 0.5 / 1.1])
    assert found["end"] is None and found["text"] == "hum"


def test_gain_and_noise_in_decibels():
    rng = np.random.default_rng(0)
    louder = Gain((6.0, 6.0))({"audio": tone()}, rng)["audio"]
    assert np.abs(louder).max() == pytest.approx(10 ** (6 / 20), rel=1e-3)
    noisy = Noise((20.0, 20.0))({"audio": tone()}, rng)["audio"]
    noise = noisy - tone()
    ratio = 10 * np.log10(np.mean(tone() ** 2) / np.mean(noise**2))
    assert ratio == pytest.approx(20.0, abs=1e-3)
    silent = Noise((0.0, 0.0))({"audio": np.zeros(100, np.float32)}, rng)["audio"]
    assert not silent.any()


def test_noise_of_a_folder(tmp_path):
    soundfile.write(tmp_path / "hum.wav", tone(1000.0, 0.1) / 2, RATE)
    noise = Noise((0.0, 0.0), str(tmp_path))
    found = noise({"audio": tone()}, np.random.default_rng(0))["audio"] - tone()
    assert len(found) == RATE and loudest(found) == pytest.approx(1000, abs=12)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty holds no recording"):
        Noise((0.0, 0.0), str(tmp_path / "empty"))({"audio": tone()}, np.random.default_rng(0))


def test_stripes_of_a_spectrogram():
    frames = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    kept = frames.copy()
    mask = MaskFrames(frequency_masks=1, bins=6, time_masks=1, frames=30, share=0.2)
    widths = set()
    for seed in range(40):
        found = mask({"audio": frames}, np.random.default_rng(seed))["audio"]
        changed = found != frames
        rows = np.flatnonzero(changed.all(1))
        columns = np.flatnonzero(changed.all(0))
        assert len(rows) <= 10 and len(columns) <= 6
        assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()
        np.testing.assert_allclose(found[changed], frames.mean(), rtol=1e-6)
        widths.add((len(rows), len(columns)))
    np.testing.assert_array_equal(frames, kept)  # what it was given belongs to the cache
    assert len(widths) > 10


def test_draws_are_the_generators():
    config = augment_audio.Config(
        speed=(0.9, 1.1), gain=(-6.0, 6.0), noise=(5.0, 20.0), frequency_masks=1, time_masks=1
    )
    of_samples, of_frames = augment_audio.transforms(config, RATE)
    assert [type(one) for one in of_samples] == [Speed, Noise, Gain] and len(of_frames) == 1

    def drawn(seed):
        rng = np.random.default_rng(seed)
        example = {"audio": tone()}
        for one in of_samples:
            example = one(example, rng)
        return example["audio"]

    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert len(drawn(3)) != len(drawn(4))
    assert augment_audio.transforms(augment_audio.Config(), RATE) == ((), ())
    assert augment_audio.longest(config) == pytest.approx(1 / 0.9)
