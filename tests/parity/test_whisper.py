"""Whisper's real weights against `transformers`, to known text; odd shapes: test_families.py."""

import io
import json

import family_checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from mmjax.conversion import load as checkpoints
from mmjax.conversion import whisper
from mmjax.datasets import librivox
from mmjax.datasets.prepared import weights

pytestmark = pytest.mark.parity

KNOWN = (
    "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his "
    "power to do for them."
)


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


def test_frames_of_all_clips(tiny):
    """To 1e-5 those of the reference's form in numpy; its form in torch computes in float32."""
    import transformers

    loaded, folder = tiny
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    for example in librivox.open(librivox.Config()):
        sound = soundfile.read(io.BytesIO(example["audio"]), dtype="float32")[0]
        padded = np.pad(sound, (0, 480_000 - len(sound)))[None]
        want = extractor._np_extract_fbank_features(padded, device="cpu")
        features = loaded.processor([sound]).features
        np.testing.assert_allclose(features.transpose(0, 2, 1), want, atol=1e-5)


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
    theirs = {"encoded": want.encoder_last_hidden_state, "logits": want.logits}
    theirs = {name: value.numpy() for name, value in theirs.items()}
    family_checks.agree(got._asdict(), theirs, None, atol)


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
