"""Durations of recordings, and long ones in windows."""

import io

import numpy as np
import pytest
import soundfile

from mmjax.data.source import CorruptExample, InMemory
from mmjax.transforms.audio import Sound
from mmjax.transforms.durations import Lasting, duration, durations
from mmjax.transforms.samples import NormalizeAudio, joined, windows


def file(seconds, rate=8000):
    out = io.BytesIO()
    soundfile.write(out, np.zeros(round(seconds * rate)), rate, format="WAV")
    return out.getvalue()


def test_durations_without_decoding():
    assert duration({"audio": file(1.5)}) == 1.5
    assert duration({"audio": file(1.5), "start": 0.5}) == 1.0
    assert duration({"audio": file(1.5), "start": 0.5, "end": 0.75}) == 0.25
    assert duration({"audio": Sound(np.zeros(300), 100)}) == 3.0
    assert duration({"audio": np.zeros(8000, np.float32)}) == 0.5
    source = InMemory([{"audio": file(2.0)}, {"audio": b"no sound"}])
    assert durations(source).tolist() == [2.0, 0.0]
    known = InMemory([{"audio": b""}] * 2, columns={"seconds": [1.25, 3.0]})
    assert durations(known).tolist() == [1.25, 3.0]


def test_lengths_that_are_taken():
    taken = Lasting(0.1, 2.0, 100)
    assert taken({"audio": np.zeros(200)})["audio"].shape == (200,)
    for count in (9, 201):
        with pytest.raises(CorruptExample, match="seconds of sound; from 0.1 to 2 are taken"):
            taken({"audio": np.zeros(count)})


@pytest.mark.parametrize("length", [1, 9, 10, 11, 16, 17, 40])
def test_windows_put_together_are_the_whole(length):
    sound = np.arange(length, dtype=np.float32)
    parts = windows(sound, size=10, overlap=4)
    assert parts.parts.shape == (len(parts.starts), 10) and (np.diff(parts.starts) == 6).all()
    assert parts.mask.any(1).all(), "no window lies behind the end"
    np.testing.assert_array_equal(joined(parts.parts, parts.starts, length), sound)
    for part, mask, start in zip(parts.parts, parts.mask, parts.starts.tolist(), strict=True):
        np.testing.assert_array_equal(part[mask], sound[start : start + 10])


def test_no_place_is_taken_from_the_edge_of_a_window():
    parts = windows(np.zeros(40), size=10, overlap=4)
    distance = np.broadcast_to(np.minimum(np.arange(10), 9 - np.arange(10)), (6, 10))
    found = joined(distance.astype(np.float32), parts.starts, 40)
    assert found[3:-3].min() >= 2
    with pytest.raises(ValueError, match="an overlap of 10 in windows of 10"):
        windows(np.zeros(40), size=10, overlap=10)


def test_samples_are_normalised():
    found = NormalizeAudio()({"audio": np.array([1.0, 3.0], np.float32)})["audio"]
    np.testing.assert_allclose(found, [-1, 1], atol=1e-6)
