"""Sounds with texts: lengths, crops, repetition, batches, what people see, and bad recordings."""

import dataclasses
import io

import numpy as np
import pytest
import soundfile

from mmjax.config import ConfigError
from mmjax.data.plan import Mixture
from mmjax.data.source import CorruptExample, InMemory
from mmjax.processors import audio_text, hearing
from mmjax.transforms.audio import Sound

RATE = 16_000
RNG = np.random.default_rng(0)
TEXTS = ("a high tone", "a low tone", "noise")


def tone(seconds, rate=RATE, hertz=440.0):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def file(samples, rate=RATE, format="WAV", subtype=None):
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=format, subtype=subtype)
    return out.getvalue()


def processor(rows=None, **audio):
    config = audio_text.Config(tokenizer="words", max_length=8, vocab_size=40)
    config = dataclasses.replace(config, audio=dataclasses.replace(config.audio, **audio))
    rows = rows or [{"audio": tone(0.5), "text": text} for text in TEXTS]
    return audio_text.build(config, lambda: [InMemory(rows)], None)


def heard(made, clip, transforms=None, rng=None):
    example = {"audio": clip, "text": "noise"}
    for transform in transforms or made.evaluate:
        example = transform(example, rng)
    return example["audio"]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("mel", (50, 32)), ("ast", (48, 32)), ("samples", (8_000,)), ("clap", (1, 1001, 64))],
)
def test_kinds(kind, shape):
    rate, bins = (48_000, 64) if kind == "clap" else (RATE, 32)
    made = processor(kind=kind, rate=rate, bins=bins)
    batch = made(audio=[tone(0.5, rate), tone(0.25, rate)], text=["noise"] * 2)
    assert batch["ids"].shape == (2, 8)
    if kind == "clap":
        assert "audio_mask" not in batch and batch["audio"].shape == (2, *shape)
        return
    first, second = batch["audio_mask"]
    assert first.sum() == shape[0] > second.sum() and first.shape in ((126,), (20_001,))
    assert not batch["audio"][1][~second].any()
    alone = made(audio=tone(0.25))
    np.testing.assert_array_equal(
        alone["audio"][0][alone["audio_mask"][0]], batch["audio"][1][second]
    )
    bound = made.lengths(InMemory([{"audio": tone(0.5), "text": "noise"}]))["audio"]
    assert shape[0] <= bound[0] <= shape[0] + 4


def test_fusion_sees_all_of_a_longer_recording():
    """Four pictures of each; of a short one the model is told to look at the first alone."""
    made = processor(kind="clap", rate=48_000, bins=64, longest=1.0, fusion=True)
    low_then_high = np.concatenate([tone(2.0, 48_000, 200.0), tone(2.0, 48_000, 6_000.0)])
    batch = made(audio=[tone(0.5, 48_000), low_then_high], text=["noise"] * 2)
    assert batch["audio"].shape == (2, 4, 101, 64)
    np.testing.assert_array_equal(batch["audio_mask"], [[True, False, False, False], [True] * 4])
    whole, first, _, last = batch["audio"][1].argmax(-1)  # the loudest bin of each frame
    assert whole[10] == first[50] < last[50] == whole[90]
    drawn = [
        heard(made, low_then_high, made.train, np.random.default_rng(seed))[2] for seed in (0, 1)
    ]
    assert (drawn[0] != drawn[1]).any()
    encoded = made.encode([{"audio": low_then_high, "text": "noise"}])
    assert encoded["audio_mask"].shape == (1, 4) and made.show(encoded, 0)["audio"].ndim == 3
    with pytest.raises(ConfigError, match="kind='mel' and long='cut'"):
        processor(kind="mel", fusion=True)


def test_longer_recordings_are_cut_and_shorter_ones_repeated():
    made = processor(kind="samples", longest=0.5)
    ramp = np.linspace(-1, 1, RATE, dtype=np.float32)
    cut = [transform for transform in made.train if "Normalize" not in type(transform).__name__]
    starts = {heard(made, ramp, cut[:-2], np.random.default_rng(seed))[0] for seed in range(9)}
    assert len(starts) == 9 and all(start < 0.01 for start in starts)
    middle = heard(made, ramp)
    assert len(middle) == RATE // 2 and abs(middle.mean()) < 1e-6
    often = processor(kind="samples", longest=0.5, repeat=True)
    assert len(heard(often, tone(0.15))) == 3 * round(0.15 * RATE)
    assert len(heard(often, ramp)) == RATE // 2
    bound = often.lengths(InMemory([{"audio": tone(0.15), "text": "noise"}]))["audio"][0]
    assert bound >= RATE // 2


