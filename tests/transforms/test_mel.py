"""Log-mel spectrograms: the reference's numbers, padding, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Sequential
from mmjax.data.source import CorruptExample, InMemory
from mmjax.layers.mel_scale import Bank, filters, hertz_of, mel_of
from mmjax.transforms.audio import Sound
from mmjax.transforms.mel import LogMel, spectrogram

GOLDEN = Path(__file__).parents[1] / "golden"


def clips():
    """The same as in golden/make_whisper.py, which cannot be imported without the reference."""
    rng = np.random.default_rng(1)
    out = []
    for length in (5_000, 16_000):
        time = np.arange(length) / 16_000
        clip = 0.1 * rng.normal(size=length) * (time < 0.4) + 0.3 * np.sin(2 * np.pi * 440 * time)
        out.append(clip.astype(np.float32))
    return out


@pytest.mark.parametrize("bins", [80, 128])
def test_the_references_numbers(bins):
    with np.load(GOLDEN / "whisper" / "mels.npz") as golden:
        want = np.stack([golden[f"{bins}_{i}"] for i in range(2)])
    got = LogMel(bins, seconds=1.0).batch(clips())
    np.testing.assert_allclose(got.features[:, ::3], want, atol=1e-6)
    assert got.features.shape == (2, 100, bins) and got.features.dtype == np.float32
    np.testing.assert_array_equal(got.mask.sum(1), [32, 100])  # 5,000 samples reach into frame 31


def test_scale_and_filters():
    hertz = np.linspace(0, 8000, 50)
    np.testing.assert_allclose(hertz_of(mel_of(hertz)), hertz, atol=1e-9)
    assert mel_of(1000.0) == 15 and mel_of(6400.0) == pytest.approx(42)
    triangles = filters(Bank())
    assert triangles.shape == (80, 201) and (triangles >= 0).all()
    assert (triangles.max(1) > 0).all(), "no filter falls between two frequencies"


def test_a_frame_in_the_padding_is_not_computed_and_equal_all_the_same():
    clip = clips()[0]
    short = LogMel(seconds=1.0).batch([clip]).features[0]
    whole = LogMel(seconds=None).batch([np.pad(clip, (0, 16_000 - len(clip)))]).features[0]
    np.testing.assert_array_equal(short, whole)


def test_silence_is_even():
    found = LogMel(seconds=1.0).batch([np.zeros(700, np.float32), np.zeros(0, np.float32)]).features
    np.testing.assert_array_equal(found, np.full((2, 100, 80), -1.5))


def test_clips_of_their_own_length():
    found = LogMel(seconds=None).batch(clips())
    assert found.features.shape == (2, 100, 80)
    alone = LogMel(seconds=None)({"audio": clips()[0], "text": "hum"})
    assert alone["audio"].shape == (31, 80) and alone["text"] == "hum"


def test_what_is_refused():
    """A bad clip is one corrupt row of a run; a wrong shape is a bug."""
    with pytest.raises(CorruptExample, match="1.00 seconds of sound; the model takes 0.5 at a"):
        LogMel(seconds=0.5).batch(clips())
    cut = LogMel(seconds=0.5, truncate=True).batch(clips()).features
    np.testing.assert_array_equal(
        cut[1], LogMel(seconds=0.5).batch([clips()[1][:8000]]).features[0]
    )
    with pytest.raises(ValueError, match=r"one channel, not \[2, 50\]") as caught:
        LogMel().batch([np.zeros((2, 50), np.float32)])
    assert not isinstance(caught.value, CorruptExample)
    with pytest.raises(CorruptExample, match="0.0125 seconds of sound .200 .*at least 0.0126"):
        LogMel(seconds=None).batch([np.zeros(200, np.float32)])
    assert LogMel(seconds=None).batch([np.zeros(201, np.float32)]).features.shape == (1, 1, 80)


def test_a_bad_clip_does_not_stop_a_run():
    clips = [np.zeros(length, np.float32) for length in (1600, 48_000, 1600)]
    source = InMemory([{"audio": clip, "id": f"c{at}"} for at, clip in enumerate(clips)])
    pipeline = Pipeline([source], Sequential(3, 3), (LogMel(seconds=1.0),), threads=0)
    arrays, corrupt = pipeline.batch(0)
    assert [one.index for one in corrupt] == [1] and "3.00 seconds of sound" in corrupt[0].reason
    assert arrays["weight"].tolist() == [1, 0, 1]


def test_another_field():
    example = {"voice": np.zeros(1600, np.float32), "audio": b"kept"}
    found = LogMel(seconds=1.0, field="voice")(example)
    assert found["voice"].shape == (100, 80) and found["audio"] == b"kept"


def test_a_sound_is_drawn_low_frequencies_below():
    time = np.arange(8_000) / 16_000
    low = spectrogram(Sound(np.sin(2 * np.pi * 200 * time).astype(np.float32), 16_000))
    assert low.dtype == np.uint8 and low.shape == (64, 50, 3)
    brightest = low[..., 0].mean(1).argmax()
    assert brightest > 50  # the last row is the lowest frequency
    assert spectrogram(Sound(np.zeros(3, np.float32), 16_000)).shape[0] == 64
