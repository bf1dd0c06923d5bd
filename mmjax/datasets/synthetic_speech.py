"""Sentences read by many synthetic voices, some 4 hours; `prepare` renders them on this machine.

* Renderers: espeak-ng (https://github.com/espeak-ng/espeak-ng, formant synthesis, 18 voices of six
  accents) and flite (https://github.com/festvox/flite, four voices made from recordings). Both have
  to be installed. The same versions of them give the same bytes.
* Sentences: what the Asterisk prompts say and parts of it, sentences that a word bigram of the
  training prompts makes up, numbers, and the names of the bundled emoji.
* Split by sentence, by the same hash as datasets/asterisk.py: no sentence of its held-out splits is
  read in training. Split by voice as well: four voices are "unseen".
* 16 kHz FLAC. Each row has its seconds, and the sentence as its group.
"""

import concurrent.futures
import csv
import dataclasses
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from mmjax.data.source import DataError, Example
from mmjax.datasets import asterisk, bundled, prepared
from mmjax.datasets.prepared import Place, Stored, check_choice
from mmjax.datasets.prepared.captions import SPLITS, in_split

RATE = 16_000  # samples per second
NUMBERS = 500  # sentences that are numbers
MADE_UP = 1500  # sentences of the word bigram
LONGEST = 14  # words of a sentence
TEXTS = f"{asterisk.DOCUMENTS}en/core-sounds-en.txt.gz"
COPYRIGHT = f"{asterisk.DOCUMENTS}en/copyright"
VOICES = ("seen", "unseen", "all")
PROGRAMS = ("espeak-ng", "flite")


class Voice(NamedTuple):
    """Who reads."""

    program: str  # one of PROGRAMS
    name: str  # as the program calls it
    unseen: bool = False  # kept for testing

    def __str__(self) -> str:
        return f"{self.program} {self.name}"


ESPEAK = (
    "en-us", "en-us+f1", "en-us+f2", "en-us+f3", "en-us+f5", "en-us+Alicia", "en-us+Andrea",
    "en-us+m3", "en-us+linda", "en-gb", "en-gb+f2", "en-gb-x-rp", "en-gb-x-rp+f5",
    "en-gb-scotland+f3", "en-gb-x-gbclan+m7", "en-gb-x-gbcwmd+f1", "en-029+f2", "en-029+m1",
)  # fmt: skip
HELD_OUT = ("en-us+Annie", "en-gb-x-rp+f4", "en-us+m5")
SPEAKERS = (
    *(Voice("flite", name) for name in ("slt", "rms", "kal16")),
    *(Voice("espeak-ng", name) for name in ESPEAK),
    *(Voice("espeak-ng", name, True) for name in HELD_OUT),
    Voice("flite", "awb", True),
)
SHARE = {"slt": 6, "rms": 3, "kal16": 1}  # how often flite's voices read, where an espeak-ng does 1


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all": by sentence
    voices: str = "seen"  # "seen" in training, "unseen", "all"


def key_of(text: str) -> str:
    """What decides the split of a sentence; of whole prompts as in asterisk.py."""
    return " ".join(re.findall(r"\w+", text.lower()))


def sentences(listing: str) -> list[str]:
    """What is read, each once, from the prompts' list "agent-user: Agent login."."""
    prompts = []
    for line in listing.splitlines():
        _, colon, text = line.partition(":")
        text = " ".join(text.split())
        if colon and not line.startswith(";") and not re.search(r"[\[\]<>(]", text):
            prompts.append(text)
    rng = np.random.default_rng(0)
    training = [text for text in prompts if in_split(key_of(text), "train")]
    found = [*prompts, *_parts(prompts), *_numbers(rng), *_names(), *_made_up(training, rng)]
    once = {key_of(text): text for text in reversed(found)}
    short = [text for text in once.values() if re.search(r"\w", text)]
    return [text for text in reversed(short) if len(text.split()) <= LONGEST]


def _parts(prompts: Sequence[str]) -> Iterator[str]:
    """Sentences and clauses of prompts, where they fall into the same split as the whole."""
    for text in prompts:
        for part in (*re.split(r"(?<=[.!?])\s+", text), *re.split(r"[,.!?]\s*", text)):
            if any(
                in_split(key_of(part), split) and in_split(key_of(text), split)
                for split in SPLITS[:3]
            ):
                yield part


def _numbers(rng: np.random.Generator) -> Iterator[str]:
    """Numbers to 99, and digits one after the other."""
    for value in range(100):
        yield str(value)
    for _ in range(NUMBERS - 100):
        yield " ".join(str(digit) for digit in rng.integers(10, size=rng.integers(2, 7)))


