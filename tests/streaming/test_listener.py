"""Listening with a recogniser of tones: what is confirmed, however the sound comes."""

import dataclasses
import pickle

import numpy as np
import pytest
import tones
from tones import RATE

from mmjax.streaming.blocks import Blocks, Chunk
from mmjax.streaming.events import Behind, Confirmed, Lost, Tentative, Utterance
from mmjax.streaming.listener import Config, Listener
from mmjax.streaming.live import Backlog, live
from mmjax.streaming.recognition import Word


def heard(chunks, config=None, recogniser=None, kinds=(Confirmed, Utterance, Tentative, Lost)):
    listener = Listener(recogniser or tones.Fake(), config)
    events = [event for chunk in chunks for event in listener.push(chunk)]
    events += listener.close()
    return [event for event in events if isinstance(event, kinds)]


def texts(events):
    return [event.text for event in events if isinstance(event, Utterance)]


def chunked(sound, sizes):
    edges = np.minimum(np.cumsum(sizes), len(sound))
    return [Chunk(part) for part in np.split(sound, np.unique(edges)[:-1])]


@pytest.mark.parametrize("config", [Config(), Config(window=4.0), Config(window=9.0, context=6.0),
                                    Config(hop=0.5, window=3.0)], ids=str)  # fmt: skip
