"""Rendered notes and tunes: right pitch, the same bytes, an end in time, a word to who lacks it."""

import ctypes.util
from pathlib import Path

import numpy as np
import pytest

from mmjax.data.source import DataError
from mmjax.data.storage import folder
from mmjax.datasets.prepared import archives, synthesizer
from mmjax.datasets.prepared.synthesizer import Note, Synthesizer, SynthesizerError

RATE = 16_000
# Four quarters of a C major chord's notes, 120 a minute.
TUNE = (
    b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x60MTrk\x00\x00\x00\x24"
    + b"".join(
        b"\x00\x90%c\x50\x60\x80%c\x00" % (key, key) for key in (60, 64, 67, 72)
    )
    + b"\x00\xff\x2f\x00"
)  # fmt: skip


@pytest.fixture(scope="module")
def synth(tmp_path_factory):
    """With the sound font of this machine, where it and the library are there."""
    try:
        synthesizer.needs()
    except DataError as error:
        pytest.skip(str(error))
    font = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
    archive = folder() / "archives" / synthesizer.FONT.file
    if not font.is_file() and archive.is_file():
        ((_, data),) = archives.members(archive, lambda name: name == synthesizer.FONT_FILE)
        font = tmp_path_factory.mktemp("font") / "font.sf2"
        font.write_bytes(data)
    if not font.is_file():
        pytest.skip("no TimGM6mb.sf2 on this machine")
    with Synthesizer(font, rate=RATE) as made:
        yield made


def test_a_note_has_its_pitch_and_rings_as_long_as_it_is_held(synth):
    samples = synth.notes([Note(program=73, key=69, velocity=90, end=0.5)], seconds=1.5)
    assert samples.dtype == np.float32 and samples.shape == (1.5 * RATE,)
    held = samples[: RATE // 2]
    loudest = np.abs(np.fft.rfft(held)).argmax() * RATE / len(held)
    assert abs(loudest - 440) < 6
    assert np.abs(samples[RATE:]).max() < 0.05 * np.abs(held).max()


def test_the_same_every_time_and_louder_when_hit_harder(synth):
    soft, hard = (
        synth.notes([Note(0, 60, velocity)], seconds=0.5) for velocity in (30, 110)
    )
    np.testing.assert_array_equal(synth.notes([Note(0, 60, 30)], seconds=0.5), soft)
    assert np.abs(hard).max() > 3 * np.abs(soft).max()


def test_a_tune_ends_where_it_ends_and_says_what_is_none(synth):
    samples = synth.midi(TUNE, seconds=30.0)
    assert 2 * RATE < len(samples) < 15 * RATE
    np.testing.assert_array_equal(synth.midi(TUNE, seconds=1.0), samples[:RATE])
    with pytest.raises(SynthesizerError, match="hears nothing in these 4 bytes"):
        synth.midi(b"MThd", seconds=1.0)


def test_a_tune_that_takes_too_long_is_given_up_and_the_next_is_rendered(synth, monkeypatch):
    monkeypatch.setattr(synth, "limit", 0.0)
    with pytest.raises(SynthesizerError, match="not done after 0 seconds"):
        synth.midi(TUNE, seconds=600.0)
    monkeypatch.setattr(synth, "limit", 5.0)
    assert synth.midi(TUNE, seconds=1.0).any()


def test_no_font_and_a_font_that_is_none(synth, tmp_path):
    with pytest.raises(DataError, match="no sound font"):
        Synthesizer(tmp_path / "absent.sf2")
    (tmp_path / "none.sf2").write_bytes(b"RIFF")
    with pytest.raises(SynthesizerError, match="the font is none"):
        Synthesizer(tmp_path / "none.sf2").notes([Note(0, 60, 80)], seconds=0.1)


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(synthesizer, "FOLDERS", ())
    with pytest.raises(DataError, match="apt-get install libfluidsynth3; macOS: brew install"):
        synthesizer.needs()
