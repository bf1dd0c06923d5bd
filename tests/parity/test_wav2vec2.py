"""wav2vec 2.0 and HuBERT against `transformers`: random checkpoints of odd shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from speech_checks import close

from mmjax.conversion import load as checkpoints
from mmjax.models import wav2vec2
from mmjax.processors import speech as speech_processor

pytestmark = pytest.mark.parity

FRONT = dict(conv_dim=[12, 10, 14], conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2])
ODD = {
    "group": (
        "Wav2Vec2ForCTC",
        dict(
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=40,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=3,
            vocab_size=17,
        ),
    ),
    "stable": (
        "Wav2Vec2Model",
        dict(
            hidden_size=18,
            num_hidden_layers=2,
            num_attention_heads=1,
            intermediate_size=7,
            num_conv_pos_embeddings=7,
            num_conv_pos_embedding_groups=2,
            hidden_act="gelu_new",
            feat_extract_norm="layer",
            conv_bias=True,
            do_stable_layer_norm=True,
            mask_time_prob=0.0,
        ),
    ),
    "hubert": (
        "HubertForCTC",
        dict(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=8,
            intermediate_size=64,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            hidden_act="relu",
            feat_extract_activation="relu",
            feat_proj_layer_norm=False,
            vocab_size=9,
        ),
    ),
    "hubert_stable": (
        "HubertModel",
        dict(
            hidden_size=20,
            num_hidden_layers=2,
            num_attention_heads=5,
            intermediate_size=24,
            num_conv_pos_embeddings=6,
            num_conv_pos_embedding_groups=1,
            feat_extract_norm="layer",
            conv_bias=True,
            do_stable_layer_norm=True,
        ),
    ),
}


def reference(name, folder):
    import torch
    import transformers

    torch.manual_seed(0)
    kind, fields = ODD[name]
    config = getattr(transformers, f"{kind.split('For')[0].removesuffix('Model')}Config")
    model = getattr(transformers, kind)(config(**FRONT, **fields)).eval()
    with torch.no_grad():
        for one in model.parameters():  # the reference's start leaves biases at zero
            one.add_(0.05 * torch.randn_like(one))
    model.save_pretrained(folder)
    return model


def batch():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(3, 403)).astype(np.float32)
    mask = np.arange(403) < np.array([[403], [250], [61]])
    return np.where(mask, samples, 0), mask


def theirs(model, samples, mask):
    import torch

    mask = None if mask is None else torch.tensor(mask.astype(int))
    with torch.no_grad():
        return model(torch.tensor(samples), attention_mask=mask, output_hidden_states=True)


@pytest.mark.parametrize("name", ODD)
def test_every_layer(tmp_path, name):
    import transformers

    model = reference(name, tmp_path / "theirs")
    loaded = checkpoints.load(tmp_path / "theirs")
    samples, mask = batch()
    apply = jax.jit(functools.partial(loaded.model.apply, mutable=["intermediates"]))
    for given in (mask, None):
        want = theirs(model, samples, given)
        masks = () if given is None else (jnp.asarray(given),)
        got, sown = apply(loaded.variables, jnp.asarray(samples), *masks)
        valid = None
        if given is not None:
            valid = np.asarray(wav2vec2.frame_mask(loaded.config, jnp.asarray(given)))
            import torch

            heard = torch.tensor(given.astype(int))
            expected = model._get_feature_vector_attention_mask(valid.shape[1], heard)
            np.testing.assert_array_equal(valid, expected)
            assert valid.sum(1).tolist() == [19, 12, 2]
        layers = sown["intermediates"]["transformer"]["hidden_states"][0][1:]
        assert len(layers) == len(want.hidden_states) - 1
        last = len(layers) - (loaded.config.transformer.norm == "pre")  # given behind the norm
        for i in range(last):
            close(layers[i], want.hidden_states[i + 1], valid)
        if got.logits is None:
            close(got.tokens, want.last_hidden_state, valid)
        else:
            close(got.logits, want.logits, valid)

    checkpoints.save(loaded, tmp_path / "ours")
    kind = getattr(transformers, ODD[name][0])
    again, info = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    want, got = (theirs(one, samples, mask) for one in (model, again.eval()))
    for one, other in zip(want.hidden_states, got.hidden_states, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_a_pretraining_checkpoint(tmp_path):
    """The encoder of a file with a quantiser and heads."""
    import transformers

    fields = {**ODD["group"][1], "codevector_dim": 8, "proj_codevector_dim": 8}
    config = transformers.Wav2Vec2Config(**FRONT, **fields)
    model = transformers.Wav2Vec2ForPreTraining(config).eval()
    model.save_pretrained(tmp_path)
    loaded = checkpoints.load(tmp_path)
    samples, _ = batch()
    got = jax.jit(loaded.model.apply)(loaded.variables, jnp.asarray(samples))
    close(got.tokens, theirs(model.wav2vec2, samples, None).last_hidden_state)


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
    import json

    import transformers

    from mmjax.tokenizers import letters

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
