"""Whisper's transcription with the real weights, against `transformers` and faster-whisper.

* Tokens: greedy and beams, of `transformers` on the same frames, with and without times.
* Words and long recordings: of faster-whisper (https://github.com/SYSTRAN/faster-whisper), whose
  loop is the released code's, step by step; `transformers` has another one. Here it pads windows
  with silence, as it does for one window, where its loop pads with zeros of the scaled spectrogram.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.conversion import load as checkpoints
from mmjax.datasets import asterisk, librivox
from mmjax.datasets.prepared import weights
from mmjax.generation.transcription.options import Options
from mmjax.run.transcribe import Transcriber
from mmjax.transforms.audio import DecodeAudio

pytestmark = pytest.mark.parity

GREEDY = Options(language="en", temperatures=(0.0,))
DECODE = DecodeAudio(16_000)


@pytest.fixture(scope="module")
def tiny():
    return checkpoints.load(weights.folder("whisper-tiny.en"), dtype=jnp.float32)


@pytest.fixture(scope="module")
def clips():
    """A moment of silence behind each: the two sides mirror the end of a recording differently."""
    source = librivox.open(librivox.Config())
    return [np.pad(DECODE(one)["audio"], (0, 1_600)) for one in source]


@pytest.fixture(scope="module")
def of_hub(tiny, tmp_path_factory):
    """The same weights in `transformers`."""
    import transformers

    folder = tmp_path_factory.mktemp("tiny")
    checkpoints.save(tiny, folder)
    return transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def faster():
    """The same weights in faster-whisper."""
    WhisperModel = pytest.importorskip("faster_whisper").WhisperModel
    from faster_whisper import transcribe

    def padded(array, length=3000, axis=-1):
        missing = length - array.shape[axis]
        return np.pad(array, [(0, 0), (0, missing)], constant_values=array.min())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcribe, "pad_or_trim", padded)
        folder = str(weights.folder("whisper-tiny.en"))
        yield WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=1)


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("beams", [1, 5])
def test_tokens_are_those_of_the_hub(tiny, of_hub, clips, timestamps, beams):
    import torch

    features = tiny.processor(clips).features
    given = torch.tensor(features.transpose(0, 2, 1))
    # beams are scored by what the rules allow, as in the released code
    kwargs = dict(num_beams=beams, return_timestamps=timestamps, renormalize_logits=True)
    with torch.no_grad():
        wanted = of_hub.generate(given, max_new_tokens=100, **kwargs)
    options = Options(
        language="en", temperatures=(0.0,), timestamps=timestamps, beams=beams, max_new_tokens=100,
        latest_start=1.0,
    )  # fmt: skip
    listener = Transcriber(tiny, options).listener
    context = listener.encode(features)
    prompts = [listener.prompt(options, "en")] * len(clips)
    drafts = listener.write(context, prompts, options)
    rules = tiny.processor.decoding
    for draft, row in zip(drafts, wanted.tolist(), strict=True):
        special = (rules.start, rules.no_timestamps, rules.end)
        assert list(draft.tokens) == [token for token in row if token not in special]


def test_words_are_where_the_reference_hears_them(tiny, faster, clips):
    transcriber = Transcriber(tiny, Options(language="en", temperatures=(0.0,), words=True))
    ours = dict(transcriber.several(clips))
    for number, clip in enumerate(clips):
        segments, _ = faster.transcribe(
            clip, beam_size=1, temperature=0.0, language="en", word_timestamps=True
        )
        same(ours[number], list(segments), 0.0201)


def test_a_recording_of_five_minutes(tiny, faster, clips):
    """Sentences of two voices with pauses between, prompts of the telephone between them."""
    prompts = asterisk.open(asterisk.Config("test"))
    sounds = list(clips)
    for row in range(len(prompts)):
        sounds.append(DECODE(prompts[row])["audio"])
        if sum(map(len, sounds)) > 300 * 16_000:
            break
    rng = np.random.default_rng(0)
    parts = [np.pad(one, (0, int(rng.integers(2_000, 24_000)))) for one in sounds]
    whole = np.concatenate(parts)[: 300 * 16_000]
    ours = Transcriber(tiny, GREEDY)(whole)
    segments, _ = faster.transcribe(whole, beam_size=1, temperature=0.0, language="en")
    segments = list(segments)
    assert len(segments) > 40
    same(ours, segments, 0.0201)


def same(ours, segments, seconds):
    """The same tokens and words in the same segments, at the same times."""
    assert [one.text for one in ours.segments] == [one.text for one in segments]
    for one, other in zip(ours.segments, segments, strict=True):
        assert abs(one.start - other.start) < seconds and abs(one.end - other.end) < seconds
        assert [word.text for word in one.words] == [word.word for word in other.words or ()]
        for word, wanted in zip(one.words, other.words or (), strict=True):
            assert abs(word.start - wanted.start) < seconds
            assert abs(word.end - wanted.end) < seconds
            assert abs(word.probability - wanted.probability) < 0.02
