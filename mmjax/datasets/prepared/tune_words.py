"""What is known of a tune, and how it is said in words (music.py)."""

from __future__ import annotations

from collections.abc import Mapping

# General MIDI's programs
INSTRUMENTS = {
    "piano": 0, "harpsichord": 6, "vibraphone": 11, "organ": 16, "accordion": 21, "guitar": 24,
    "violin": 40, "harp": 46, "trumpet": 56, "oboe": 68, "clarinet": 71, "flute": 73,
}  # fmt: skip
RHYTHMS = ("reel", "jig", "hornpipe", "slip jig", "strathspey", "clog", "air", "fling", "march")
PITCHES = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
MODES = ("major", "minor", "dorian", "mixolydian")
# of mode x pace x register: major before minor, slow before quick, low before high
MOODS = ("calm", "tender", "hearty", "merry", "gloomy", "plaintive", "stormy", "restless")
CLASSES: Mapping[str, tuple[str, ...]] = {
    "rhythm": RHYTHMS,
    "key_signature": PITCHES,  # of the major key
    "key": tuple(f"{pitch} {mode}" for pitch in PITCHES for mode in MODES),
    "metre": ("6/8", "2/2", "2/4", "4/4", "3/4", "9/8"),
    "instrument": tuple(INSTRUMENTS),
    "mood": MOODS,
}
# how descriptions state them, in this order; a rhythm comes first, by its name alone
PHRASES = {
    "key": "in {}",
    "key_signature": "with the notes of {} major",
    "metre": ", in {}",
    "instrument": ", on the {}",
    "mood": ", {}",
}
ABSENT = -1  # label of what is not known


def sentence(numbers: Mapping[str, int]) -> str:
    """A clip in words, of what is known: "a slip jig in G major and 9/8 on the oboe, merry"."""
    names = {
        field: CLASSES[field][number] for field, number in numbers.items() if number != ABSENT
    }
    rhythm = names.get("rhythm", "tune")
    told = ["an" if rhythm[0] == "a" else "a", rhythm]
    measures = [names[field] for field in ("key", "metre") if field in names]
    if measures:
        told += ["in", " and ".join(measures)]
    return f"{' '.join(told)} on the {names['instrument']}, {names['mood']}"


def description(numbers: Mapping[str, int]) -> str:
    """As `sentence`, with the key signature by its major key and each attribute in words of its
    own: "a slip jig in E minor with the notes of G major, in 9/8, on the oboe, merry"."""
    names = {
        field: CLASSES[field][number] for field, number in numbers.items() if number != ABSENT
    }
    rhythm = names.get("rhythm", "tune")
    told = [f"{'an' if rhythm[0] == 'a' else 'a'} {rhythm}"]
    told += [PHRASES[field].format(names[field]) for field in PHRASES if field in names]
    return " ".join(told).replace(" ,", ",")


def phrases(field: str) -> tuple[str, ...]:
    """How a description states each class of CLASSES[field]."""
    phrase = PHRASES.get(field, "{}").strip(" ,")
    return tuple(phrase.format(name) for name in CLASSES[field])
