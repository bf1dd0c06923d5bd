"""What a loaded model and a restored run can be asked, in every modality, and what is refused."""

import dataclasses
import functools
import io
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
from PIL import Image

import mmjax
from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample
from mmjax.datasets import emoji
from mmjax.processors import image
from mmjax.processors.checkpoints import speech
from mmjax.transforms.audio import Sound

GOLDEN = Path(__file__).parents[1] / "golden"
CHECKPOINTS = (
    "checkpoints/clip", "checkpoints/siglip2", "checkpoints/open_clip_rn", "checkpoints/vit",
    "bert/bert", "gpt2/gpt2", "llama/gemma2", "wav2vec2/group",
)  # fmt: skip


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


@functools.cache
def opened(name):
    return mmjax.load(name if name == "emoji_clip" else GOLDEN / name)


@functools.cache
def pictures():
    drawn = {thing.name: thing.images[0] for thing in emoji.concepts()}
    return [drawn["pizza"], drawn["tiger"]]


def forms(encoded, folder):
    """One picture as people hold it."""
    opaque = Image.open(io.BytesIO(encoded)).convert("RGBA")
    white = Image.new("RGBA", opaque.size, "white")
    picture = Image.alpha_composite(white, opaque).convert("RGB")
    path = folder / "picture.png"
    picture.save(path)
    return [path, str(path), path.read_bytes(), picture, np.asarray(picture)]


def test_pictures_in_any_form_alone_or_several(tmp_path):
    clip = opened("emoji_clip")
    shown = forms(pictures()[0], tmp_path)
    vectors = clip.encode_image(shown, batch_size=2)  # the last batch is filled up
    assert vectors.shape == (5, 192) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors[[0] * 5], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    alone = clip.encode_image(shown[0], batch_size=2)
    np.testing.assert_array_equal(alone, vectors[:1])


@pytest.mark.slow
def test_vectors_of_whatever_length():
    clip = opened("emoji_clip")
    vectors = clip.encode_image(pictures())
    as_they_are = clip.encode_image(pictures(), normalize=False)
    lengths = np.linalg.norm(as_they_are, axis=1, keepdims=True)
    assert (lengths > 2).all()
    np.testing.assert_allclose(as_they_are / lengths, vectors, atol=1e-6)
    texts = clip.encode_text("a tiger", normalize=False)
    assert np.linalg.norm(texts) > 2


def test_the_vectors_are_those_of_the_models_call():
    clip = opened("emoji_clip")
    texts = ["a slice of pizza", "a tiger"]
    images, words = clip(image=pictures(), text=texts).output
    np.testing.assert_allclose(clip.encode_image(pictures()), images, atol=1e-6)
    np.testing.assert_allclose(clip.encode_text(texts), words, atol=1e-6)
    prepared = clip(**clip.processor(images=pictures(), text=texts))
    assert prepared.hidden_states == {} == prepared.attention_weights
    for one, other in zip(prepared.output, (images, words), strict=True):
        np.testing.assert_array_equal(one, other)
    scale = min(np.exp(clip.params["log_scale"]), clip.config.scale_max)
    logits = clip.logits(image=pictures(), text=texts)
    np.testing.assert_allclose(logits, scale * images @ words.T, rtol=1e-4)
    np.testing.assert_allclose(clip.logits(text=texts, image=pictures()), logits.T, rtol=1e-4)


def test_classes_by_their_names():
    clip = opened("emoji_clip")
    found = clip.classify(pictures(), ["tiger", "pizza"])
    assert found.best == ("pizza", "tiger") and found.logits.shape == (2, 2)
    np.testing.assert_allclose(found.probabilities, jax.nn.softmax(found.logits), atol=1e-6)
    logits = clip.logits(image=pictures(), text=["tiger", "pizza"])
    np.testing.assert_allclose(found.logits, logits, rtol=1e-4)
    # of several templates, the mean
    templates = ["{}", "a drawing of a {}"]
    found = clip.classify(pictures(), ["tiger", "pizza"], templates)
    tiger = clip.encode_text(["tiger", "a drawing of a tiger"]).mean(0)
    scale = min(np.exp(clip.params["log_scale"]), clip.config.scale_max)
    expected = scale * clip.encode_image(pictures()) @ (tiger / np.linalg.norm(tiger))
    np.testing.assert_allclose(found.logits[:, 0], expected, rtol=1e-4)