def test_training_batches_are_padded_to_buckets_and_not_chosen_by_length():
    rows = [{"audio": tone(0.1 * (1 + row % 6)), "text": TEXTS[row % 3]} for row in range(24)]
    made = processor(rows, longest=0.6, buckets=(0.3, 0.6))
    source = InMemory(rows)
    plan = Mixture((24,), 2, seed=0)
    laid = made.plan(plan, [source])
    lengths = made.lengths(source)["audio"]
    found = set()
    for step in range(12):
        batch = laid(step)
        np.testing.assert_array_equal(batch.index, plan(step).index)
        (length,) = batch.shape["audio"]
        found.add(length)
        assert length >= lengths[batch.index].max()
    assert found == {31, 61}
    with pytest.raises(ConfigError, match="alike=4"):
        processor(alike=4)


def test_what_people_see_and_what_training_changes():
    augmentation = hearing.augment_audio.Config(gain=(-6.0, 6.0), time_masks=1)
    made = processor(bins=32, augmentation=augmentation)
    first, second = (heard(made, tone(0.5), made.train, np.random.default_rng(s)) for s in (0, 1))
    assert first.shape == second.shape and (first != second).any()
    batch = made.encode([{"audio": tone(0.5), "text": "a low tone"}])
    shown = made.show(batch, 0)
    assert shown["text"] == "a low tone"
    assert shown["audio"].shape == (32, 50, 3) and shown["audio"].dtype == np.uint8
    played = shown["sound"]
    loudest = np.abs(np.fft.rfft(played.samples)).argmax() * played.rate / len(played.samples)
    assert abs(loudest - 440) < 60 and len(played.samples) == RATE // 2
    assert np.abs(played.samples).max() > 0.1
    with pytest.raises(ConfigError, match="masks are of spectrograms"):
        _ = processor(kind="samples", augmentation=augmentation).train
    played = processor(kind="samples")
    sound = played.show(played.encode([{"audio": tone(0.5)}]), 0)["audio"]
    assert isinstance(sound, Sound) and len(sound.samples) == RATE // 2


def test_saved_and_on_paper(tmp_path):
    made = processor()
    made.save(tmp_path)
    assert audio_text.build(made.config, None, tmp_path) == made
    paper = audio_text.build(made.config, None, None)
    batch = paper.encode([audio_text.paper(made.config)])
    assert batch["audio"].shape[1] == 1_000 and batch["text"].shape == (1, 8)
    assert made.sizes["audio.frames"] >= 1_000 and made.sizes["audio.bins"] == 80


GOOD = {
    "8 kHz": file(tone(0.5, 8_000), 8_000),
    "96 kHz": file(tone(0.5, 96_000), 96_000),
    "8-bit": file(tone(0.5), subtype="PCM_U8"),
    "24-bit": file(tone(0.5), subtype="PCM_24"),
    "6 channels": file(np.repeat(tone(0.5)[:, None], 6, 1)),
    "FLAC": file(tone(0.5), format="FLAC"),
    "Ogg": file(tone(0.5), format="OGG"),
}


@pytest.mark.parametrize("name", GOOD)
def test_forms_of_one_tone_are_heard_alike(name):
    made = processor(bins=32)
    frames = heard(made, GOOD[name])
    assert frames.shape == (50, 32)
    inside = np.abs(frames - heard(made, tone(0.5)))[5:-5]
    assert inside[:, 3:6].max() < 0.12  # the bins about 440 Hz


def test_silence_is_a_sound_and_a_click_is_heard_where_it_is_repeated():
    made = processor(bins=32)
    frames = heard(made, np.zeros(RATE, np.float32))
    assert np.isfinite(frames).all() and frames.shape == (100, 32)
    click = tone(0.01)
    with pytest.raises(CorruptExample, match=r"0\.0100 seconds of sound \(160 samples\)"):
        heard(made, click)
    assert heard(processor(bins=32, repeat=True, longest=1.0), click).shape == (100, 32)
    with pytest.raises(CorruptExample, match="0.01 seconds of sound; from 0.1"):
        heard(processor(shortest=0.1), click)


def wrong_header():
    """An MP3 whose frames do not follow on each other's heels."""
    data = bytearray(file(tone(0.5), format="MP3"))
    data[:4] = b"\xff\xfb\xf0\xff"
    return bytes(data[:200])


NOISE = RNG.normal(0, 0.1, RATE)
BAD = {
    "NaN": (np.where(np.arange(RATE) == 7, np.nan, NOISE), "1 of 16000 samples are NaN"),
    "a truncated FLAC": (file(NOISE, format="FLAC")[:9_000], "lost sync"),
    "an MP3 with a wrong header": (wrong_header(), "not a readable sound file"),
    "an empty file": (b"", "empty file"),
    "a text": (b"this is no sound" * 9, "not a readable sound file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_heard_is_named(name):
    data, reason = BAD[name]
    made = processor(bins=32)
    with pytest.raises(CorruptExample, match=reason):
        heard(made, data)
