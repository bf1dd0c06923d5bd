"""`--mode=transcribe` from files to subtitles, with a tiny random Whisper in a folder."""

import dataclasses
import json
import re

import flax.linen as nn
import jax
import numpy as np
import pytest
import soundfile
import tokenizers

import mmjax
from mmjax import main
from mmjax.commands import prepare, transcribe
from mmjax.config import ConfigError
from mmjax.conversion.load import Loaded
from mmjax.datasets.prepared import weights
from mmjax.generation.transcription.options import Options
from mmjax.models import whisper
from mmjax.processors.checkpoints import speech
from mmjax.processors.checkpoints.speech import ProcessorError
from mmjax.run import heard
from mmjax.run.transcribe import Transcriber
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms.mel import LogMel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint as the hub has it, of windows of one second."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, [])
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", "translate", "transcribe", "startoflm",
             "startofprev", "nospeech", "notimestamps"]  # fmt: skip
    backend.add_special_tokens([f"<|{name}|>" for name in names])
    stack = dataclasses.replace(whisper.STACK, width=16, layers=2, heads=2, hidden=16)
    ids = dict(start_id=256, end_ids=(256,), padding_id=256, decoder_start_id=257)
    config = whisper.Config(8, 100, 315, 40, stack, stack, **ids)
    model = whisper.Model(config)
    params = jax.jit(model.init)(jax.random.key(0), *whisper.inputs(config))["params"]
    settings = {"decoder_start_token_id": 257, "eos_token_id": 256, "max_length": 40,
                "no_timestamps_token_id": 263, "suppress_tokens": [257]}  # fmt: skip
    decoding = speech.decoding(settings)
    processor = speech.Whisper(LogMel(8, seconds=1.0), decoding, Tokenizer(backend))
    place = tmp_path_factory.mktemp("whisper")
    mmjax.save(Loaded("whisper", model, nn.unbox(params), processor, config), place)
    return place


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    place = tmp_path_factory.mktemp("sounds")
    noise = np.random.default_rng(0).normal(0, 0.1, 24_000)
    soundfile.write(place / "a.wav", noise, 16_000)
    soundfile.write(place / "a.flac", noise[:9_000], 16_000)
    soundfile.write(place / "quiet.wav", np.zeros(8_000), 16_000)
    soundfile.write(place / "nan.wav", np.r_[noise, np.nan], 16_000, subtype="FLOAT")
    (place / "notes.txt").write_text("no recording")
    (place / "broken.mp3").write_text("no sound")
    return place


def test_subtitles_of_a_folder(folder, sounds, tmp_path, capsys):
    """What cannot be read is named, and alone."""
    out = tmp_path / "out"
    arguments = [f"--model={folder}", f"--audio={sounds},{sounds / 'gone.wav'}", f"--out={out}"]
    arguments += ["--formats=txt,json", "--words", "--pictures", "--greedy", "--batch_size=1"]
    status = main.main(["--mode=transcribe", *arguments])
    said = capsys.readouterr()
    assert status == 1
    for name in ("broken.mp3: not a readable", "nan.wav: 1 of 24001 samples", "gone.wav: there is"):
        assert name in said.err
    assert "notes.txt" not in said.err + said.out
    names = {path.name for path in out.iterdir()}
    stems = ("a", "a.wav", "quiet")  # of a.flac, of a.wav, whose stem is taken, and of quiet.wav
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("txt", "json", "png")}
    found = json.loads((out / "a.wav.json").read_text())
    assert found["seconds"] == 1.5 and found["segments"][0]["words"]
    assert (out / "quiet.txt").read_text() == ""


def test_one_recording_is_printed(folder, sounds, capsys):
    options = transcribe.Options(formats=("srt",), greedy=True, batch_size=1)
    audio = (str(sounds / "a.flac"),)
    transcribe.run(dataclasses.replace(options, audio=audio, model=str(folder)))
    said = capsys.readouterr().out
    assert said.startswith("1\n00:00:0") and "-->" in said


def test_from_python(folder, sounds):
    greedy = Options(words=True, temperatures=(0.0,))
    words = mmjax.transcribe(sounds / "a.flac", folder, words=True, temperatures=(0.0,))
    samples = soundfile.read(sounds / "a.flac", dtype="float32")[0]
    transcriber = Transcriber(mmjax.load(folder))
    transcriber = transcriber.with_options(greedy)
    both = transcriber(samples)
    assert both.segments == words.segments and words.words
    sheet = heard.picture(transcriber, sounds / "a.wav")
    assert sheet.width == 1720 and "begin" in sheet.info["Description"]
    assert heard.picture(transcriber, sounds / "quiet.wav").height < sheet.height


def test_what_is_refused(folder, sounds, tmp_path, monkeypatch):
    audio = (str(sounds / "a.wav"),)
    with pytest.raises(ConfigError, match="needs --audio, such as --audio=talk.mp3"):
        transcribe.run(transcribe.Options())
    with pytest.raises(ConfigError, match="--pictures needs --out"):
        transcribe.run(transcribe.Options(audio, pictures=True))
    with pytest.raises(ConfigError, match="--formats=doc: of txt, srt, vtt, tsv, json"):
        transcribe.run(transcribe.Options(audio, formats=("doc",)))
    with pytest.raises(ProcessorError, match="writes down English: it takes no language='fr'"):
        transcribe.run(transcribe.Options(audio, str(folder), "fr"))
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="--mode=prepare --set=whisper-tiny.en"):
        transcribe.run(transcribe.Options(audio))


def test_weights_are_prepared_as_sets_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    assert re.search(r"whisper-base +not prepared", prepare.listing(tmp_path))
    (tmp_path / "weights" / "minilm").mkdir(parents=True)
    assert weights.there("minilm") and not weights.there("whisper-base")
    assert prepare.prepare(prepare.Options(("minilm",))) == 0
    assert "minilm: ready, in" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no 'whisper'; there are .*, whisper-tiny.en, "):
        prepare.prepare(prepare.Options(("whisper",)))
