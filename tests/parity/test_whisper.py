"""Whisper against `transformers`: random checkpoints of odd shapes, and tiny.en's real weights."""

import functools
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from speech_checks import close

from mmjax.conversion import load as checkpoints
from mmjax.conversion import whisper
from mmjax.datasets import librivox
from mmjax.datasets.prepared import weights

pytestmark = pytest.mark.parity

KNOWN = (
    "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his "
    "power to do for them."
)
SMALL = dict(
    vocab_size=50,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=3,
    begin_suppress_tokens=None,
)
ODD = {  # unequal widths and depths of the sides, one head, other activations, 128 bins
    "uneven": dict(
        d_model=24,
        encoder_layers=3,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=2,
        encoder_ffn_dim=40,
        decoder_ffn_dim=56,
        max_source_positions=21,
        max_target_positions=13,
        num_mel_bins=10,
    ),
    "one_head": dict(
        d_model=18,
        encoder_layers=1,
        decoder_layers=3,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        encoder_ffn_dim=7,
        decoder_ffn_dim=30,
        max_source_positions=16,
        max_target_positions=12,
        num_mel_bins=128,
        activation_function="relu",
    ),
    "tanh": dict(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=8,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=25,
        max_target_positions=16,
        num_mel_bins=80,
        activation_function="gelu_new",
    ),
}


def reference(kinds, folder, bare=False):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(**SMALL, **kinds)
    kind = transformers.WhisperModel if bare else transformers.WhisperForConditionalGeneration
    model = kind(config).eval()
    with torch.no_grad():
        for one in model.parameters():  # the reference's start leaves biases at zero
            one.add_(0.05 * torch.randn_like(one))
    model.save_pretrained(folder)
    return model


def theirs(model, features, ids, mask):
    import torch

    features, ids, mask = np.asarray(features), np.array(ids, int), np.asarray(mask)
    position = np.maximum(mask.cumsum(1) - 1, 0)
    with torch.no_grad():
        return model(
            input_features=torch.tensor(features.transpose(0, 2, 1)),
            decoder_input_ids=torch.tensor(ids),
            decoder_attention_mask=torch.tensor(mask.astype(int)),
            decoder_position_ids=torch.tensor(position),
            output_hidden_states=True,
        )


def batch(config, rng, length=9):
    features = rng.normal(size=(3, config.frames, config.bins)).astype(np.float32)
    ids = rng.integers(4, 50, (3, length))
    mask = np.ones((3, length), bool)
    mask[0, :4], mask[1, 6:] = False, False  # padding on the left, and on the right
    return jnp.asarray(features), jnp.asarray(ids), jnp.asarray(mask)


@pytest.mark.parametrize("name", ODD)
def test_every_layer(tmp_path, name):
    model = reference(ODD[name], tmp_path / "theirs")
    loaded = checkpoints.load(tmp_path / "theirs")
    features, ids, mask = batch(loaded.config, np.random.default_rng(0))
    want = theirs(model, features, ids, mask)
    apply = jax.jit(functools.partial(loaded.model.apply, mutable=["intermediates"]))
    got, sown = apply(loaded.variables, features, ids, mask)
    close(got.logits, want.logits, mask)
    close(got.encoded, want.encoder_last_hidden_state)
    for side, hidden in (
        ("encoder", want.encoder_hidden_states),
        ("decoder", want.decoder_hidden_states),
    ):
        (layers,) = sown["intermediates"][side]["transformer"]["hidden_states"]
        assert len(layers) == len(hidden)
        for i, layer in enumerate(layers[:-1]):  # the last one is given behind the norm
            close(layer, hidden[i], mask if side == "decoder" else None)
    close(got.tokens, want.decoder_hidden_states[-1], mask)

    import transformers

    checkpoints.save(loaded, tmp_path / "ours")
    again = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "ours")
    close(theirs(again.eval(), features, ids, mask).logits, want.logits, mask, 1e-6)


def test_a_bare_model(tmp_path):
    """WhisperModel's names lack the first part."""
    model = reference(ODD["uneven"], tmp_path, bare=True)
    loaded = checkpoints.load(tmp_path)
    features, ids, mask = batch(loaded.config, np.random.default_rng(1))
    got = jax.jit(loaded.model.apply)(loaded.variables, features, ids, mask)
    close(got.tokens, theirs(model, features, ids, mask).last_hidden_state, mask)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """tiny.en through CTranslate2's file, and the folder where it was saved for the reference."""
    return real("whisper-tiny.en", tmp_path_factory)


