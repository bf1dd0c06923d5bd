"""AST and CLAP live against `transformers`, from the clips on: shorter than a window and longer
than four, fused and unfused, hidden states, vectors, logits; saved and opened by the reference."""

import family_checks
import family_reference
import numpy as np
import pytest
import sound_reference

from mmjax.conversion import load

pytestmark = pytest.mark.parity

# what torch keeps beside parameters, and makes again where a file lacks it
COUNTED = ("num_batches_tracked", "relative_position_index", "position_ids", "token_type_ids")
CASES = {
    "pair": ("ClapModel", False, {}),
    "pair_fused": ("ClapModel", True, {}),
    "pair_otherwise": (
        "ClapModel", False,
        dict(
            projection_hidden_act="gelu",
            audio=dict(depths=[4, 2], qkv_bias=False, hidden_act="relu", layer_norm_eps=1e-3),
            words=dict(type_vocab_size=2, hidden_act="relu", pad_token_id=1),
        ),
    ),
    # what leaves the patches is as large as frames in dB are
    "pair_unnormed": ("ClapModel", False, dict(audio=dict(enable_patch_layer_norm=False))),
    "audio": ("ClapAudioModelWithProjection", False, {}),
    "audio_fused": ("ClapAudioModelWithProjection", True, {}),
    "audio_alone": ("ClapAudioModel", True, {}),
    "text": ("ClapTextModelWithProjection", False, {}),
    "text_alone": ("ClapTextModel", False, {}),
    "ast": ("ASTModel", False, {}),
    "ast_classes": ("ASTForAudioClassification", False, dict(num_labels=5)),
    "ast_otherwise": ("ASTForAudioClassification", False, dict(qkv_bias=False, hidden_act="relu")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_clips_and_texts(case, tmp_path):
    name, fused, fields = CASES[case]
    family = "ast" if name.startswith("AST") else "clap"
    if family == "ast":
        reference = sound_reference.ast(name, **fields)
    else:
        reference = sound_reference.clap(name, fused, **fields)
    reference.save_pretrained(tmp_path / "theirs")
    clips = None
    inputs = {}
    if "Text" not in name:
        extractor = sound_reference.extractor(family, fused)
        extractor.save_pretrained(tmp_path / "theirs")
        clips = sound_reference.clips(family)
        inputs = sound_reference.features(extractor, clips, sound_reference.RATE[family])
    texts = family_reference.batch(61, 1) if case.startswith(("pair", "text")) else None
    expected = sound_reference.said(reference, inputs, texts)

    loaded = load.load(tmp_path / "theirs")
    found = family_checks.ours_of_sounds(loaded, clips, texts)
    valid = texts[1] if case.startswith("text") else None
    tolerance = 1e-3 if case == "pair_unnormed" else 1e-4
    family_checks.agree(found, expected, valid, tolerance)

    load.save(loaded, tmp_path / "ours")
    unread = {one for one, _ in reference.named_buffers() if one.endswith(COUNTED)}
    opened = family_reference.opened(name, tmp_path / "ours", unread)
    again = sound_reference.said(opened, inputs, texts)
    assert again.keys() == expected.keys()
    for output, theirs in expected.items():
        np.testing.assert_allclose(again[output], theirs, atol=1e-5, rtol=1e-5, err_msg=output)
