"""Tunes of old books, played by twelve instruments, with what is known of each; `prepare` renders.

* O'Neill's, Aird's and Ryan's books in ABC, as the music21 wheel has them (read as a zip; its Essen
  songs, which are not for commerce, are left out): abc2midi makes notes of them, fluidsynth's
  library sounds of these. Both have to be installed. The same versions give the same bytes.
* A clip is 10 seconds. "plain" has two of each tune, the second from anywhere in it, at 120 quarter
  notes a minute, where note lengths give the metre away; "jitter" has one, its tempo drawn from 92
  to 162 and its beats not accented.
* Labels: rhythm (what R: says, or where it is missing the title: "Miss Farr's Reel"), key_signature
  (pitch class of its major key), key (tonic with mode), metre as it is written, instrument, mood;
  -1 where one is not known. `mood` is a proxy that nobody felt: major or minor third, many or few
  notes a second, low or high.
* R: and Q: are not in what is rendered: abc2midi swings hornpipes. 2/2 and 4/4 differ by what
  abc2midi accents, and by the tunes that are written so.
* Split by group: tunes that share a title, or the letters of their first 24 notes, or are joined by
  others that do. Of copies with both in common one is kept.
* `sound="tones"` needs no file: melodies of tones, for tests and `:smoke`.

    rows: audio (FLAC), text, group, id, tempo, and the labels, which are columns too
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import os
import queue
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from mmjax.data.source import DataError, Example, InMemory, objects
from mmjax.datasets import prepared
from mmjax.datasets.prepared import Place, abc_tunes, check_choice, midi, synthesizer
from mmjax.datasets.prepared.abc_tunes import Tune
from mmjax.datasets.prepared.captions import SPLITS, in_split
from mmjax.datasets.prepared.packages import Package
from mmjax.datasets.prepared.synthesizer import Note, Synthesizer
from mmjax.datasets.prepared.tune_words import (
    ABSENT,
    CLASSES,
    INSTRUMENTS,
    MODES,
    MOODS,
    PITCHES,
    RHYTHMS,
    description,
    sentence,
)

RATE = 16_000  # samples per second
SECONDS = 10.0  # of a clip
TEMPO = 120  # quarter notes a minute of plain clips
JITTER = (0.77, 1.35)  # of it, least and most
LIMIT = 5.0  # seconds that a renderer may take for a tune
QUICK = 4.5  # notes a second, from which on a clip is quick
TEST = 0.15  # share of the groups
LOUDEST = 0.5  # of a clip's samples
FOLDER = "music21/corpus/"
BOOKS = ("oneills1850", "airdsAirs", "ryansMammoth")
CORPUS_LICENCE = f"{FOLDER}license.txt"
FORMS = ("plain", "jitter")
SOUNDS = ("tunes", "tones")
TONES = 96  # clips of tones
FOLDED = {"double jig": "jig", "slipjig": "slip jig", "highland fling": "fling"}


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all": by tune
    form: str = "plain"  # one of FORMS: "plain"; "jitter": any tempo, no accents
    labelled: str = ""  # rows that have this label, one of CLASSES; "": all
    sound: str = "tunes"  # one of SOUNDS: "tunes", which are prepared; "tones"
    question: str = ""  # asked of every clip, its answer a description; "": none
    # asked instead of clips whose rhythm nobody has named, whose description leaves it out; "": the
    # same is asked, and an answer may leave out what is not plain
    unnamed: str = ""


class Clip(NamedTuple):
    """How ten seconds of a tune are played."""

    form: str
    instrument: str
    low: bool  # an octave below what is written
    tempo: int  # quarter notes a minute
    place: float  # where in the tune it begins, 0 to 1


def rhythm_of(tune: Tune) -> str:
    """One of RHYTHMS, or "": by R:, or by a word of the title where there is none."""
    said = FOLDED.get(tune.rhythm, tune.rhythm)
    if said:
        return said if said in RHYTHMS else ""
    words = re.findall(r"[a-z]+", tune.title.lower())
    found = [word for word in words if word in RHYTHMS]
    rhythm = found[-1] if found else ""
    return "slip jig" if rhythm == "jig" and tune.metre == "9/8" else rhythm


def plain_title(title: str) -> str:
    """A title by which tunes are compared: "The Blackbird -- Reel" -> "blackbird"."""
    words = re.sub(r"[^a-z0-9 ]", "", title.lower().partition("--")[0]).split()
    return " ".join(word for word in words if word not in ("the", "a"))


def groups(tunes: Sequence[Tune]) -> list[int]:
    """Number of each tune's group: those of one title or one beginning, and who is joined by them;
    the number of its first tune."""
    first = list(range(len(tunes)))

    def root(number: int) -> int:
        while first[number] != number:
            number = first[number]
        return number

    known: dict[tuple[str, str], int] = {}
    for number, tune in enumerate(tunes):
        for key in (("title", plain_title(tune.title)), ("notes", tune.letters)):
            ends = sorted((root(known.setdefault(key, number)), root(number)))
            first[ends[1]] = ends[0]
    return [root(number) for number in range(len(tunes))]


def chosen(books: Mapping[str, bytes]) -> list[Tune]:
    """The tunes of the books, in the order of their names: those that keep their key and metre,
    each once."""
    kept: dict[tuple[str, str], Tune] = {}
    for name in sorted(books):
        for tune in abc_tunes.tunes(books[name].decode("utf-8", "replace")):
            if not tune.changes:
                kept.setdefault((plain_title(tune.title), tune.letters), tune)
    return list(kept.values())


def clips(tune: Tune) -> list[Clip]:
    """How a tune is played: twice plain and once with jitter, by the tune alone."""
    digest = hashlib.blake2b(f"{tune.title} {tune.letters}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    instruments = rng.permutation(list(INSTRUMENTS))[:3].tolist()
    low = rng.permutation([False, True, bool(rng.integers(2))]).tolist()
    other = round(TEMPO * np.exp(rng.uniform(*np.log(JITTER))))
    return [
        Clip("plain", instruments[0], low[0], TEMPO, 0.0),
        Clip("plain", instruments[1], low[1], TEMPO, rng.random()),
        Clip("jitter", instruments[2], low[2], other, rng.random()),
    ]


def played(tune: Tune, clip: Clip) -> list[Note]:
    """The notes of a clip; times are from its beginning.

    Raises:
      DataError: abc2midi makes no MIDI file of the tune, or is not done in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "tune.abc"
        out = Path(folder) / "tune.mid"
        text.write_text(tune.plain(clip.tempo, accents=clip.form == "plain"), encoding="utf-8")
        command = ["abc2midi", text, "-o", out, "-silent"]
        try:  # it says "Error" of a third of the tunes, and plays them
            subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
        except subprocess.TimeoutExpired as error:
            raise DataError(f"abc2midi is not done with {tune.title!r} in {LIMIT:g} s") from error
        if not out.exists():
            raise DataError(f"abc2midi makes no MIDI file of {tune.title!r}")
        notes = midi.notes(out.read_bytes())
    length = max((note.end for note in notes), default=0.0)
    if length < SECONDS:
        raise DataError(f"{tune.title!r} lasts {length:.1f} seconds, less than a clip")
    earliest = clip.place * (length - SECONDS)
    begin = min((note.start for note in notes if note.start >= earliest), default=0.0)
    begin = min(begin, length - SECONDS)
    program = INSTRUMENTS[clip.instrument]
    shift = -12 if clip.low else 0
    return [
        Note(program, note.key + shift, note.velocity, note.start - begin, note.end - begin)
        for note in notes
        if begin <= note.start < begin + SECONDS
    ]


