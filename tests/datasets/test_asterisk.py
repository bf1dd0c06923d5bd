"""The telephone prompts, made of packages that look like the real ones."""

import gzip

import pytest

from mmjax.commands import prepare
from mmjax.config import ConfigError, Spec, build
from mmjax.data.source import DataError
from mmjax.datasets import asterisk, prepared

LISTING = """; Core Asterisk Sounds in English

activated: Activated.
agent-user:  Agent login.  Please enter your agent number.
beep: [this is a simple beep tone]
letters/dollar: dollar [$]
silence/1: (1 second of silence)
thank-you: Thank you.
auth-thankyou: thank you
never-recorded: It is not there.
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    names = ("activated", "agent-user", "beep", "letters/dollar", "silence/1", "thank-you")
    contents = {}
    for language, voice in asterisk.VOICES.items():
        recordings, documents = asterisk.SETS[language].packages
        papers = f"{asterisk.DOCUMENTS}{language}"
        sounds = f"{asterisk.FOLDER}{voice.folder}"
        mark = "\ufeff" if language == "it" else ""  # as the real file begins
        contents[documents] = {
            f"{papers}/core-sounds-{language}.txt.gz": gzip.compress((mark + LISTING).encode()),
            f"{papers}/copyright": voice.licence.encode(),
        }
        contents[recordings] = {
            f"{sounds}/{name}.wav": name.encode() for name in (*names, "auth-thankyou")
        }

    def members(package, wanted):
        return ((name, data) for name, data in contents[package].items() if wanted(name))

    for one in (asterisk.SETS["en"], asterisk.SETS["it"]):
        with prepared.building(one, tmp_path, 256) as writer:
            assert list(one.build(members, writer))[-1] == (5, 5)


def test_recordings_with_their_texts(made):
    source = asterisk.open(asterisk.Config("all"))
    texts = {row["id"]: row["text"] for row in source}
    assert texts == {
        "activated": "Activated.",
        "agent-user": "Agent login. Please enter your agent number.",
        "auth-thankyou": "thank you",
        "letters/dollar": "dollar",
        "thank-you": "Thank you.",
    }
    assert all(row["audio"] == row["id"].encode() for row in source)
    italian = asterisk.open(asterisk.Config("all", "it"))
    assert {row["id"]: row["text"] for row in italian} == texts
    groups = {row["id"]: row["group"] for row in source}
    assert groups["thank-you"] == groups["auth-thankyou"] and len(set(groups.values())) == 4


def test_splits_by_what_is_said(made):
    parts = []
    for split in ("train", "validation", "test"):
        try:
            parts.append({row["group"] for row in asterisk.open(asterisk.Config(split))})
        except DataError as error:  # so few that one may have none
            assert "has no example" in str(error)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 4
    with pytest.raises(DataError, match="split 'dev' is none of"):
        asterisk.open(asterisk.Config("dev"))


def test_it_says_how_it_is_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    with pytest.raises(DataError, match="--mode=prepare --set=asterisk"):
        asterisk.open(asterisk.Config())
    with pytest.raises(DataError, match="--mode=prepare --set=asterisk_ru"):
        asterisk.open(asterisk.Config(language="ru"))
    with pytest.raises(ConfigError, match="language"):
        build(asterisk.Config, {"language": "de"})


def test_each_language_is_a_set_of_its_own():
    sets = prepared.sets()
    assert sets["asterisk"] is asterisk.SETS["en"]
    names = [name for name in sets if name.startswith("asterisk")]
    assert names == ["asterisk", "asterisk_fr", "asterisk_es", "asterisk_it", "asterisk_ru"]
    spec = Spec("asterisk", {"language": "it"})
    assert [name for name in names if prepare.reads(spec, sets[name])] == ["asterisk_it"]
    assert prepare.reads(Spec("asterisk", {}), sets["asterisk"])