def test_any_chunking_confirms_the_same(config):
    sound, said = tones.talk(1, 8)
    whole = heard([Chunk(sound)], config)
    assert texts(whole) == said
    rng = np.random.default_rng(0)
    for low, high in ((100, 900), (1, 40_000), (16_000, 16_001), (159, 160)):
        sizes = rng.integers(low, high, 2 * len(sound) // low)
        assert heard(chunked(sound, sizes), config) == whole


def test_what_is_confirmed_stays_and_comes_early():
    sound, said = tones.talk(2, 6)
    events = heard([Chunk(sound)])
    words = [word for event in events if isinstance(event, Confirmed) for word in event.words]
    told = [word for event in events if isinstance(event, Utterance) for word in event.words]
    assert words == told and " ".join(word.text for word in words) == " ".join(said)
    assert all(one.end <= two.start for one, two in zip(words, words[1:], strict=False))
    first = next(i for i, event in enumerate(events) if isinstance(event, Confirmed))
    ended = next(i for i, event in enumerate(events) if isinstance(event, Utterance))
    assert first < ended - 1, "words are confirmed while an utterance goes on"
    for utterance in (event for event in events if isinstance(event, Utterance)):
        assert utterance.start < utterance.words[0].start < utterance.words[-1].end < utterance.end


def test_a_long_utterance_goes_through_short_windows():
    words = np.random.default_rng(3).integers(0, 8, 120).tolist()
    fake = tones.Fake()
    config = Config(window=5.0, longest=20.0)
    silence = np.zeros(24_000, np.float32)
    sound = np.concatenate([silence, tones.speech(words), silence])
    events = heard([Chunk(sound)], config, fake)
    assert " ".join(texts(events)) == " ".join(tones.NAMES[word] for word in words)
    assert len(texts(events)) == 3  # 48 seconds, in pieces of 20
    assert max(length for _, length in fake.windows) <= 5 * RATE
    asked = {start: before for (start, _), before in zip(fake.windows, fake.prompts, strict=True)}
    told = [tones.NAMES[word] for word in words]
    for start, before in asked.items():
        number = round((start - 24_000) / tones.STEP)  # words before the window
        assert list(before) == told[max(0, number - 40) : max(0, number)]


def test_nothing_is_recognised_in_silence_and_noise():
    rng = np.random.default_rng(0)
    noise = (0.05 * rng.normal(size=20 * RATE)).astype(np.float32)
    fake = tones.Fake()
    assert not heard([Chunk(np.zeros(20 * RATE, np.float32)), Chunk(noise)], recogniser=fake)
    assert not fake.windows


def test_a_gap_is_told_and_times_stay_right():
    """Three seconds are lost in a pause, and later 20 minutes inside an utterance."""
    sound, said = tones.talk(4, 3)
    cut = len(sound) - 2 * RATE
    parts = [
        Chunk(sound[:cut], 100.0),
        Chunk(sound[cut:], 100.0 + cut / RATE + 3),
        Chunk(sound, 100.0 + len(sound) / RATE + 1203),
    ]
    events = heard(parts)
    lost = [event for event in events if isinstance(event, Lost)]
    assert [event.why for event in lost] == [
        "3.00 seconds are missing",
        "1200.00 seconds are missing",
    ]
    alone = [event for event in heard([Chunk(sound)]) if isinstance(event, Utterance)]
    again = [event for event in events if isinstance(event, Utterance)][-3:]
    assert [event.text for event in again] == said
    shift = 100.0 + len(sound) / RATE + 1203
    for one, two in zip(alone, again, strict=True):
        assert two.words[0].start == pytest.approx(one.words[0].start + shift, abs=0.03)


def test_samples_that_are_no_numbers_are_missing():
    sound, said = tones.talk(5, 2)
    bad = sound.copy()
    bad[100:300] = np.nan
    events = heard([Chunk(bad)])
    assert texts(events) == said
    assert [e.why for e in events if isinstance(e, Lost)] == ["200 samples are NaN or infinite"]


def test_a_drifting_clock_is_no_gap():
    """The source's clock runs 0.2% faster than its samples: 0.4 seconds in 200."""
    sound, _ = tones.talk(6, 60)
    sound = sound[: 200 * RATE]
    places = range(0, len(sound), 1600)
    chunks = [Chunk(sound[at : at + 1600], 50 + at / RATE * 1.002) for at in places]
    listener = Listener(tones.Fake())
    events = [event for chunk in chunks for event in listener.push(chunk)]
    assert not [event for event in events if isinstance(event, Lost)]
    last = [event for event in events if isinstance(event, Utterance)][-1]
    steady = heard([Chunk(sound)], kinds=(Utterance,))
    same = next(one for one in reversed(steady) if one.text == last.text)
    assert last.end - 50 == pytest.approx(same.end * 1.002, abs=0.03)


def test_memory_does_not_grow_in_an_hour():
    """An utterance of an hour: all that a listener holds, pickled, every 20 seconds."""
    second, _ = tones.talk(7, 12)
    twenty = Chunk(np.resize(second, 20 * RATE))
    config = Config(hop=5.0, window=10.0, context=5.0, longest=20.0)
    listener = Listener(Words(), config, always)
    sizes = []
    for _ in range(180):
        for _ in listener.push(twenty):
            pass
        sizes.append(len(pickle.dumps(listener)))
    assert listener._ring.end == 3600 * RATE
    assert max(sizes[90:]) < max(sizes[:15]) + 1000 < 1_500_000


@dataclasses.dataclass
class Words:
    """A word every half second of the stream, wherever the window is."""

    def __call__(self, window):
        begin = -(-window.start // 8000)
        count = (window.start + len(window.samples)) // 8000 - begin
        first = (begin * 8000 - window.start) / RATE
        times = [first + number / 2 for number in range(count)]
        return [Word(f"w{begin + n}", at, at + 0.4) for n, at in enumerate(times)]


def always(frames):
    """A gate that hears speech all the time."""
    return np.abs(frames).max(1) >= 0


def test_load_is_shed_by_larger_chunks():
    """A source that does not wait, and a recogniser slower than it: fewer looks, the same words."""
    sound, said = tones.talk(8, 5)
    fake = tones.Fake()
    events = list(live(iter([Chunk(sound[:RATE * 4]), Chunk(sound[RATE * 4:])]),
                       Listener(fake, Config(window=25.0)), buffer=60.0))  # fmt: skip
    behind = [event for event in events if isinstance(event, Behind)]
    assert behind and sum(event.hops for event in behind) >= len(sound) // RATE - 1
    assert texts(events) == said
    quiet = tones.Fake()
    heard([Chunk(sound)], recogniser=quiet)
    assert len(fake.windows) < len(quiet.windows)


def test_what_does_not_fit_the_buffer_is_a_gap():
    """The oldest is given up, and the time stamps say so."""
    backlog = Backlog(5.0)
    backlog.put(Chunk(np.ones(RATE, np.float32)))
    blocks = Blocks(RATE, RATE)
    found = [one for chunk in backlog.take() for one in blocks.push(chunk)]
    backlog.put(Chunk(np.ones(14 * RATE, np.float32)))
    taken = backlog.take()
    assert sum(len(chunk.samples) for chunk in taken) == 4 * RATE
    found += [one for chunk in taken for one in blocks.push(chunk)]
    assert found[1] == Lost(1.0, 11.0, "10.00 seconds are missing")
    assert [block.start // RATE for block in [found[0], *found[2:]]] == [0, 11, 12, 13, 14]
    backlog.end()
    assert backlog.take() == []


def test_what_a_source_raises_is_raised():
    def source():
        yield Chunk(np.zeros(800, np.float32))
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        list(live(source(), Listener(tones.Fake())))


def test_another_gate():
    """Any callable of frames: here one that hears nothing."""
    sound, _ = tones.talk(10, 3)
    deaf = Listener(tones.Fake(), gate=lambda frames: np.zeros(len(frames), bool))
    assert not [*deaf.push(Chunk(sound)), *deaf.close()]


@pytest.mark.parametrize("wrong", [dict(hop=0.33), dict(hop=0.0), dict(window=1.0),
                                   dict(window=5.0, context=4.5)])  # fmt: skip
def test_configs_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="="):
        Config(**wrong)