def labels(tune: Tune, clip: Clip, notes: Sequence[Note]) -> dict[str, int]:
    """Of each of CLASSES the number of the class; ABSENT where it is none of them."""
    quick = len(notes) >= QUICK * SECONDS
    minor = tune.key.mode in ("minor", "dorian", "phrygian")
    key = f"{PITCHES[tune.key.tonic]} {tune.key.mode}"
    names = {
        "rhythm": rhythm_of(tune),
        "key_signature": PITCHES[tune.key.signature],
        "key": key,
        "metre": tune.metre,
        "instrument": clip.instrument,
        "mood": MOODS[4 * minor + 2 * quick + (not clip.low)],
    }
    return {
        field: CLASSES[field].index(name) if name in CLASSES[field] else ABSENT
        for field, name in names.items()
    }


def programs() -> None:
    """Raises DataError where a renderer is not installed."""
    synthesizer.needs()
    if shutil.which("abc2midi") is None:
        raise DataError(
            "tunes are turned into notes by abc2midi, not installed here. Debian, Ubuntu, Colab: "
            "apt-get install abcmidi; macOS: brew install abcmidi"
        )


def flac(samples: np.ndarray) -> bytes:
    """A clip as it is stored, its loudest sample at LOUDEST."""
    samples = samples * (LOUDEST / max(float(np.abs(samples).max()), 1e-4))
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