REFUSED = {
    "one class": (lambda clip: clip.classify(RED, ["cat"]), "at least 2 class names, not 1"),
    "no class": (lambda clip: clip.classify(RED, []), "at least 2 class names, not 0"),
    "twice": (lambda clip: clip.classify(RED, ["cat", "cat"]), "'cat' is given for several"),
    "a text": (lambda clip: clip.classify(RED, "cat"), "names and templates are lists"),
    "no place": (lambda clip: clip.classify(RED, ["cat", "dog"], ["a cat"]), 'needs "{}" once'),
    "no template": (lambda clip: clip.classify(RED, ["cat", "dog"], []), "at least one template"),
    "no names": (lambda clip: clip.classify(RED), "no classes of its own: name some"),
    "unknown": (lambda clip: clip.classify(RED, ["cat", "xqzt"]), "'xqzt' holds no word"),
    "no picture": (lambda clip: clip.encode_image([]), "no image to read: the list is empty"),
    "broken": (lambda clip: clip.encode_image(b"no picture"), "no image format we know"),
    "a sound": (lambda clip: clip.encode_audio(RED), "clip has no vectors of audio"),
    "three": (lambda clip: clip.logits(image=RED), "logits compares two fields"),
    "nothing": (lambda clip: clip(), "takes image, text as they are.*given: nothing"),
    "misspelt": (lambda clip: clip(imges=RED), "takes image, text as they are.*given: imges"),
}
RED = np.full((20, 30, 3), (255, 0, 0), np.uint8)


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(name):
    ask, message = REFUSED[name]
    with pytest.raises((ConfigError, CorruptExample), match=message) as error:
        ask(opened("emoji_clip"))
    assert "\n" not in str(error.value)


def test_other_models_refuse_what_they_cannot():
    with pytest.raises(ConfigError, match="whisper does not compare audio with texts"):
        opened("whisper").classify(RED, ["cat", "dog"])
    with pytest.raises(ConfigError, match="whisper does not compare two modalities"):
        opened("whisper").logits(audio=RED, text="a")
    with pytest.raises(ConfigError, match="encode_audio does not choose between vectors"):
        opened("whisper").encode_audio(tone(), normalize=False)
    with pytest.raises(ConfigError, match="gpt2 has no vectors of text: .* its call, model.text"):
        opened("gpt2/gpt2").encode_text("a")
    with pytest.raises(ConfigError, match="does not say how its inputs are prepared"):
        opened("checkpoints/clip").encode_image(RED)


def test_insides_of_a_pair_by_argument():
    """Of prepared arrays, by the names that the parameters have."""
    clip = opened("checkpoints/clip")
    size = clip.config.image.image_size
    pixels = np.ones((2, size, size, 3), np.float32)
    ids = [[3, 4, 5, 6], [7, 8, 9, 10]]
    said = clip(images=pixels, ids=ids, hidden_states=True, attention_weights=True)
    assert [one.shape for one in said.output] == [(2, clip.config.embedding)] * 2
    shapes = {name: states.shape for name, states in said.hidden_states.items()}
    assert shapes == {"image/transformer": (3, 2, 10, 24), "text/transformer": (3, 2, 4, 16)}
    weights = said.attention_weights["image/transformer/blocks/attention"]
    assert weights.shape == (2, 2, 3, 10, 10)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


