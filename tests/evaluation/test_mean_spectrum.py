"""The mean-spectrum neighbour: tones that are near by their spectrum, and what is refused."""

import dataclasses

import numpy as np
import pytest
from evaluation.contexts import context

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.evaluation import mean_spectrum
from mmjax.evaluation.base import Result
from mmjax.run.intervals import differences

RATE = 16_000


def tone(hertz):
    return np.sin(2 * np.pi * hertz * np.arange(RATE // 4) / RATE).astype(np.float32)


def rows(*tones, bad=False):
    examples = [
        {"audio": tone(hertz), "text": text, "label": number, "group": number}
        for number, (hertz, text) in enumerate(tones)
    ]
    if bad:
        examples[0]["audio"] = b"no sound"
    return InMemory(examples)


TRAINING = rows((300, "a low hum"), (900, "a middle hum"), (3_000, "a high whistle"))
HEARD = rows((301, "a low hum"), (902, "a middle hum"), (3_003, "a high whistle"))


def over(evaluated, *training):
    return context(evaluated, training=lambda: list(training))


def test_texts_of_near_tones_are_found():
    found = mean_spectrum.measure(mean_spectrum.Config(), over(HEARD, TRAINING))
    assert found.metrics["audio_to_text/r1"] == 1 and found.metrics["text_to_audio/r1"] == 1
    np.testing.assert_array_equal(found.queries["audio_to_text/index"], [0, 1, 2])
    # all are called alike: every order is as good as chance
    alike = rows((300, "a hum"), (900, "a hum"), (3_000, "a hum"))
    found = mean_spectrum.measure(mean_spectrum.Config(), over(HEARD, alike))
    assert found.metrics["audio_to_text/r1"] == pytest.approx(1 / 3)


def test_labels_and_a_sound_that_cannot_be_read():
    config = mean_spectrum.Config(label="label")
    assert mean_spectrum.measure(config, over(HEARD, TRAINING)).metrics == {"accuracy/top1": 1}
    bad = rows((300, "a low hum"), (900, "a middle hum"), (3_000, "a high whistle"), bad=True)
    found = mean_spectrum.measure(config, over(HEARD, bad))
    assert found.metrics["accuracy/top1"] == pytest.approx(2 / 3)


def test_refused_before_training():
    with pytest.raises(ConfigError, match="there is none: leave `baseline` out"):
        mean_spectrum.check(mean_spectrum.Config(), over(HEARD))
    silent = InMemory([{"text": "a hum"}])
    with pytest.raises(ConfigError, match="needs 'audio' of each row"):
        mean_spectrum.check(mean_spectrum.Config(), over(HEARD, silent))


def test_a_difference_is_paired_by_query():
    hits = np.array([1.0, 1.0, 0.0, 1.0] * 20)
    base = np.array([1.0, 0.0, 0.0, 1.0] * 20)
    index = np.arange(80)
    ours = Result({"a/r1": 0.75, "b": 1.0}, queries={"a/r1": hits, "a/index": index})
    theirs = Result({"a/r1": 0.5}, queries={"a/r1": base, "a/index": index})
    source = InMemory([{} for _ in range(80)])
    (found,) = differences(source, ours, theirs).values()
    assert found.mean == pytest.approx(0.25) and 0.1 < found.low < found.high < 0.4
    other = dataclasses.replace(theirs, queries={**theirs.queries, "a/index": index[::-1]})
    assert differences(source, ours, other) == {}
