"""Synthetic voices: which sentences, who reads them, and what is said where nobody can."""

import gzip

import numpy as np
import pytest
import soundfile

from mmjax.data.source import DataError
from mmjax.datasets import asterisk, prepared, synthetic_speech
from mmjax.datasets.prepared.captions import in_split
from mmjax.datasets.synthetic_speech import Voice, key_of, readers, sentences
from mmjax.transforms.audio import DecodeAudio

LISTING = """; Core Asterisk Sounds in English

activated: Activated.
agent-user:  Agent login.  Please enter your agent number, followed by the pound key.
beep: [this is a simple beep tone]
thank-you: Thank you.
"""


def test_sentences_keep_to_their_splits():
    found = sentences(LISTING)
    assert found == sentences(LISTING) and len(found) == len({key_of(text) for text in found})
    assert "Activated." in found and "42" in found and "grinning face" in found
    assert not any("beep tone" in text for text in found)
    assert max(len(text.split()) for text in found) <= synthetic_speech.LONGEST


def test_no_held_out_prompt_is_read_in_training():
    """By the real prompts, where they are prepared."""
    try:
        held_out = [
            key_of(text)
            for split in ("validation", "test")
            for text in asterisk.open(asterisk.Config(split=split)).column("text")
        ]
        read = synthetic_speech.open(synthetic_speech.Config()).column("text")
    except DataError:
        pytest.skip("asterisk or synthetic_speech is not prepared")
    assert not set(held_out) & {key_of(text) for text in read}


def test_who_reads():
    training = next(text for text in sentences(LISTING) if in_split(key_of(text), "train"))
    test = next(text for text in sentences(LISTING) if in_split(key_of(text), "test"))
    assert readers(training) == readers(training) and len(readers(training)) == 2
    assert not any(voice.unseen for voice in readers(training))
    assert [voice.unseen for voice in readers(test)] == [False, False, True]


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="apt-get install espeak-ng flite; macOS: brew install"):
        synthetic_speech.SET.needs()


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A set of few sentences, read by a voice of this test."""
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    monkeypatch.setattr(synthetic_speech, "programs", lambda: None)
    monkeypatch.setattr(synthetic_speech, "sentences", lambda listing: ["one", "two", "three"] * 4)
    hum = np.sin(np.arange(8_000) / 9).astype(np.float32) / 2
    monkeypatch.setattr(synthetic_speech, "render", lambda text, voice: hum)
    dataset = synthetic_speech.SET

    def members(package, wanted):
        yield synthetic_speech.TEXTS, gzip.compress(LISTING.encode())
        yield synthetic_speech.COPYRIGHT, b"CC-BY-SA-3.0"

    with prepared.building(dataset, tmp_path, 256) as writer:
        for _ in dataset.build(members, writer):
            pass


def test_readings(made):
    source = synthetic_speech.open(synthetic_speech.Config("all", "all"))
    assert source.column("seconds").tolist() == [0.5] * len(source)
    samples = DecodeAudio()(source[0])["audio"]
    assert samples.shape == (8_000,) and abs(samples).max() == pytest.approx(0.5, abs=1e-3)
    assert {row["text"] for row in source} == {"one", "two", "three"}
    assert len(set(source.column("group").tolist())) == 3
    with pytest.raises(DataError, match="voices 'heard' is none of seen, unseen, all"):
        synthetic_speech.open(synthetic_speech.Config(voices="heard"))


@pytest.mark.slow
def test_real_voices():
    """Where the programs are installed."""
    try:
        synthetic_speech.programs()
    except DataError as error:
        pytest.skip(str(error))
    for voice in (Voice("espeak-ng", "en-us+f2"), Voice("flite", "slt")):
        said = synthetic_speech.render("Please press one.", voice)
        assert 0.5 < len(said) / synthetic_speech.RATE < 3
        np.testing.assert_array_equal(said, synthetic_speech.render("Please press one.", voice))
    with pytest.raises(DataError, match="says nothing|fails on"):
        synthetic_speech.render(" ", Voice("espeak-ng", "en-us"))
    assert soundfile.__version__
