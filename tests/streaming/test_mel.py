"""Frames of a stream against those of the same samples in one piece."""

import numpy as np
import pytest

from mmjax.streaming.mel import StreamedMel
from mmjax.transforms.mel import LogMel


def sound(seconds, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    loud = 10 ** rng.uniform(-5, 0, 40)[(time * 8).astype(int) % 40]
    return (loud * rng.normal(size=len(time)) * 0.1).astype(np.float32)


@pytest.mark.parametrize("seconds", [None, 4.0])
@pytest.mark.parametrize("chunk", [37, 999, 16_000])
def test_a_window_equals_the_clip(seconds, chunk):
    mel = LogMel(seconds=seconds)
    x = sound(6.3)
    streamed = StreamedMel(mel, 4.0)
    for start in range(0, len(x), chunk):
        streamed.append(x[start : start + chunk])
    for start, end in ((0, 40_000), (16_000, 80_000), (36_800, len(x)), (99_200, 99_700)):
        got = streamed.window(start, end)
        np.testing.assert_array_equal(got, mel.batch([x[start:end]]).features[0])