@pytest.mark.slow
def test_a_decoder_of_ids():
    decoder = opened("gpt2/gpt2")
    ids = [[3, 4, 5, 6], [7, 8, 9, 10]]
    said = decoder(inputs=ids, logits_at="last", hidden_states=True, attention_weights=True)
    assert said.output.logits.shape == (2, 1, decoder.config.vocab_size)
    assert said.hidden_states["transformer"].shape == (3, 2, 4, 12)
    (weights,) = said.attention_weights.values()
    assert weights.shape == (2, 2, 3, 4, 4) and not np.triu(weights[0, 0, 0], 1).any()
    whole = decoder(inputs=ids).output.logits
    np.testing.assert_allclose(said.output.logits[:, 0], whole[:, -1], atol=1e-5)


@functools.cache
def tone():
    """0.2 seconds at 16 kHz."""
    return np.sin(np.arange(3200) / 5).astype(np.float32)


@pytest.mark.parametrize("name", ["whisper", *map(slow, ("wav2vec2/group", "wav2vec2/stable"))])
def test_sounds_in_any_form(name, tmp_path):
    model = opened(name)
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(), 16_000, subtype="FLOAT")
    heard = [path, str(path), path.read_bytes(), tone(), Sound(tone(), 16_000)]
    vectors = model.encode_audio(heard)
    # rows of a batch may differ in their last bit, by where they lie
    np.testing.assert_allclose(vectors, vectors[[0] * 5], atol=2e-6)
    prepared = model.processor([tone()] * 5)
    arrays = prepared[:1] if isinstance(model.processor, speech.Whisper) else prepared
    encode = jax.jit(functools.partial(model.model.apply, method="encode_audio"))
    expected = encode(model.variables, *arrays)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.slow
def test_whisper_beside_its_texts():
    whisper = opened("whisper")
    ids = np.array([[3, 5, 6]])
    said = whisper(audio=tone(), inputs=ids, hidden_states=True, attention_weights=True)
    features = whisper.processor([tone()]).features
    expected = jax.jit(whisper.model.apply)(whisper.variables, features, ids)
    np.testing.assert_allclose(said.output.logits, expected.logits, atol=1e-5)
    assert set(said.hidden_states) == {"encoder/transformer", "decoder/transformer"}
    cross = said.attention_weights["decoder/transformer/blocks/cross"]
    assert cross.shape == (3, 1, 2, 3, 15)


@pytest.mark.slow
def test_a_classifier_has_classes_of_its_own():
    vit = opened("checkpoints/deit")
    size = vit.config.image.image_size
    ready = dataclasses.replace(vit, processor=image.Processor(image.Config(image_size=size)))
    found = ready.classify([RED, 255 - RED])
    said = ready(image=[RED, 255 - RED])
    np.testing.assert_allclose(found.logits, said.output.logits, atol=1e-6)
    assert len(found.names) == vit.config.classes and set(found.best) <= set(found.names)
    np.testing.assert_allclose(ready.encode_image(RED), said.output.pooled[:1], atol=1e-5)


@pytest.mark.slow
def test_stages_of_a_resnet_by_name():
    pair = opened("checkpoints/open_clip_rn")
    size = pair.config.image.image_size
    states = pair(image=[np.zeros((size, size, 3), np.uint8)], hidden_states=True).hidden_states
    count = len(pair.config.image.stages)
    names = [f"image/stage_{i}" for i in range(count)]
    assert [name for name in states if "stage" in name] == names
    sides = [states[f"image/stage_{i}"].shape[1] for i in range(count)]
    assert sides == [size // 4 // 2**i for i in range(count)]


@pytest.mark.parametrize("name", ["emoji_clip", "whisper", *map(slow, CHECKPOINTS)])
def test_what_a_model_is_fits_a_few_lines(name):
    model = opened(name)
    text = repr(model)
    assert len(text.splitlines()) == 4 and len(text) < 400
    assert "parameters" in text and type(model.config).__module__ in text
    assert len(repr(model.processor)) < 1000