def real(name, tmp_path_factory):
    loaded = checkpoints.load(weights.folder(name), dtype=jnp.float32)
    folder = tmp_path_factory.mktemp(name)
    checkpoints.save(loaded, folder)
    return loaded, folder


@pytest.fixture(scope="module")
def clip():
    example = next(one for one in librivox.open(librivox.Config()) if "0870" in one["id"])
    return soundfile.read(io.BytesIO(example["audio"]), dtype="float32")[0]


@pytest.mark.parametrize("name", ["tiny.en", "base"])
def test_real_weights(request, tmp_path_factory, clip, name):
    import torch
    import transformers

    if name == "tiny.en":
        loaded, folder = request.getfixturevalue("tiny")
    else:
        loaded, folder = real(f"whisper-{name}", tmp_path_factory)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    features = loaded.processor([clip]).features
    want = extractor(clip, sampling_rate=16_000, return_tensors="np").input_features
    np.testing.assert_allclose(features.transpose(0, 2, 1), want, atol=2e-5)  # its own is float32

    processor = loaded.processor
    prompt = processor.decoding.prompt("en")
    assert prompt == ((50_257, 50_362) if name == "tiny.en" else (50_258, 50_259, 50_359, 50_363))
    ids = np.array([[*prompt, *processor.tokenizer.encode(f" {KNOWN}")]])
    got = jax.jit(loaded.model.apply)(loaded.variables, jnp.asarray(features), jnp.asarray(ids))
    with torch.no_grad():
        want = model(
            input_features=torch.tensor(features.transpose(0, 2, 1)),
            decoder_input_ids=torch.tensor(ids),
        )
    # base says numbers up to 24, and the reference's own float32 is up to 9e-4 off its float64
    atol = 1e-4 if name == "tiny.en" else 2e-3
    close(got.encoded, want.encoder_last_hidden_state, atol=atol)
    close(got.logits, want.logits, atol=atol)


def test_the_reference_decodes_what_was_saved(tiny, clip):
    """With the processor's files: the prompt and the tokens that never come."""
    import transformers

    loaded, folder = tiny
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    processor = transformers.WhisperProcessor.from_pretrained(folder)
    inputs = processor(clip, sampling_rate=16_000, return_tensors="pt")
    ids = model.generate(inputs.input_features, do_sample=False, num_beams=1)[0]
    text = processor.tokenizer.decode(ids, skip_special_tokens=True)
    assert text.strip() == KNOWN


def test_greedy_decoding_reads_the_known_text(tiny, clip):
    assert greedy(tiny[0], clip) == KNOWN


def greedy(loaded, clip):
    """The likeliest token, again and again."""
    model, variables, processor = loaded.model, loaded.variables, loaded.processor
    rules = processor.decoding
    never = np.zeros(loaded.config.vocab_size, bool)
    never[list(rules.suppressed)] = True
    never[rules.no_timestamps + 1 :] = True
    first = never.copy()
    first[list(rules.suppressed_first)] = True
    encode = jax.jit(lambda v, x: model.apply(v, x, method=model.encode_audio))
    prefill = jax.jit(lambda v, i, e: model.apply(v, i, context=e, slots=64, method=model.prefill))
    extend = jax.jit(lambda v, i, s: model.apply(v, i, s, method=model.extend))
    encoded = encode(variables, processor([clip]).features)
    step = prefill(variables, np.array([rules.prompt()]), encoded)
    said = []
    while len(said) < 60:
        row = np.where(never if said else first, -np.inf, step.logits[0, -1])
        if row.argmax() == rules.end:
            break
        said.append(int(row.argmax()))
        step = extend(variables, np.array([said[-1:]]), step.cache)
    return processor.tokenizer.decode(said)


def test_config_is_the_references_own(tmp_path):
    """A config.json with all defaults left out, as old releases wrote it."""
    import transformers

    ours = whisper.config({"model_type": "whisper"})
    theirs = transformers.WhisperConfig()
    assert ours == whisper.config(json.loads(theirs.to_json_string(use_diff=False)))
