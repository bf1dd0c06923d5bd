"""`--mode=listen`, with a recogniser of tones."""

import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tones

import mmjax
from mmjax.commands import listen
from mmjax.config import ConfigError
from mmjax.run import listening
from mmjax.run.chat import Chat
from mmjax.streaming.conversation import Turn
from mmjax.streaming.recognition import Window

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def sound(monkeypatch, tmp_path):
    monkeypatch.setattr(listen, "load", lambda name: name)
    monkeypatch.setattr(listen, "recogniser", lambda loaded, language: tones.Fake())
    samples, said = tones.talk(11, 4)
    path = tmp_path / "talk.wav"
    soundfile.write(path, samples, tones.RATE)
    return path, said


def test_a_file_is_heard_and_kept(sound, tmp_path, capsys):
    path, said = sound
    out = tmp_path / "talk.jsonl"
    listen.run(listen.Options(source=str(path), out=str(out)))
    assert capsys.readouterr().out.splitlines() == said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["text"] for row in rows] == said
    first = rows[0]["words"][0]
    assert first[0] == said[0].split()[0] and first[1] == pytest.approx(0.5, abs=0.05)
    assert rows[0]["start"] < first[1] < rows[0]["end"] < rows[1]["start"] + 0.5


def test_a_pipe_and_replies(sound, monkeypatch, capsys):
    path, said = sound
    pipe = io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    monkeypatch.setattr(sys, "stdin", pipe)
    monkeypatch.setattr(listen, "_reply", lambda options: lambda turns: str(len(turns)))
    listen.run(listen.Options(source="-", reply="somebody", turns=3))
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == said and lines[1::2] == ["> 1", "> 3", "> 3", "> 3"]


def test_a_file_at_its_own_pace_is_buffered(sound, monkeypatch, capsys):
    """And a recogniser that is slower than the sound is told to be."""

    class Slow(tones.Fake):
        def __call__(self, window):
            time.sleep(0.05)
            return super().__call__(window)

    monkeypatch.setattr(listen, "recogniser", lambda loaded, language: Slow())
    path, said = sound
    listen.run(listen.Options(source=str(path), speed=200.0, buffer=60.0, window=25.0))
    found = capsys.readouterr()
    assert found.out.splitlines() == said
    assert "seconds are heard at once, and words come later" in found.err


@pytest.mark.parametrize("wrong", [dict(hop=0.33), dict(window=1.5), dict(speed=-1.0),
                                   dict(buffer=0.5)])  # fmt: skip
def test_options_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        listen.run(listen.Options(**wrong))


def test_a_language_model_is_told_the_turns_that_are_kept():
    class Told(Chat):
        def __init__(self):
            self.messages = []

        def ask(self, text):
            self.asked = text
            return "fine"

    chat = Told()
    reply = listening.by_chat(chat, "be kind")
    turns = [
        Turn("assistant", "old", 0.0, 0.0),
        Turn("user", "hi", 1.0, 2.0),
        Turn("assistant", "hello", 2.0, 2.0),
        Turn("user", "how are you", 3.0, 4.0),
    ]
    assert reply(turns) == "fine" and chat.asked == "how are you"
    assert [(one["role"], one["content"]) for one in chat.messages] == [
        ("system", "be kind"), ("user", "hi"), ("assistant", "hello")
    ]  # fmt: skip


def test_models_that_hear_no_words():
    with pytest.raises(ConfigError, match="a gpt2 hears no words: give a Whisper, or a wav2vec"):
        listening.recogniser(mmjax.load(GOLDEN / "gpt2/gpt2"))


@pytest.mark.slow
def test_letters_are_heard():
    """A wav2vec 2.0 of random weights: a window of whole seconds is heard as a clip is."""
    loaded = mmjax.load(GOLDEN / "wav2vec2/group")
    samples = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    hear = listening.recogniser(loaded)
    found = hear(Window(samples, 0))
    logits = np.asarray(loaded(audio=samples).output.logits[0])
    whole = loaded.processor.tokenizer.collapse(logits.argmax(-1))
    assert " ".join(word.text for word in found) == " ".join(whole.split())
    assert all(0 <= word.start < word.end <= 1 for word in found)
    assert len(hear(Window(samples[:5000], 0))) <= len(found) + 5
