"""What linear classifiers tell of sounds: of pitch by the mel spectrum and by the chroma."""

import numpy as np
import pytest
from evaluation.contexts import context

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.evaluation import sound_probe
from mmjax.transforms.audio import Sound

HERTZ = (261.6, 329.6, 440.0)


def sounds(seed, count, bad=()):
    """Tones of three heights, of which some are not labelled."""
    rng = np.random.default_rng(seed)
    time = np.arange(8000) / sound_probe.RATE
    examples = []
    for number in range(count):
        label = number % 3
        tone = np.sin(2 * np.pi * HERTZ[label] * time + rng.uniform(0, 6))
        noise = 0.05 * rng.normal(size=8000)
        if number in bad:
            noise[0] = np.nan
        sound = Sound((tone + noise).astype(np.float32), sound_probe.RATE)
        examples.append({"audio": sound, "label": label if number % 5 else -1, "group": number})
    return InMemory(examples)


def test_each_summary_says_what_it_can_tell():
    ours = context(sounds(1, 20), training=lambda: [sounds(0, 40, bad=(3,))])
    config = sound_probe.Config(rows=30)
    sound_probe.check(config, ours)
    found = sound_probe.measure(config, ours)
    assert found["mel/accuracy/top1"] == found["chroma/accuracy/top1"] == 1
    assert found["onsets/accuracy/top1"] < 1
    assert found["accuracy/top1"] == 1


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match="training data"):
        sound_probe.check(sound_probe.Config(), context(sounds(1, 5)))
    ours = context(sounds(1, 5), training=lambda: [sounds(0, 5)])
    with pytest.raises(ConfigError, match="no column 'rhythm'"):
        sound_probe.check(sound_probe.Config(label="rhythm"), ours)
