"""Prompts and rules of Whisper's decoding, processor files, letters of CTC."""

import json

import numpy as np
import pytest

from mmjax.processors.checkpoints import speech as speech_processor
from mmjax.processors.checkpoints.speech import ProcessorError, Waveform
from mmjax.tokenizers import letters
from mmjax.tokenizers.bpe import TokenizerError

MULTILINGUAL = {
    "decoder_start_token_id": 50_258,
    "eos_token_id": 50_257,
    "forced_decoder_ids": [[1, None], [2, 50_359]],
    "suppress_tokens": [1, 2],
    "begin_suppress_tokens": [220, 50_257],
    "no_timestamps_token_id": 50_363,
    "lang_to_id": {"<|en|>": 50_259, "<|de|>": 50_261},
    "task_to_id": {"transcribe": 50_359, "translate": 50_358},
    "max_length": 448,
}
VOCAB = {name: i for i, name in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A"])}


def write(folder, **contents):
    for name, value in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def test_prompts():
    rules = speech_processor.decoding(MULTILINGUAL)
    assert rules.forced == (None, 50_359)
    assert rules.prompt() == (50_258, None, 50_359, 50_363)
    assert rules.prompt("de", "translate", timestamps=True) == (50_258, 50_261, 50_358)
    with pytest.raises(ValueError, match="no language 'xx'; there are en, de"):
        rules.prompt("xx")
    with pytest.raises(ValueError, match="no task 'sing'; there are transcribe, translate"):
        rules.prompt(task="sing")
    english = speech_processor.decoding({"no_timestamps_token_id": 50_362})
    assert english.prompt("en") == (50_257, 50_362)
    with pytest.raises(ValueError, match="writes down English"):
        english.prompt("de")


def test_rules_of_an_old_folder(tmp_path):
    """Before generation_config.json they were in config.json."""
    write(tmp_path, config={"eos_token_id": 7, "suppress_tokens": [3], "max_length": 99})
    rules = speech_processor.whisper(tmp_path).decoding
    assert (rules.end, rules.suppressed, rules.longest) == (7, (3,), 99)


def test_extractor_files(tmp_path):
    """A file of its own, or a part of the processor's; what is written is read back."""
    settings = {"feature_size": 128, "chunk_length": 20, "n_fft": 400, "hop_length": 160}
    write(
        tmp_path, processor_config={"feature_extractor": settings}, generation_config=MULTILINGUAL
    )
    found = speech_processor.whisper(tmp_path)
    assert (found.mel.bins, found.mel.seconds) == (128, 20)
    found.save(tmp_path / "saved")
    assert speech_processor.whisper(tmp_path / "saved") == found
    write(tmp_path, preprocessor_config={**settings, "dither": 0.1})
    with pytest.raises(ProcessorError, match="dither = 0.1 is not supported"):
        speech_processor.whisper(tmp_path)
    with pytest.raises(ProcessorError, match="'Wav2Vec2FeatureExtractor' is read here"):
        write(tmp_path, preprocessor_config={"feature_extractor_type": "ClapFeatureExtractor"})
        speech_processor.waveform(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ProcessorError, match="is not JSON"):
        speech_processor.waveform(tmp_path)


def test_waveforms():
    rng = np.random.default_rng(0)
    clips = [rng.normal(1, 3, size=length) for length in (100, 60)]
    told = Waveform(mask=True)(clips)
    for row, heard in zip(told.samples, told.mask, strict=True):
        np.testing.assert_allclose([row[heard].mean(), row[heard].std()], [0, 1], atol=1e-6)
        assert not row[~heard].any()
    untold = Waveform()(clips)
    assert untold.mask is None and untold.samples[1, 60:].all()  # zeros are part of the clip
    plain = Waveform(normalize=False)(clips).samples
    np.testing.assert_array_equal(plain[1, :60], clips[1].astype(np.float32))
    with pytest.raises(ValueError, match=r"not \[0\]"):
        Waveform()([np.zeros(0)])


def test_letters(tmp_path):
    write(tmp_path, vocab=VOCAB, tokenizer_config={"do_lower_case": True})
    found = letters.load(tmp_path)
    ids = found.encode("tea at")
    assert ids == [6, 5, 7, 4, 7, 6] and found.encode("b") == [3]
    assert found.decode(ids) == "tea at"
    assert found.collapse([0, 6, 6, 0, 5, 5, 0, 5, 4, 4, 7, 0]) == "tee a"
    assert (found.blank, found.vocab_size, found.special["</s>"]) == (0, 8, 2)
    found.save(tmp_path / "again")
    assert letters.load(tmp_path / "again").decode(ids) == "tea at"


def test_letters_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no vocab.json"):
        letters.load(tmp_path)
    write(tmp_path, vocab={"eng": VOCAB})
    with pytest.raises(TokenizerError, match="'eng' holds a vocabulary of its own"):
        letters.load(tmp_path)
    small = {name: number for name, number in VOCAB.items() if name != "<unk>"}
    with pytest.raises(TokenizerError, match="has no 'B' and no token for unknown letters"):
        letters.Letters(small).encode("TAB")
