"""Sounds embedded, searched by words and by a sound, and listened to, with a tiny CLAP."""

import base64
import dataclasses
import io
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from mmjax.commands import embed, search
from mmjax.config import ConfigError
from mmjax.conversion.load import Loaded
from mmjax.data.source import CorruptExample, InMemory
from mmjax.models import ast, clap, pooled_audio, text, whisper_encoder
from mmjax.processors import audio_text
from mmjax.run import listing
from mmjax.run.encoder import Encoder

RATE = 8_000
SMALL = dataclasses.replace(
    text.VARIANTS["tiny"].transformer, width=16, layers=1, heads=2, hidden=32
)
AST = ast.Config(32, 128, frame_stride=16, bin_stride=16, pool="mean", transformer=SMALL)
WHISPER = pooled_audio.Config(whisper_encoder.Config(32, 128, transformer=SMALL))
TONES = {"low": 200.0, "middle": 600.0, "high": 2_000.0}


def tone(hertz, seconds=0.5):
    samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV")
    return file.getvalue()


def loaded(tower):
    config = audio_text.Config(tokenizer="words", max_length=6, vocab_size=20)
    audio = dataclasses.replace(config.audio, bins=32, longest=1.0)
    config = dataclasses.replace(config, audio=audio)
    texts = [{"text": f"a {name} tone", "audio": tone(200)} for name in TONES]
    processor = audio_text.build(config, lambda: [InMemory(texts)], None)
    words = text.Config(processor.tokenizer.vocab_size, 6, transformer=SMALL)
    config = clap.Config(text=words, audio=tower, embedding=8)
    model = clap.Model(config)
    batch = processor(audio=tone(200), text="a low tone")
    ids, mask, heard = (jnp.asarray(batch[name]) for name in ("ids", "mask", "audio"))
    params = model.init(jax.random.key(0), None, ids, mask, audio=heard)["params"]
    return Loaded("clap", model, nn.unbox(params), processor, config)


@pytest.fixture(scope="module")
def model():
    return loaded(AST)


@pytest.mark.parametrize("tower", [AST, WHISPER], ids=["ast", "whisper"])
def test_padding_changes_nothing(tower, model):
    made = model if tower is AST else loaded(tower)
    clips = [tone(600, 0.3), tone(200, 1.0), tone(2_000, 0.62)]
    together = made.encode_audio(clips)
    alone = np.concatenate([made.encode_audio(clip) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=2e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, hertz in TONES.items():
        (folder / f"{name}.wav").write_bytes(tone(hertz))
    (folder / "z_broken.wav").write_bytes(b"no sound")
    return folder


def test_a_folder_of_sounds_is_searched(model, clips, tmp_path, monkeypatch, capsys):
    out = tmp_path / "clips.npy"
    encoder = Encoder(model)
    options = embed.Options(str(clips), str(out), "clap", "sounds", batch_size=2)
    index = embed.embed(encoder, listing.open(str(clips), "sounds"), options)
    assert index.names == ("high.wav", "low.wav", "middle.wav")
    assert "1 of 4 cannot be read" in capsys.readouterr().out
    monkeypatch.setattr(search, "load", lambda name: model)
    page = tmp_path / "hits.html"
    query = str(clips / "low.wav")
    hits = search.run(search.Options(query, str(out), count=2, out=str(page)))
    assert hits[0].name == "low.wav" and hits[0].score == pytest.approx(1, abs=1e-4)
    html = page.read_text()
    players = re.findall(r'<audio controls[^>]*src="data:audio/wav;base64,([^"]*)"', html)
    assert len(players) == 3  # the query, and two hits
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(players[1])))
    assert rate == 16_000 and abs(np.abs(samples).max() - 0.3) < 0.03
    words = search.run(search.Options("a high tone", str(out), out=str(tmp_path / "hits.png")))
    assert len(words) == 3 and (tmp_path / "hits.png").exists()
    with pytest.raises(FileNotFoundError, match="there is no such sound"):
        search.asked("none.flac")


def test_what_fits_is_named_and_what_cannot_be_is_said(model, clips):
    found = model.classify(
        [str(clips / "low.wav"), tone(600)], ["low", "high"], ["a {} tone"], field="audio"
    )
    assert found.probabilities.shape == (2, 2) and set(found.best) <= {"low", "high"}
    with pytest.raises(CorruptExample, match="not a readable sound file"):
        model.encode_audio(clips / "z_broken.wav")
    with pytest.raises(ConfigError, match="has no tower for image: it has text, audio"):
        Encoder(model).check("image")