def _names() -> Iterator[str]:
    """Of the bundled emoji."""
    table = bundled.read("emoji", "emoji.csv").decode("utf-8").splitlines()
    for row in csv.DictReader(table):
        yield row["label"]


def _made_up(texts: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Sentences that follow a random word with one that stood behind it in some text."""
    behind: dict[str, list[str]] = {}
    for text in texts:
        words = ["", *text.split(), ""]
        for word, following in zip(words[:-1], words[1:], strict=True):
            behind.setdefault(word.lower(), []).append(following)
    for _ in range(MADE_UP):
        said: list[str] = []
        while not said or (said[-1] and len(said) < LONGEST):
            following = behind[said[-1].lower() if said else ""]
            said.append(following[rng.integers(len(following))])
        yield " ".join(said).strip()


def readers(text: str) -> list[Voice]:
    """Who reads a sentence: two voices of training, and of held-out sentences an unseen one too; by
    the sentence alone."""
    digest = hashlib.blake2b(key_of(text).encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    seen = [voice for voice in SPEAKERS if not voice.unseen]
    unseen = [voice for voice in SPEAKERS if voice.unseen]
    shares = np.array([SHARE.get(voice.name, 1) for voice in seen], np.float64)
    chosen = rng.choice(len(seen), size=2, replace=False, p=shares / shares.sum())
    out = [seen[number] for number in chosen.tolist()]
    if not in_split(key_of(text), "train"):
        out.append(unseen[rng.integers(len(unseen))])
    return out


def render(text: str, voice: Voice) -> np.ndarray:
    """float32 samples at RATE; how fast and how high follows from the sentence and the voice.

    Raises:
      DataError: the program fails, or says nothing.
    """
    digest = hashlib.blake2b(f"{voice} {text}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        if voice.program == "flite":
            stretch = f"duration_stretch={rng.uniform(0.85, 1.2):.2f}"
            command = ["flite", "-voice", voice.name, "--setf", stretch, "-t", text, "-o", path]
        else:
            speed = str(int(rng.integers(130, 185)))
            pitch = str(int(rng.integers(35, 70)))
            command = ["espeak-ng", "-v", voice.name, "-s", speed, "-p", pitch, "-w", path, text]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode or not path.exists():
            raise DataError(f"{voice} fails on {text!r}: {done.stderr.decode(errors='replace')}")
        samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    if not np.abs(samples).max(initial=0) > 1e-3:
        raise DataError(f"{voice} says nothing for {text!r}")
    return samples.clip(-1, 1)


def programs() -> None:
    """Raises DataError where a renderer is not installed."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        names = " ".join(missing)
        raise DataError(
            f"synthetic voices need {' and '.join(missing)}, not installed here. Debian, Ubuntu, "
            f"Colab: apt-get install {names}; macOS: brew install {names}"
        )


def _flac(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    programs()
    papers = dict(members(SET.packages[0], lambda name: name in (TEXTS, COPYRIGHT)))
    out.licence("asterisk-cc-by-sa-3.0.txt", papers[COPYRIGHT])
    texts = sentences(gzip.decompress(papers[TEXTS]).decode("utf-8"))
    read = [(text, voice) for text in texts for voice in readers(text)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        sounds = pool.map(lambda one: render(*one), read)
        for done, ((text, voice), samples) in enumerate(zip(read, sounds, strict=True), 1):
            out.row(
                text=text,
                voice=str(voice),
                unseen=voice.unseen,
                seconds=round(len(samples) / RATE, 3),
                audio=out.put("speech", _flac(samples)),
            )
            yield done, len(read)


SET = prepared.Set(
    name="synthetic_speech",
    about="sentences read by 25 synthetic voices, about 4 hours",
    licence="CC-BY-SA-3.0",
    packages=asterisk.SETS["en"].packages[1:],  # the texts
    build=_build,
    disk=350_000_000,
    needs=programs,
)


def open(config: Config) -> Stored:
    """The readings of a split: audio (FLAC bytes), text, group, id. Columns: text, group, seconds.

    Raises DataError for a wrong choice or a missing set.
    """
    check_choice("synthetic_speech: split", config.split, SPLITS)
    check_choice("synthetic_speech: voices", config.voices, VOICES)

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        groups: dict[str, int] = {}
        for number, row in enumerate(rows):
            key = key_of(row["text"])
            group = groups.setdefault(key, len(groups))
            wanted = config.voices == "all" or row["unseen"] == (config.voices == "unseen")
            if wanted and in_split(key, config.split):
                yield {
                    "audio": Place(*row["audio"]),
                    "text": row["text"],
                    "seconds": row["seconds"],
                    "group": group,
                    "id": f"{number}, {row['voice']}",
                }

    name = f"synthetic speech {config.split}, {config.voices} voices"
    return prepared.source(SET, name, examples, ("seconds",))
