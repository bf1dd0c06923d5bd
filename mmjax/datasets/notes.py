"""Single notes of 128 instruments with a sentence each; `prepare` renders them on this machine.

* General MIDI's instruments in its 16 families of 8, five octaves from C2 (65 Hz) to B6, each note
  in two of three dynamics: 15,360 clips of a second, 16 kHz, about 4.3 hours. fluidsynth's library
  has to be installed; the same version of it gives the same bytes.
* Text: "a low C on a violin, softly". In training also "a string instrument plays a low C, softly",
  so that families have a name: a row of "train" has both texts.
* Every sentence is a `group` of its own. `label` is the family, an index into FAMILIES.
* Splits by pitch and by note: two pitches of every octave are for testing and one for validation
  ("test/unseen_pitch"); of the other pitches a tenth of the notes is ("test/unseen_note"), whose
  instrument and pitch are both heard in training, but never together.
* `hundreds` keeps rows that make up whole hundreds, numbered by the column `hundred`, for one
  retrieval among 100 each: of all instruments, or of the 8 of one family.
* `sound="tones"` needs no renderer and no file: tones of two families in four octaves, for tests
  and `:smoke`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import soundfile

from mmjax.data.source import Example, InMemory
from mmjax.datasets import prepared
from mmjax.datasets.prepared import Place, Stored, check_choice, synthesizer
from mmjax.datasets.prepared.captions import in_split
from mmjax.datasets.prepared.synthesizer import Note, Synthesizer

RATE = 16_000  # samples per second
SECONDS = 1.0  # of a clip
HELD = 0.7  # seconds until the key is let go
GAIN = 2.0  # the loudest note is then at 0.9
OCTAVES = ("very low", "low", "middle", "high", "very high")  # from C2, C3, ...
LOWEST = 36  # C2
PITCHES = ("C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B")
# what is said of a note, and how hard its key is hit
DYNAMICS = (("softly", 25, 50), ("", 65, 85), ("loudly", 100, 125))
# Pitches of each octave that are for testing and for validation, never neighbours.
TEST_PITCHES = ((1, 7), (3, 10), (5, 0), (8, 2), (6, 11))
VALIDATION_PITCHES = (4, 6, 9, 5, 2)
SPLITS = (
    "train", "validation/unseen_pitch", "validation/unseen_note", "test/unseen_pitch",
    "test/unseen_note", "all",
)  # fmt: skip
HUNDRED = 100
SOUNDS = ("rendered", "tones")
TONES = (16, 4)  # instruments and octaves of the tones

# A family as it is called in a sentence -> its instruments, in General MIDI's order.
INSTRUMENTS = {
    "piano": (
        "grand piano", "bright piano", "electric grand piano", "honky-tonk piano",
        "Rhodes piano", "chorused piano", "harpsichord", "clavinet",
    ),
    "tuned percussion": (
        "celesta", "glockenspiel", "music box", "vibraphone", "marimba", "xylophone",
        "tubular bell", "dulcimer",
    ),
    "organ": (
        "Hammond organ", "percussive organ", "rock organ", "church organ", "reed organ",
        "accordion", "harmonica", "bandoneon",
    ),
    "guitar": (
        "nylon guitar", "steel guitar", "jazz guitar", "clean electric guitar", "muted guitar",
        "overdriven guitar", "distorted guitar", "guitar harmonic",
    ),
    "bass": (
        "double bass", "fingered bass", "picked bass", "fretless bass", "slapped bass",
        "hard slapped bass", "synthetic bass", "rubber bass",
    ),
    "string": (
        "violin", "viola", "cello", "contrabass", "tremolo violin", "pizzicato violin", "harp",
        "timpano",
    ),
    "ensemble": (
        "string orchestra", "slow string orchestra", "synthetic string orchestra",
        "warm string orchestra", "choir", "humming voice", "synthetic voice", "orchestra hit",
    ),
    "brass": (
        "trumpet", "trombone", "tuba", "muted trumpet", "French horn", "brass section",
        "synthetic brass section", "mellow brass section",
    ),
    "reed": (
        "soprano saxophone", "alto saxophone", "tenor saxophone", "baritone saxophone", "oboe",
        "English horn", "bassoon", "clarinet",
    ),
    "pipe": (
        "piccolo", "flute", "recorder", "pan flute", "blown bottle", "shakuhachi", "whistle",
        "ocarina",
    ),
    "synthesizer lead": (
        "square lead", "sawtooth lead", "calliope lead", "chiffer lead", "charang lead",
        "voice lead", "fifths lead", "bass lead",
    ),
    "synthesizer pad": (
        "new age pad", "warm pad", "polysynth pad", "choir pad", "bowed glass pad",
        "metallic pad", "halo pad", "sweeping pad",
    ),
    "synthesizer effect": (
        "rain effect", "soundtrack effect", "crystal effect", "atmosphere effect",
        "brightness effect", "goblin effect", "echo effect", "star theme effect",
    ),
    "folk": (
        "sitar", "banjo", "shamisen", "koto", "kalimba", "bagpipe", "fiddle", "shanai",
    ),
    "drum": (
        "tinkle bell", "agogo", "steel drum", "woodblock", "taiko drum", "melodic tom",
        "synthetic drum", "reverse cymbal",
    ),
    "sound effect": (
        "guitar fret noise", "breath noise", "seashore", "bird", "telephone", "helicopter",
        "applause", "gunshot",
    ),
}  # fmt: skip
FAMILIES = tuple(INSTRUMENTS)
NAMES = tuple(name for names in INSTRUMENTS.values() for name in names)


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # see SPLITS
    # rows are dealt out into hundreds: "all" of any instruments, "family" of one family each; "":
    # all rows, and no hundreds
    hundreds: Literal["", "all", "family"] = ""
    sound: str = "rendered"  # one of SOUNDS: "rendered", which are prepared; "tones"


def note_name(key: int) -> str:
    """ "low C sharp": a pitch, from its semitone."""
    octave, pitch = divmod(key - LOWEST, 12)
    return f"{OCTAVES[octave]} {PITCHES[pitch]}"


def sentences(program: int, key: int, dynamic: str) -> tuple[str, str]:
    """What is said of a note, by its instrument and by its family."""
    name = NAMES[program]
    family = FAMILIES[program // 8]
    behind = f", {dynamic}" if dynamic else ""
    return (
        f"a {note_name(key)} on {_article(name)} {name}{behind}",
        f"{_article(family)} {family} instrument plays a {note_name(key)}{behind}",
    )


def _article(name: str) -> str:
    return "an" if name[0] in "aeioAEIO" else "a"


def part_of(program: int, key: int) -> str:
    """The split that a note is in."""
    octave, pitch = divmod(key - LOWEST, 12)
    if pitch in TEST_PITCHES[octave]:
        return "test/unseen_pitch"
    if pitch == VALIDATION_PITCHES[octave]:
        return "validation/unseen_pitch"
    for split in ("validation", "test"):
        if in_split(f"note {program} {key}", split):
            return f"{split}/unseen_note"
    return "train"


def notes() -> Iterator[tuple[int, int, str, int]]:
    """(program, key, dynamic, velocity) of every clip."""
    for program in range(len(NAMES)):
        for key in range(LOWEST, LOWEST + 12 * len(OCTAVES)):
            rng = _drawn(f"{program} {key}")
            for number in sorted(rng.choice(len(DYNAMICS), 2, replace=False).tolist()):
                name, least, most = DYNAMICS[number]
                yield program, key, name, int(rng.integers(least, most + 1))


def _drawn(key: str) -> np.random.Generator:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def hundreds(families: Sequence[int], by_family: bool) -> np.ndarray:
    """The number of the hundred that each row is dealt to, or -1 for a rest: of all rows, or of
    those of each family."""
    families = np.asarray(families)
    out = np.full(len(families), -1, np.int32)
    parts = [np.arange(len(families))]
    if by_family:
        parts = [np.flatnonzero(families == one) for one in np.unique(families)]
    count = 0
    for rows in parts:
        order = _drawn(f"hundreds {len(rows)}").permutation(rows)
        for start in range(0, len(order) - HUNDRED + 1, HUNDRED):
            out[order[start : start + HUNDRED]] = count
            count += 1
    return out


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    synthesizer.needs()
    wanted = list(notes())
    with (
        synthesizer.font(members, out) as font,
        Synthesizer(font, rate=RATE, gain=GAIN) as synth,
    ):
        for done, (program, key, dynamic, velocity) in enumerate(wanted, 1):
            samples = synth.notes([Note(program, key, velocity, end=HELD)], SECONDS)
            out.row(
                program=program,
                key=key,
                dynamic=dynamic,
                velocity=velocity,
                audio=out.put("notes", _flac(samples)),
            )
            yield done, len(wanted)


def _flac(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.clip(-1, 1), RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


@functools.cache
def _tones() -> list[dict[str, Any]]:
    """As rows.jsonl has them, with sounds instead of places: harmonics that die away, how strong by
    the instrument and how fast by its family."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    instruments, octaves = TONES
    rows = []
    for program, key, dynamic, velocity in notes():
        if program >= instruments or key >= LOWEST + 12 * octaves:
            continue
        rng = _drawn(f"tone {program}")
        hertz = 440 * 2 ** ((key - 69) / 12)
        strengths = rng.uniform(size=8) / np.arange(1, 9)
        harmonics = np.sin(2 * np.pi * hertz * np.outer(time, np.arange(1, 9)))
        decay = np.exp(-time * (2 + 6 * (program // 8)))
        tone = harmonics @ strengths * decay * velocity / 127 / strengths.sum()
        rows.append({
            "program": program, "key": key, "dynamic": dynamic, "audio": _flac(tone),
            "velocity": velocity,
        })  # fmt: skip
    return rows


SET = prepared.Set(
    name="notes",
    about="15,360 notes of 128 instruments with a sentence each, 4.3 hours",
    licence="GPL-2.0-only",
    packages=(synthesizer.FONT,),
    build=_build,
    disk=250_000_000,
    needs=synthesizer.needs,
)


def open(config: Config) -> Stored | InMemory:
    """The notes of a split: audio (FLAC bytes), text, label, group, id, and the columns instrument,
    family, pitch, velocity, seconds, hundred.

    Raises DataError for a wrong split or sound, or a missing set.
    """
    check_choice("notes: split", config.split, SPLITS)
    check_choice("notes: sound", config.sound, SOUNDS)
    tones = config.sound == "tones"

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        kept = []
        for group, row in enumerate(rows):
            if config.split in (part_of(row["program"], row["key"]), "all"):
                kept.append((group, row))
        families = [row["program"] // 8 for _, row in kept]
        dealt = hundreds(families, config.hundreds == "family")
        for (group, row), hundred in zip(kept, dealt.tolist(), strict=True):
            if config.hundreds and hundred < 0:
                continue
            program = row["program"]
            by_name, by_family = sentences(program, row["key"], row["dynamic"])
            yield {
                "audio": row["audio"] if tones else Place(*row["audio"]),
                "text": (by_name, by_family) if config.split == "train" else by_name,
                "label": program // 8,
                "group": group,
                "id": f"{NAMES[program]} {row['key']} {row['velocity']}",
                "instrument": program,
                "family": program // 8,
                "pitch": row["key"],
                "velocity": row["velocity"],
                "seconds": SECONDS,
                "hundred": hundred,
            }

    columns = ("instrument", "family", "pitch", "velocity", "seconds", "hundred")
    name = f"notes {config.split}"
    if not tones:
        return prepared.source(SET, name, examples, columns)
    made = list(examples(_tones()))
    numbers = {key: np.asarray([example[key] for example in made]) for key in columns}
    return InMemory(made, f"{name} of tones", numbers)
