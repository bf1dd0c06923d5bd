"""Ring, blocks, voice activity, endpoints and agreement, each for itself."""

import numpy as np
import pytest

from mmjax.datasets import librivox
from mmjax.streaming.activity import FRAME, Activity, measured
from mmjax.streaming.agreement import Agreement, known
from mmjax.streaming.blocks import Blocks, Chunk, Lost
from mmjax.streaming.endpoint import Config, Endpoint
from mmjax.streaming.recognition import Word
from mmjax.streaming.ring import Ring
from mmjax.transforms.audio import DecodeAudio

RATE = 16_000


def words(text, start=0.0, step=0.5):
    return [Word(one, start + i * step, start + i * step + 0.4) for i, one in
            enumerate(text.split())]  # fmt: skip


def test_a_ring_keeps_the_last_samples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=5000).astype(np.float32)
    ring = Ring(700)
    at = 0
    while at < len(x):
        size = int(rng.integers(0, 1500))
        ring.append(x[at : at + size])
        at = min(at + size, len(x))
        assert ring.end == at and ring.start == max(0, at - 700)
        np.testing.assert_array_equal(ring.read(ring.start, at), x[ring.start : at])
    with pytest.raises(IndexError, match="4000 to 4500 are asked for; 4300 to 5000"):
        ring.read(4000, 4500)
    ring.restart(90)
    ring.append(x[:5])
    np.testing.assert_array_equal(ring.read(91, 95), x[1:5])


def blocks_of(chunks, hop=1000):
    blocks = Blocks(1000, hop)
    out = [one for chunk in chunks for one in blocks.push(chunk)]
    return [*out, *blocks.flush()], blocks


def test_gaps_leave_whole_blocks_out():
    ones = np.ones(1500, np.float32)
    found, _ = blocks_of([Chunk(ones, 7.0), Chunk(ones, 13.2)])
    lost = [one for one in found if isinstance(one, Lost)]
    kept = [one for one in found if not isinstance(one, Lost)]
    assert lost == [Lost(8.5, 13.2, "4.70 seconds are missing")]
    assert [one.start for one in kept] == [0, 1000, 6000, 7000]
    assert [int(one.there.sum()) for one in kept] == [1000, 500, 800, 700]
    for one in kept:
        np.testing.assert_array_equal(one.samples, one.there.astype(np.float32))


def test_what_comes_twice_is_dropped_and_a_clock_may_be_set_back():
    x = np.arange(3000, dtype=np.float32)
    found, blocks = blocks_of([Chunk(x[:1500], 0.0), Chunk(x[1000:2500], 1.0)])
    assert [one.why for one in found if isinstance(one, Lost)] == [
        "0.50 seconds came twice, and are dropped"
    ]
    samples = np.concatenate([one.samples for one in found if not isinstance(one, Lost)])
    np.testing.assert_array_equal(samples[:2500], x[:2500])
    found, blocks = blocks_of([Chunk(x[:2000], 500.0), Chunk(x[2000:], 3.0)])
    assert "the clock was set back by 499.00 seconds" in found[2].why
    assert blocks.seconds(3000) == pytest.approx(4.0)


def speech():
    decode = DecodeAudio()
    return [decode(one)["audio"] for one in librivox.open(librivox.Config())]


@pytest.fixture(scope="module")
def clips():
    return speech()


def frames_of(x):
    return x[: len(x) // FRAME * FRAME].reshape(-1, FRAME)


def test_voice_activity_is_the_same_in_any_blocks(clips):
    frames = frames_of(np.concatenate(clips))
    whole = Activity()(frames)
    for size in (1, 7, 50):
        gate = Activity()
        parts = [gate(frames[at : at + size]) for at in range(0, len(frames), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("scale", [1.0, 0.03])
def test_voices_are_heard_and_noise_is_not(clips, scale):
    """Read speech with noise 20 dB below it, loud and soft, between two seconds of noise alone."""
    rng = np.random.default_rng(0)
    for clip in clips:
        noise = 0.1 * clip.std() * rng.normal(size=len(clip) + 4 * RATE)
        x = scale * (noise + np.pad(clip, 2 * RATE))
        voiced = Activity()(frames_of(x.astype(np.float32)))
        assert not voiced[:95].any() and not voiced[-80:].any()
        assert 0.5 < voiced[100:-100].mean() < 1
    assert not Activity()(frames_of(np.zeros(RATE, np.float32))).any()


def test_loudness_and_flatness():
    time = np.arange(4 * RATE) / RATE
    level, flat = measured(frames_of(0.1 * np.sin(2 * np.pi * 1000 * time)))
    np.testing.assert_allclose(level, 10 * np.log10(0.1**2 / 2), atol=0.01)
    assert flat.max() < 0.01
    _, flat = measured(frames_of(np.random.default_rng(0).normal(size=4 * RATE)))
    assert flat.mean() == pytest.approx(np.exp(-np.euler_gamma), abs=0.02)


def test_utterances_by_frames():
    flags = np.zeros(400, bool)
    flags[100:101] = True  # a click
    flags[150:200] = flags[210:230] = flags[300:340] = True
    whole = Endpoint(Config()).push(flags)
    assert [tuple(one) for one in whole] == [(135, 245, 230), (285, 355, 340)]
    parts = Endpoint(Config())
    found = [one for at in range(0, 400, 3) for one in parts.push(flags[at : at + 3])]
    assert found == whole and parts.begin is None
    cut = Endpoint(Config())
    cut.push(flags[:320])
    assert [tuple(one) for one in cut.skip(1000)] == [(285, 320, 320)]
    assert cut.push(flags[150:200]) == [] and cut.begin == 1320


def test_two_hypotheses_agree():
    agreement = Agreement()
    assert agreement.hear([], words("the cat sad")) == ()
    first = agreement.hear([], words("The cat, sat on"))
    assert [one.text for one in first] == ["The", "cat,"]
    assert [one.text for one in agreement.tentative] == ["sat", "on"]
    second = agreement.hear(first, words("a cat sat on the mat"))
    assert [one.text for one in second] == ["sat", "on"]
    last = agreement.hear([*first, *second], words("the cat sat on a mat."), final=True)
    assert [one.text for one in last] == ["a", "mat."] and not agreement.tentative


def test_confirmed_words_are_found_in_a_hypothesis():
    confirmed = words("one one one")
    assert known(confirmed, words("one one one one two")) == 3
    assert known(confirmed, words("One, one. One")) == 3
    assert known(words("go to the bank"), words("go the bank and back")) == 3
    assert known(words("go to the bank"), words("and back", start=2.0)) == 0  # a hypothesis forgot
    assert known(words("do"), words("to lock the door")) == 1  # heard otherwise, but heard once
    assert known([], words("any")) == 0 and known(confirmed, []) == 0
