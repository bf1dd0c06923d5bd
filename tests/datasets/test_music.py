"""Tunes in ABC, MIDI files, labels and groups; and a tune that is rendered where it can be."""

import struct

import numpy as np
import pytest

from mmjax.data.source import DataError
from mmjax.datasets import music
from mmjax.datasets.prepared import abc_tunes, midi

BOOK = """% a book
X: 1
T: The Blackbird -- Reel
R: Double Jig
Q: 1/4=200
M: C|
K:EM % which is minor
"Em"{d}e2 !trill!fg [M:3/4] | abc'd efga bagf edcB AGFE DCBA:|
w: words to it
X:2
T:A Blackbird
M:6/8
L:1/8
K: A Mixolydian
efg abc'd efga bagf edcB AGFE DCBA
X:3
T:Nobody's Hornpipe
M:2/4
K:Bbmaj
(GABc) dcBA
X:4
T:no key
M:2/4
K:Hp
GABc
"""


def test_a_book_is_read():
    first, second, third = abc_tunes.tunes(BOOK)
    assert first.key == abc_tunes.Key(4, "minor", 1)
    assert (first.metre, first.unit, first.rhythm) == ("2/2", "1/8", "double jig")
    assert first.letters == "EFGABCDEFGABAGFEDCBAGFED"[:24]
    assert first.letters == second.letters
    assert second.key == abc_tunes.Key(9, "mixolydian", 2)
    assert second.key.signature == 2  # D major's
    assert third.key == abc_tunes.Key(10, "major", -2)
    assert third.unit == "1/16"
    assert [tune.changes for tune in (first, second, third)] == [True, False, False]


@pytest.mark.parametrize(("text", "tonic", "signature"), [
    ("F#m", 6, 9), ("Eb", 3, 3), ("DDor", 2, 0), ("G Lydian", 7, 2), ("Aphr", 9, 5), ("C", 0, 0),
])  # fmt: skip
def test_keys(text, tonic, signature):
    key = abc_tunes.key_of(text)
    assert (key.tonic, key.signature) == (tonic, signature)
    assert abc_tunes.key_of(abc_tunes._spelled(key)) == key


def test_nothing_of_the_text_tells_what_a_tune_is():
    tune = next(iter(abc_tunes.tunes(BOOK)))
    plain = tune.plain(90, accents=False)
    assert plain.startswith("X:1\nM:2/2\nL:1/8\nQ:1/4=90\n%%MIDI nobeataccents\nK:Emin\n{d}e2")
    assert "R:" not in plain and "Em" not in plain.partition("K:Emin")[2] and "w:" not in plain


def test_rhythm_by_its_field_or_by_the_title():
    tunes = [*abc_tunes.tunes(BOOK)]
    assert [music.rhythm_of(tune) for tune in tunes] == ["jig", "", "hornpipe"]
    slip = tunes[1]._replace(title="Some Jig", metre="9/8")
    assert music.rhythm_of(slip) == "slip jig"
    assert music.rhythm_of(slip._replace(rhythm="waltz")) == ""


def test_tunes_of_one_title_or_one_beginning_are_one_group():
    tune = next(iter(abc_tunes.tunes(BOOK)))
    others = [
        tune,
        tune._replace(title="Another", body="c4"),
        tune._replace(title="Another one", body="d4"),
        tune._replace(title="ANOTHER", body="d4"),  # joins the two before
        tune._replace(title="A third"),
    ]
    assert music.groups(others) == [0, 1, 1, 1, 0]


def test_what_is_chosen_keeps_its_metre_and_stands_once():
    kept = music.chosen({"b": BOOK.encode(), "a": BOOK.encode()})
    assert [tune.title for tune in kept] == ["A Blackbird", "Nobody's Hornpipe"]


def test_labels_and_their_sentence():
    _, tune, _ = abc_tunes.tunes(BOOK)
    clip = music.Clip("plain", "oboe", True, 120, 0.0)
    numbers = music.labels(tune, clip, [music.Note(68, 70, 80)] * 50)
    assert music.CLASSES["key"][numbers["key"]] == "A mixolydian"
    assert music.CLASSES["mood"][numbers["mood"]] == "hearty"  # major, quick, low
    assert numbers["rhythm"] == music.ABSENT
    assert music.sentence(numbers) == "a tune in A mixolydian and 6/8 on the oboe, hearty"


def track(*events):
    return b"MTrk" + struct.pack(">I", sum(map(len, events))) + b"".join(events)


def test_midi_notes():
    head = b"MThd" + struct.pack(">IHHH", 6, 1, 2, 100)
    tempo = track(b"\x00\xff\x51\x03" + (250_000).to_bytes(3, "big"), b"\x00\xff\x2f\x00")
    notes = track(
        b"\x00\xc0\x28", b"\x00\x90\x3c\x50", b"\x64\x3e\x60", b"\x00\x3c\x00",  # running status
        b"\x81\x48\x80\x3e\x00", b"\x00\x99\x23\x60", b"\x00\xff\x2f\x00",
    )  # fmt: skip
    first, second = midi.notes(head + tempo + notes)
    assert first == midi.Played(0.0, 0.25, 60, 80)
    assert second == midi.Played(0.25, 0.75, 62, 96)
    with pytest.raises(midi.MidiError, match="too early"):
        midi.notes(head + tempo + b"MTrk" + struct.pack(">I", 3) + b"\x00\x90\x3c")
    with pytest.raises(midi.MidiError, match="begins"):
        midi.notes(b"RIFF")


def test_tones_need_no_file_and_have_every_label():
    train = music.open(music.Config("train", sound="tones"))
    test = music.open(music.Config("test", sound="tones", labelled="rhythm"))
    assert len(train) > 30 and len(test) > 2
    assert not set(train.column("group")) & set(test.column("group"))
    assert (test.column("rhythm") >= 0).all() and (train.column("rhythm") < 0).any()
    assert len(train[0]["audio"]) == music.SECONDS * music.RATE
    with pytest.raises(DataError, match="form"):
        music.open(music.Config(form="slow"))


def test_a_missing_program_is_named_with_its_packages(monkeypatch):
    monkeypatch.setattr(music.synthesizer, "needs", lambda: None)
    monkeypatch.setattr(music.shutil, "which", lambda name: None)
    with pytest.raises(DataError, match="apt-get install abcmidi; macOS: brew install abcmidi"):
        music.programs()


def test_a_tune_is_played_in_its_key_and_at_its_tempo():
    try:
        music.programs()
    except DataError as error:
        pytest.skip(str(error))
    tune = next(iter(abc_tunes.tunes("X:1\nT:x\nM:4/4\nL:1/8\nK:D\n" + "fgfg c4|" * 12)))
    notes = music.played(tune, music.Clip("plain", "flute", False, 120, 0.0))
    assert [note.key for note in notes[:5]] == [78, 79, 78, 79, 73]  # F sharp, C sharp
    np.testing.assert_allclose(np.diff([note.start for note in notes[:5]]), 0.25, atol=0.01)
    faster = music.played(tune, music.Clip("jitter", "flute", True, 150, 0.5))
    assert {note.key for note in faster} == {61, 66, 67}
    assert len({note.velocity for note in faster}) == 1  # no accents
    assert len({note.velocity for note in notes}) > 1
