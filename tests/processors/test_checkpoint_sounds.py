"""Checkpoints of sounds from raw clips on: any form of a clip, texts, classes, hidden states."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tokenizers
from tokenizers import models, pre_tokenizers

from mmjax.conversion import load
from mmjax.data.source import CorruptExample
from mmjax.processors.checkpoints import sounds as checkpoint_sounds
from mmjax.processors.checkpoints.speech import ProcessorError
from mmjax.transforms.audio import Sound

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ["a dog", "rain", "a bell"]


def clip(seconds, rate):
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (300 + 200 * time) * time)).astype(np.float32)


@pytest.fixture(scope="module", params=["unfused", "fused"])
def clap(request, tmp_path_factory):
    """A checkpoint with a tokenizer of a few words."""
    folder = tmp_path_factory.mktemp("clap") / request.param
    shutil.copytree(GOLDEN / "clap" / request.param, folder)
    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "dog", "rain", "bell"]
    vocab = {word: number for number, word in enumerate(words)}
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.save(str(folder / "tokenizer.json"))
    settings = {"pad_token": "<pad>", "model_max_length": 15}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return load.load(folder)


def test_a_clip_in_any_form(clap, tmp_path):
    """A file of another rate and two channels is one clip; its samples at 48 kHz are the same."""
    sound = clip(2.3, 48_000)
    path = tmp_path / "dog.wav"
    soundfile.write(path, np.stack([sound, sound], 1), 48_000, subtype="FLOAT")
    vectors = clap.encode_audio(
        [str(path), path.read_bytes(), sound, Sound(sound, 48_000), clip(2.3, 24_000)]
    )
    assert vectors.shape == (5, 10)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[1:4], vectors[:1].repeat(3, 0), atol=1e-5)


def test_classes_by_their_names(clap, tmp_path):
    soundfile.write(tmp_path / "dog.wav", clip(0.4, 16_000), 16_000)
    found = clap.classify(str(tmp_path / "dog.wav"), NAMES)
    assert found.best[0] in NAMES and found.probabilities.shape == (1, 3)
    pair = clap.logits(audio=str(tmp_path / "dog.wav"), text=NAMES)
    other = clap.logits(text=NAMES, audio=str(tmp_path / "dog.wav"))
    assert pair.shape == (1, 3) and other.shape == (3, 1)
    # texts have a factor of their own
    scales = [float(clap.params[name]) for name in ("log_scale", "log_text_scale")]
    np.testing.assert_allclose(other.T / pair, np.exp(scales[1] - scales[0]), rtol=1e-3)


def test_hidden_states_of_stages(clap):
    states = clap(audio=clip(0.4, 48_000), hidden_states=True).hidden_states
    assert states["audio/stage_0"].shape == (1, 8, 8, 24)
    assert states["audio/stage_1"].shape == (1, 8, 8, 24)


def test_the_processors_arrays_and_picture(clap):
    batch = clap.processor(audio=[clip(0.3, 48_000), clip(4.6, 48_000)], text=NAMES[:2])
    fused = clap.config.audio.fusion
    assert batch["audio"].shape == (2, 4 if fused else 1, 101, 64)
    assert ("audio_mask" in batch) == fused
    if fused:
        assert batch["audio_mask"].tolist() == [[True] + [False] * 3, [True] * 4]
    assert clap.processor.show({"audio": batch["audio"]}, 0)["audio"].shape == (64, 101, 3)
    assert clap.processor.takes == ("audio", "text")
    with pytest.raises(CorruptExample, match="NaN"):
        clap.processor(audio=np.full(48_000, np.nan, np.float32))


def test_a_classifiers_own_classes():
    ast = load.load(GOLDEN / "ast" / "classes")
    found = ast.classify(clip(0.7, 16_000))
    assert set(found.names) == {"rain", "dog", "bell"}
    assert ast.encode_audio([clip(0.2, 16_000), clip(3.0, 16_000)]).shape == (2, 18)


def test_extractors_that_are_not_here(tmp_path):
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({"feature_extractor_type": "EncodecFeatureExtractor"}))
    with pytest.raises(ProcessorError, match="'EncodecFeatureExtractor'; ASTFeatureExtractor and"):
        checkpoint_sounds.load(tmp_path)
    file.write_text(json.dumps({"feature_extractor_type": "ClapFeatureExtractor", "top_db": 80}))
    with pytest.raises(ProcessorError, match="top_db = 80; None is read here"):
        checkpoint_sounds.load(tmp_path)
