"""Spoken questions: what is said and asked, splits, and clips put together of recordings."""

import io

import numpy as np
import pytest
import soundfile

from mmjax.data.source import DataError
from mmjax.datasets import asterisk, prepared, spoken_questions, synthetic_speech
from mmjax.datasets.spoken_questions import ALPHABET, ONES, TENS, Config, Said

NUMBERS = {
    0: "zero", 13: "thirteen", 20: "twenty", 42: "forty two", 100: "one hundred",
    106: "one hundred six", 742: "seven hundred forty two", 990: "nine hundred ninety",
}  # fmt: skip


def tones(**fields):
    return spoken_questions.open(Config(sound="tones", **fields))


def test_numbers_as_the_telephone_says_them():
    for number, words in NUMBERS.items():
        assert " ".join(spoken_questions.spelled(number)) == words
    assert len({tuple(spoken_questions.spelled(number)) for number in range(1000)}) == 1000


def test_what_is_asked_of_a_clip():
    row = {"words": ["golf", "forty", "two"], "number": 42, "voice": "slt"}
    known = {"number": "4 2", "count": "3", "voice": "slt", "words": "golf forty two"}
    assert spoken_questions.answers(row) == known
    del known["number"]
    assert spoken_questions.answers({**row, "number": None}) == known


def test_a_question_a_row_or_a_conversation_a_clip():
    rows = tones(split="all")
    talks = tones(split="all", conversations=True)
    assert len(talks) == spoken_questions.TONES and len(rows) > 3 * len(talks)
    for number in (0, 7):
        of_clip = [row for row in rows.examples if row["group"] == number]
        turns = talks[number]["conversation"]
        pairs = zip(turns[::2], turns[1::2], strict=True)
        said = {asked["content"]: answer["content"] for asked, answer in pairs}
        assert said == {row["text"]: row["answer"] for row in of_clip}
        assert rows.column("text")[0] == rows[0]["text"]
    assert len({row["text"] for row in talks.examples}) == 4  # the first question of each


def test_no_number_of_a_held_out_split_is_said_in_training():
    def said(split):
        wanted = Config(split=split, kinds=("words",), sound="tones")
        return {row["answer"] for row in spoken_questions.open(wanted).examples}

    train, test = said("train"), said("test")
    assert test and not train & test
    number = Said(("golf", "forty", "two"), 42)
    assert spoken_questions.key_of(number) == spoken_questions.key_of(Said(("forty", "two"), 42))


def test_shuffled_clips_are_those_of_other_rows():
    own = tones(kinds=("count",))
    other = tones(kinds=("count",), clips="shuffled")
    assert [row["answer"] for row in own.examples] == [row["answer"] for row in other.examples]
    for row in range(3):
        np.testing.assert_array_equal(other[row + 1]["audio"], own[row]["audio"])


@pytest.mark.parametrize("field", ["split", "clips", "sound", "kinds"])
def test_wrong_choices(field):
    wrong = {"sound": "tones", field: ("x",) if field == "kinds" else "x"}
    with pytest.raises(DataError, match=f"spoken_questions: {field} 'x' is none of"):
        spoken_questions.open(Config(**wrong))


def wav(hertz):
    """Half a second of silence about a tone of a tenth of one, 8 kHz."""
    file = io.BytesIO()
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(800) / 8000)
    samples = np.concatenate([np.zeros(4000), tone, np.zeros(4000)])
    soundfile.write(file, samples, 8000, format="WAV")
    return file.getvalue()


def test_a_set_is_made_of_recordings_and_renderings(tmp_path, monkeypatch):
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    monkeypatch.setattr(spoken_questions, "CLIPS", 14)
    monkeypatch.setattr(synthetic_speech, "programs", lambda: None)
    read = []

    def render(text, voice):
        read.append((text, voice.name))
        long = 60_000 if voice.name == "rms" else 8000  # one voice is too slow
        return np.full(long, 0.1, np.float32)

    monkeypatch.setattr(synthetic_speech, "render", render)
    recordings, documents = asterisk.SETS["en"].packages
    words = [f"digits/{number}" for number in [*range(20), *range(20, 100, 10), "hundred"]]
    words += [f"phonetic/{word[0]}_p" for word in ALPHABET]
    contents = {
        documents: {spoken_questions.COPYRIGHT: b"CC-BY-SA-3.0"},
        recordings: {
            f"{spoken_questions.RECORDINGS}{name}.wav": wav(300 + 20 * place)
            for place, name in enumerate(words)
        },
    }

    def members(package, wanted):
        return ((name, data) for name, data in contents[package].items() if wanted(name))

    with prepared.building(spoken_questions.SET, tmp_path, 256) as writer:
        assert list(spoken_questions.SET.build(members, writer))[-1] == (14, 14)
    source = spoken_questions.open(Config("all", kinds=("words", "voice")))
    by_voice = {row["answer"] for row in source.examples if row["kind"] == "voice"}
    assert by_voice == {"allison", "slt", "awb", "kal", "robot", "annie"}
    said = [row for row in source.examples if row["kind"] == "words"]
    spoken = [row for row in said if row["group"] == 0][0]  # Allison's
    sound, rate = soundfile.read(io.BytesIO(source[source.examples.index(spoken)]["audio"]))
    count = len(spoken["answer"].split())
    seconds = count * (0.1 + 0.06) + (count - 1) * 0.04
    assert rate == 16_000 and abs(len(sound) / rate - seconds) < 0.02 * count
    assert len(read) == 12 and not any("xray" in text for text, _ in read)
    known = {*ONES, *TENS, *ALPHABET, "hundred"}
    assert set(" ".join(row["answer"] for row in said).split()) <= known
