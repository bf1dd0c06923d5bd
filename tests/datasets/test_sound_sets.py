"""Sets of sounds: names and splits, what `prepare` stores, and what is asked of rendered notes."""

import io

import numpy as np
import pytest
import soundfile

from mmjax.data.source import DataError
from mmjax.datasets import notes, prepared, sonic_pi, tuxpaint_sounds
from mmjax.transforms.audio import DecodeAudio


def clip(seconds=0.05, rate=8_000):
    file = io.BytesIO()
    samples = 0.1 * np.sin(np.arange(round(seconds * rate)))
    soundfile.write(file, samples, rate, format="FLAC")
    return file.getvalue()


def made(module, files, folder, monkeypatch):
    """A prepared set of these files of a package."""
    monkeypatch.setenv("MMJAX_DATA", str(folder))

    def members(package, wanted):
        return ((name, data) for name, data in files.items() if wanted(name))

    with prepared.building(module.SET, folder, 256) as writer:
        for _ in module.SET.build(members, writer):
            pass


def test_names_of_sonic_pi_are_texts():
    assert sonic_pi.text_of("tabla_ghe1") == "tabla, ghe"
    assert sonic_pi.text_of("drum_cymbal_open") == "drum, cymbal open"
    assert sonic_pi.text_of("bd_808") == "bass drum, 808"


def test_sonic_pi(tmp_path, monkeypatch):
    names = [f"tabla_ghe{number}" for number in range(1, 9)] + ["perc_door", "misc_crow"]
    files = {f"{sonic_pi.FOLDER}{name}.flac": clip(0.05 + 0.01 * n) for n, name in enumerate(names)}
    files |= {sonic_pi.COPYRIGHT: b"CC0", f"{sonic_pi.FOLDER}README.md": b"no sound"}
    made(sonic_pi, files, tmp_path, monkeypatch)
    everything = sonic_pi.open(sonic_pi.Config(split="all"))
    assert sorted(row["id"] for row in everything.examples) == sorted(names)
    assert len(set(everything.column("group").tolist())) == 3
    parts = [
        {row["id"] for row in sonic_pi.open(sonic_pi.Config(split=split)).examples}
        for split in ("train", "test")
    ]
    assert not parts[0] & parts[1]
    with pytest.raises(DataError, match="split 'dev' is none of train"):
        sonic_pi.open(sonic_pi.Config(split="dev"))


def test_tuxpaint_sounds(tmp_path, monkeypatch):
    stem = f"{tuxpaint_sounds.tuxpaint.FOLDER}animals/rooster"
    files = {
        f"{stem}.ogg": clip(),
        f"{stem}_desc.ogg": clip(0.1),
        f"{stem}.png": b"a picture",
        f"{stem}.txt": b"A rooster.\nde.utf8=Ein Hahn.\n",
        tuxpaint_sounds.tuxpaint.COPYRIGHT: b"GPL-2",
    }
    made(tuxpaint_sounds, files, tmp_path, monkeypatch)
    source = tuxpaint_sounds.open(tuxpaint_sounds.Config("all", language="de"))
    assert len(source) == 1 and source[0]["text"] == "Ein Hahn."
    assert len(DecodeAudio()(source[0])["audio"]) == 800


def test_notes_and_their_sentences():
    assert len(notes.NAMES) == 128 and {len(names) for names in notes.INSTRUMENTS.values()} == {8}
    assert len(set(notes.NAMES)) == 128
    by_name, by_family = notes.sentences(40, 48, "softly")
    assert by_name == "a low C on a violin, softly"
    assert by_family == "a string instrument plays a low C, softly"
    assert notes.sentences(64, 61, "")[0] == "a middle C sharp on a soprano saxophone"
    clips = list(notes.notes())
    assert clips == list(notes.notes()) and len(clips) == 15_360


def test_pitches_and_notes_that_are_held_out():
    parts: dict[str, set] = {}
    for program, key, _, _ in notes.notes():
        parts.setdefault(notes.part_of(program, key), set()).add((program, key))
    keys = {part: {key for _, key in found} for part, found in parts.items()}
    assert set(parts) == set(notes.SPLITS) - {"all"}
    assert len(keys["test/unseen_pitch"]) == 10 and len(keys["validation/unseen_pitch"]) == 5
    assert not keys["train"] & (keys["test/unseen_pitch"] | keys["validation/unseen_pitch"])
    assert keys["test/unseen_note"] <= keys["train"]
    assert {program for program, _ in parts["train"]} == set(range(128))
    # every name of a pitch is heard in training, in other octaves
    assert {(key - notes.LOWEST) % 12 for key in keys["train"]} == set(range(12))


def test_hundreds():
    families = np.arange(1_050) % 3
    dealt = notes.hundreds(families.tolist(), by_family=False)
    assert np.bincount(dealt[dealt >= 0]).tolist() == [100] * 10 and (dealt < 0).sum() == 50
    alike = notes.hundreds(families.tolist(), by_family=True)
    assert np.bincount(alike[alike >= 0]).tolist() == [100] * 9
    for number in range(9):
        assert len(set(families[alike == number].tolist())) == 1
    np.testing.assert_array_equal(notes.hundreds(families.tolist(), by_family=True), alike)


def test_rendered_notes(tmp_path, monkeypatch):
    """With a synthesizer of this test."""

    class Fake:
        def __init__(self, font, **kwargs):
            assert font.read_bytes() == b"a font"

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def notes(self, played, seconds):
            (note,) = played
            return np.full(round(seconds * notes.RATE), note.velocity / 128, np.float32)

    monkeypatch.setattr(notes, "Synthesizer", Fake)
    monkeypatch.setattr(notes.synthesizer, "needs", lambda: None)
    few = [(0, 37, "softly", 30), (0, 38, "", 70), (40, 38, "loudly", 120)]
    monkeypatch.setattr(notes, "notes", lambda: iter(few))
    files = {notes.synthesizer.FONT_FILE: b"a font", notes.synthesizer.LICENCE: b"GPL-2"}
    made(notes, files, tmp_path, monkeypatch)
    source = notes.open(notes.Config("all"))
    assert source.column("velocity").tolist() == [30, 70, 120]
    assert source.column("family").tolist() == [0, 0, 5]
    samples = DecodeAudio()(source[2])["audio"]
    np.testing.assert_allclose(samples, 120 / 128, atol=1e-4)
    assert notes.open(notes.Config("test/unseen_pitch")).column("pitch").tolist() == [37]
    with pytest.raises(DataError, match="has no example"):
        notes.open(notes.Config("all", hundreds="all"))


def test_tones_stand_for_notes():
    """Without a renderer: the splits, sentences and hundreds of the rendered notes, and sounds that
    differ by pitch and instrument alone."""
    train = notes.open(notes.Config("train", sound="tones"))
    asked = notes.open(notes.Config("test/unseen_pitch", "family", "tones"))
    assert len(train[0]["text"]) == 2 and isinstance(asked[0]["text"], str)
    assert np.bincount(asked.column("hundred")).tolist() == [100, 100]
    assert not {*train.column("pitch").tolist()} & {*asked.column("pitch").tolist()}
    samples, rate = soundfile.read(io.BytesIO(asked[0]["audio"]))
    spectrum = np.abs(np.fft.rfft(samples))
    hertz = 440 * 2 ** ((asked[0]["pitch"] - 69) / 12)
    loudest = spectrum.argmax() * rate / len(samples)
    assert rate == 16_000 and min(abs(loudest - k * hertz) for k in range(1, 9)) < 1.0
    with pytest.raises(DataError, match="notes: sound"):
        notes.open(notes.Config(sound="tone"))