class Made(NamedTuple):
    """A rendered clip."""

    clip: Clip
    labels: dict[str, int]
    audio: bytes


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    programs()
    folders = tuple(f"{FOLDER}{book}/" for book in BOOKS)
    wheel = dict(members(WHEEL, lambda name: name.startswith(folders) or name == CORPUS_LICENCE))
    out.licence("music21-corpus.txt", wheel.pop(CORPUS_LICENCE))
    tunes = chosen({name: data for name, data in wheel.items() if name.endswith(".abc")})
    workers = os.cpu_count() or 1
    idle: queue.SimpleQueue[Synthesizer] = queue.SimpleQueue()

    def rendered(tune: Tune) -> list[Made]:
        synth = idle.get()
        try:
            made = []
            for clip in clips(tune):
                notes = played(tune, clip)
                samples = synth.notes(notes, SECONDS)
                made.append(Made(clip, labels(tune, clip, notes), flac(samples)))
            return made
        except DataError:
            return []  # one tune is too short, and a renderer may fail at another
        finally:
            idle.put(synth)

    with contextlib.ExitStack() as stack:
        font = stack.enter_context(synthesizer.font(members, out))
        for _ in range(workers):
            idle.put(stack.enter_context(Synthesizer(font, rate=RATE, limit=LIMIT)))
        pool = concurrent.futures.ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, cancel_futures=True)
        each = zip(tunes, groups(tunes), pool.map(rendered, tunes), strict=True)
        for done, (tune, group, made) in enumerate(each, 1):
            for clip, numbers, audio in made:
                place = out.put("music", audio)
                row = {**clip._asdict(), **numbers, "audio": place}
                out.row(title=tune.title, group=group, **row)
            yield done, len(tunes)


WHEEL = Package(
    "pypi", "music21", "10.5.1",
    "dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1",
    "BSD-3-Clause", "tunes in ABC: O'Neill's, Aird's, Ryan's books", 20_118_992,
)  # fmt: skip
SET = prepared.Set(
    name="music",
    about="some 4,000 traditional tunes, three clips of each by 12 instruments, with labels",
    licence="BSD-3-Clause",
    packages=(WHEEL, synthesizer.FONT),
    build=_build,
    disk=2_400_000_000,
    needs=programs,
    read_by=lambda options: options.get("sound", "tunes") == "tunes",
)


def open(config: Config) -> InMemory:
    """The clips of a split: audio (FLAC bytes, or samples at RATE), text, group, id, tempo, and the
    labels of CLASSES; with a `question` that is the text, and the answer a description. Columns:
    text, answer, group, tempo, labels.

    Raises DataError for a wrong choice or a missing set.
    """
    check_choice("music: split", config.split, SPLITS)
    check_choice("music: form", config.form, FORMS)
    check_choice("music: sound", config.sound, SOUNDS)
    if config.labelled:
        check_choice("music: labelled", config.labelled, tuple(CLASSES))

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        for number, row in enumerate(rows):
            numbers = {field: row[field] for field in CLASSES}
            wanted = row["form"] == config.form
            if config.labelled:
                wanted &= numbers[config.labelled] != ABSENT
            if wanted and in_split(f"tune {row['group']}", config.split, TEST):
                told = {"text": sentence(numbers)}
                if config.question:
                    known = numbers["rhythm"] != ABSENT or not config.unnamed
                    asked = config.question if known else config.unnamed
                    told = {"text": asked, "answer": description(numbers)}
                yield {
                    "audio": Place(*row["audio"]) if config.sound == "tunes" else row["audio"],
                    **told,
                    "group": row["group"],
                    "tempo": row["tempo"],
                    "id": f"{row['title']} ({number})",
                    **numbers,
                }

    name = f"music {config.form} {config.split}"
    columns = ("tempo", *CLASSES)
    if config.sound == "tunes":
        source: InMemory = prepared.source(SET, name, examples, columns)
    else:
        made = list(examples(_tones()))
        numbers = {key: np.asarray([example[key] for example in made], np.int32) for key in columns}
        source = InMemory(made, f"{name} of tones", numbers)
    if config.question:
        source.columns["answer"] = objects([example["answer"] for example in source.examples])
    return source


def _tones() -> list[dict[str, Any]]:
    """As rows.jsonl has them, with samples instead of places: scales up and down at random, four
    notes a second, the first of a bar louder."""
    rng = np.random.default_rng(0)
    scale = np.array([0, 2, 4, 5, 7, 9, 11])
    time = np.arange(RATE // 4) / RATE
    rows = []
    for number in range(TONES):
        signature = int(rng.integers(12))
        metre = int(rng.integers(6))
        instrument = int(rng.integers(12))
        low = bool(rng.integers(2))
        beats = int(CLASSES["metre"][metre].partition("/")[0])
        pieces = []
        for note in range(round(4 * SECONDS)):
            semitone = 60 - 12 * low + signature + scale[rng.integers(7)]
            hertz = 440 * 2 ** ((semitone - 69) / 12)
            tone = np.sin(2 * np.pi * hertz * time)
            tone += 0.5 * np.sin(2 * np.pi * hertz * time * (2 + instrument % 4))
            pieces.append(tone * np.hanning(len(time)) * (0.4 if note % beats == 0 else 0.2))
        form = FORMS[number // 2 % 2]
        rows.append({
            "form": form,
            "tempo": TEMPO,
            "title": "tones",
            "group": number,
            "audio": np.concatenate(pieces).astype(np.float32),
            "rhythm": metre if number % 3 else ABSENT,
            "key_signature": signature,
            "key": len(MODES) * signature,
            "metre": metre,
            "instrument": instrument,
            "mood": MOODS.index("calm" if low else "tender"),
        })
    return rows
