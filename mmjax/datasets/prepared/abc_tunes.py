"""Tunes in ABC notation: what their heads say, and the tune without anything but its notes.

https://abcnotation.com/wiki/abc:standard:v2.1

* A small reader, for labels: title, rhythm, metre, unit of length, key and the first notes. Sound
  comes from abc2midi, which is handed `Tune.plain`: the head written anew from what was read here,
  so that what is sounded is what the labels say, and nothing in the text gives a label away
  (abc2midi swings a tune whose R: is hornpipe, and plays chord names).
* Modes are known by their first three letters, capital or not: "Edor", "A Mixolydian". "EM" is E
  minor, as abc2midi reads it, and as the two tunes that have it are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}  # sharps of the major key
# mode by its first letters -> (name, fifths from the major key of the same tonic)
MODES = {
    "": ("major", 0), "maj": ("major", 0), "ion": ("major", 0), "m": ("minor", -3),
    "min": ("minor", -3), "aeo": ("minor", -3), "dor": ("dorian", -2), "mix": ("mixolydian", -1),
    "lyd": ("lydian", 1), "phr": ("phrygian", -4), "loc": ("locrian", -5),
}  # fmt: skip
KEY = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)$")
FIELD = re.compile(r"([A-Za-z]):(.*)")
COMMENT = re.compile(r"(?<!\\)%.*")
# what is no note: texts and chord names, decorations, grace notes, fields inside lines
NO_NOTES = re.compile(r'"[^"]*"|![^!\n]*!|\+[a-z]+\+|\{[^}]*\}|\[[A-Za-z]:[^\]]*\]')
LETTERS = 24  # first notes that two tunes have to share to be one


class Key(NamedTuple):
    """A key, as it is heard."""

    tonic: int  # pitch class, 0: C
    mode: str  # "major", "minor", "dorian", ...
    sharps: int  # of the signature; flats are negative

    @property
    def signature(self) -> int:
        """Pitch class of the major key that has this signature."""
        return 7 * self.sharps % 12


class Tune(NamedTuple):
    """A tune of a book."""

    title: str
    rhythm: str  # what R: says, lower case; "": nothing
    metre: str  # "6/8"; "C" is "4/4" and "C|" is "2/2"
    unit: str  # of length, "1/8"
    key: Key
    body: str  # notes, bars, and fields that stand among them

    @property
    def letters(self) -> str:
        """The letters of the first notes, without height or length: "DEFGAB"."""
        return first_notes(self.body)

    @property
    def changes(self) -> bool:
        """Whether the key or the metre changes on the way."""
        return bool(re.search(r"(?m)^\s*[KM]:|\[[KM]:", self.body))

    def plain(self, tempo: int, accents: bool = True) -> str:
        """The tune for abc2midi: one key, one metre, one tempo, and notes.

        Args:
          tempo: quarter notes in a minute.
          accents: the beats of a bar are louder than what is between them.
        """
        head = ["X:1", f"M:{self.metre}", f"L:{self.unit}", f"Q:1/4={tempo}"]
        if not accents:
            head.append("%%MIDI nobeataccents")
        head.append(f"K:{_spelled(self.key)}")
        lines = [line for line in self.body.splitlines() if not FIELD.match(line.strip())]
        body = re.sub(r'"[^"\n]*"|\[[A-Za-z]:[^\]]*\]', "", "\n".join(lines))
        return "\n".join([*head, body.strip("\n"), ""])


def tunes(book: str) -> Iterator[Tune]:
    """The tunes of a book that have a key, a metre and notes, in its order."""
    for part in re.split(r"(?m)^(?=X:)", book)[1:]:
        found = _tune(part)
        if found is not None:
            yield found


def _tune(text: str) -> Tune | None:
    """A tune from its X: to the next one's; None where it cannot be read."""
    lines = [COMMENT.sub("", line).rstrip() for line in text.splitlines()]
    head: dict[str, str] = {}
    start = 0
    for number, line in enumerate(lines):
        field = FIELD.match(line)
        if field:
            head.setdefault(field[1], field[2].strip())
            if field[1] == "K":
                start = number + 1
                break
    key = key_of(head.get("K", ""))
    metre = {"C": "4/4", "C|": "2/2"}.get(head.get("M", ""), head.get("M", ""))
    body = "\n".join(lines[start:])
    if not start or key is None or not re.fullmatch(r"\d+/\d+", metre) or not first_notes(body):
        return None
    beats, beat = map(int, metre.split("/"))
    unit = head.get("L") or ("1/16" if beats / beat < 0.75 else "1/8")
    return Tune(head.get("T", ""), head.get("R", "").lower(), metre, unit, key, body)


def key_of(text: str) -> Key | None:
    """What K: says; None where it says no key.

    >>> key_of("Edor")
    Key(tonic=4, mode='dorian', sharps=2)
    """
    found = KEY.match(text.strip())
    if found is None:
        return None
    letter, accidental, mode = found.groups()
    known = MODES.get(mode.lower()[:3])
    if known is None:
        return None
    name, shift = known
    fifths = FIFTHS[letter] + {"": 0, "#": 7, "b": -7}[accidental]
    return Key(7 * fifths % 12, name, fifths + shift)


def _spelled(key: Key) -> str:
    """A key as ABC writes it, with the sharps or flats that it was read with."""
    shift = {name: shift for name, shift in MODES.values()}[key.mode]
    fifths = key.sharps - shift
    accidental = {-1: "b", 0: "", 1: "#"}[(fifths + 1) // 7]
    letter = {number: letter for letter, number in FIFTHS.items()}[(fifths + 1) % 7 - 1]
    return f"{letter}{accidental}{key.mode[:3]}"


def first_notes(body: str) -> str:
    """The first LETTERS letters of notes, capital."""
    lines = [line for line in body.splitlines() if not FIELD.match(line.strip())]
    notes = re.findall(r"[A-Ga-g]", NO_NOTES.sub("", "\n".join(lines)))
    return "".join(notes[:LETTERS]).upper()
