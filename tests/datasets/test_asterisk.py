"""The telephone prompts, made of packages that look like the real ones."""

import gzip

import pytest

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
    recordings, documents = asterisk.SET.packages
    contents = {
        documents: {
            asterisk.TEXTS: gzip.compress(LISTING.encode()),
            asterisk.COPYRIGHT: b"CC-BY-SA-3.0",
        },
        recordings: {
            f"{asterisk.FOLDER}{name}.wav": name.encode() for name in (*names, "auth-thankyou")
        },
    }

    def members(package, wanted):
        return ((name, data) for name, data in contents[package].items() if wanted(name))

    with prepared.building(asterisk.SET, tmp_path, 256) as writer:
        assert list(asterisk.SET.build(members, writer))[-1] == (5, 5)


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
    assert prepared.sets()["asterisk"] is asterisk.SET
