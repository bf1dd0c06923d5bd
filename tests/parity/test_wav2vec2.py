"""wav2vec 2.0 beside its network (test_families.py): pre-training files, extractor, letters."""

import json

import family_checks
import family_reference
import numpy as np
import pytest
from parity.test_families import SOUND, WAVEFORMS

from mmjax.conversion import load as checkpoints
from mmjax.processors.checkpoints import speech as speech_processor
from mmjax.tokenizers import letters

pytestmark = pytest.mark.parity


def test_a_pretraining_checkpoint(tmp_path, capsys):
    """The encoder of a file with a quantiser and heads."""
    import transformers

    _, fields = WAVEFORMS["group"]
    config = transformers.Wav2Vec2Config(
        **SOUND, **fields, codevector_dim=8, proj_codevector_dim=8
    )
    model = transformers.Wav2Vec2ForPreTraining(config).eval()
    model.save_pretrained(tmp_path)
    loaded = checkpoints.load(tmp_path)
    said = capsys.readouterr().out
    assert "left out, heads that are not here: " in said and "quantizer.codevectors" in said
    samples, _ = family_reference.sound()
    found = family_checks.ours(loaded, samples)
    family_checks.agree(found, family_reference.heard(model.wav2vec2, samples, None), None)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_extractor(tmp_path, mask, normalize):
    import transformers

    extractor = transformers.Wav2Vec2FeatureExtractor(
        do_normalize=normalize, return_attention_mask=mask, padding_value=0.0
    )
    extractor.save_pretrained(tmp_path)
    ours = speech_processor.waveform(tmp_path)
    rng = np.random.default_rng(0)
    clips = [rng.normal(0.1, 0.3, size=n).astype(np.float32) for n in (700, 331, 40)]
    want = extractor(clips, sampling_rate=16_000, padding=True, return_tensors="np")
    got = ours(clips)
    np.testing.assert_allclose(got.samples, want.input_values, atol=1e-6)
    if mask:
        np.testing.assert_array_equal(got.mask, want.attention_mask)
    else:
        assert got.mask is None and "attention_mask" not in want
    ours.save(tmp_path / "ours")
    again = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "ours")
    assert again.do_normalize is normalize and again.return_attention_mask is mask


def test_letters(tmp_path):
    import transformers

    names = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "'"]
    (tmp_path / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    theirs = transformers.Wav2Vec2CTCTokenizer(tmp_path / "vocab.json")
    theirs.save_pretrained(tmp_path)
    ours = letters.load(tmp_path)
    for text in ("TEA AT EA'", "A  TEE", "TO BE"):
        assert ours.encode(text) == theirs(text).input_ids
    said = [0, 6, 6, 0, 5, 5, 0, 5, 4, 4, 0, 4, 7, 0, 0, 6, 6, 0]
    assert ours.collapse(said) == theirs.decode(said) == "TEE  AT"
    ours.save(tmp_path / "ours")
    again = transformers.Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "ours")
    assert again.decode(said) == "TEE  AT"
