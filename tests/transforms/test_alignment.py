"""Named streams of an example on one grid of time."""

import numpy as np
import pytest

from mmjax.data.source import CorruptExample
from mmjax.layers.time_grid import Stream
from mmjax.transforms.alignment import AlignStreams

STREAMS = {
    "audio": Stream(16_000.0),
    "video": Stream(30.0),
    "words": Stream(5.0, "nearest", gap=0.5),
    "pulse": Stream(50.0, gap=0.1),
}


def example():
    rng = np.random.default_rng(0)
    return {
        "audio": rng.normal(size=32_000).astype(np.float32),  # 2 seconds
        "video": rng.integers(0, 255, (45, 4, 6, 3)).astype(np.uint8),  # 1.5 seconds
        "words": np.array([17, 4, 99]),
        "words_times": np.array([0.2, 0.5, 1.7]),
        "pulse": np.linspace(0, 1, 100),
        "pulse_mask": np.arange(100) < 80,
        "id": "one",
    }


def test_any_streams_meet():
    found = AlignStreams(STREAMS)(example())
    assert found["audio"].shape == (20,) and found["video"].shape == (20, 4, 6, 3)
    assert found["audio"].dtype == np.float32 and found["video"].dtype == np.float32
    assert found["id"] == "one" and "words_times" not in found
    assert found["audio_mask"].all()
    np.testing.assert_array_equal(found["video_mask"], np.arange(20) < 15)
    np.testing.assert_array_equal(found["pulse_mask"], np.arange(20) < 16)
    there = found["words_mask"]
    np.testing.assert_array_equal(np.flatnonzero(there), [1, 2, 3, 4, 5, 6, 16, 17, 18])
    np.testing.assert_array_equal(found["words"][there], [17, 17, 17, 4, 4, 4, 99, 99, 99])
    assert found["words"].dtype == np.int64


def test_a_grid_of_a_given_length():
    found = AlignStreams(STREAMS, seconds=3.0)(example())
    assert {len(found[name]) for name in STREAMS} == {30}
    assert not found["audio_mask"][20:].any()
    whole = AlignStreams(STREAMS)(example())
    np.testing.assert_array_equal(found["video"][:20], whole["video"])


def test_nothing_of_a_stream():
    silent = example() | {"audio": np.zeros(0, np.float32), "pulse_mask": np.zeros(100, bool)}
    found = AlignStreams(STREAMS)(silent)
    assert found["audio"].shape == (20,) and not found["audio_mask"].any()
    assert not found["pulse_mask"].any()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"words_times": [0.2, 1.7, 0.5]}, "words: time goes back at sample 2, from 1.7 to 0.5"),
        ({"words_times": [0.2, np.nan, 0.5]}, "words: the stamp of sample 1 is nan"),
        ({"words_times": [0.2, 0.5]}, "words: 3 samples and stamps of"),
        ({"pulse_mask": np.ones(9)}, "pulse: 100 samples and a mask of"),
    ],
)
def test_what_is_refused(change, said):
    with pytest.raises(CorruptExample, match=said):
        AlignStreams(STREAMS)(example() | change)
