"""Questions about what a voice says: which number, how many words, who speaks; `prepare` renders.

* A clip is a number below 1,000, one to five words of the radio alphabet ("tango echo"), or some of
  those and a number behind them: "golf one hundred six".
* Seven voices: one woman's recordings for the telephone (Allison Smith of the Asterisk prompts, 8
  kHz), put together as the telephone does; four flite voices made from recordings, two of
  espeak-ng (datasets/synthetic_speech.py renders them, which has to have both installed).
* Of each clip is asked: "number" (as digits, "1 0 6"), "count" (of words), "voice", and "words",
  for a transcript. In training one conversation asks all that can be asked, in an order by chance;
  of held-out clips each row asks one question.
* Split by content: no number of a held-out split is said in training, alone or behind words, and no
  sequence of words without a number.
* How much the sound tells is measured with `clips="shuffled"`: each row has another row's clip.
* `sound="tones"` needs no file: each word is a short tone of its own. For tests and `:smoke`.
"""

import concurrent.futures
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from mmjax.data.source import Example, InMemory, objects
from mmjax.datasets import asterisk, prepared, synthetic_speech
from mmjax.datasets.prepared import Place, check_choice
from mmjax.datasets.prepared.captions import SPLITS, in_split
from mmjax.datasets.synthetic_speech import Voice

RECORDINGS = f"{asterisk.FOLDER}{asterisk.VOICES['en'].folder}/"
COPYRIGHT = f"{asterisk.DOCUMENTS}en/copyright"
RATE = 16_000  # samples per second
CLIPS = 6000
LONGEST = 3.0  # seconds
GAP = 0.04  # seconds between recordings that are put together
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ALPHABET = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar "
    "papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
).split()
VOICES: Mapping[str, Voice | None] = {
    "allison": None,  # recordings
    "slt": Voice("flite", "slt"),
    "rms": Voice("flite", "rms"),
    "awb": Voice("flite", "awb"),
    "kal": Voice("flite", "kal16"),
    "robot": Voice("espeak-ng", "en-us"),
    "annie": Voice("espeak-ng", "en-us+Annie"),
}
QUESTIONS = {
    "number": "which number is said ?",
    "count": "how many words are said ?",
    "voice": "who speaks ?",
    "words": "what is said ?",
}
SOUNDS = ("speech", "tones")
ORDERS = ("own", "shuffled")
TONES = 240  # clips of tones
TONE = 0.06  # seconds of one


class Said(NamedTuple):
    """What a clip says."""

    words: tuple[str, ...]
    number: int | None  # None: there is none among the words


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all": by what is said
    kinds: tuple[str, ...] = tuple(QUESTIONS)  # of questions
    # False: each row asks one question; True: each clip has one conversation with all of them
    conversations: bool = False
    clips: str = "own"  # one of ORDERS: "own"; "shuffled": of another row
    sound: str = "speech"  # one of SOUNDS: "speech", which is prepared; "tones"


def spelled(number: int) -> list[str]:
    """The words of a number below 1,000, as the telephone says it: "one hundred six"."""
    words = []
    if number >= 100:
        words += [ONES[number // 100], "hundred"]
        number %= 100
        if not number:
            return words
    if number < 20:
        return [*words, ONES[number]]
    words.append(TENS[number // 10 - 2])
    return [*words, ONES[number % 10]] if number % 10 else words


def key_of(said: Said) -> str:
    """What decides the split of a clip."""
    return " ".join(said.words) if said.number is None else str(said.number)


def draw(rng: np.random.Generator) -> Said:
    """What a clip says: a number, words, or both."""
    kind = rng.integers(3)
    if kind == 0:
        count = int(rng.integers(2, 6))
        return Said(tuple(rng.choice(ALPHABET, count).tolist()), None)
    number = int(rng.integers(100) if rng.random() < 0.25 else rng.integers(1000))
    before = rng.choice(ALPHABET, int(rng.integers(1, 3))).tolist() if kind == 1 else []
    return Said((*before, *spelled(number)), number)


def recorded(words: Sequence[str], recordings: Mapping[str, np.ndarray]) -> np.ndarray:
    """Recordings of words put together, float32 samples at RATE."""
    gap = np.zeros(round(GAP * RATE), np.float32)
    pieces = [recordings[words[0]]]
    for word in words[1:]:
        pieces += [gap, recordings[word]]
    return np.concatenate(pieces)


def trimmed(samples: np.ndarray, level: float = 0.02) -> np.ndarray:
    """Without the silence before and behind, 30 ms of which stay."""
    loud = np.flatnonzero(np.abs(samples) > level * np.abs(samples).max())
    margin = round(0.03 * RATE)
    return samples[max(0, loud[0] - margin) : loud[-1] + margin]


def _recordings(members: prepared.Members) -> dict[str, np.ndarray]:
    """Word -> what Allison says for it."""
    files = {f"digits/{number}": word for number, word in enumerate(ONES)}
    files |= {f"digits/{10 * number}": word for number, word in enumerate(TENS, 2)}
    files |= {f"phonetic/{word[0]}_p": word for word in ALPHABET}
    files["digits/hundred"] = "hundred"
    names = {f"{RECORDINGS}{stem}.wav": word for stem, word in files.items()}
    found = {}
    for name, data in members(asterisk.SETS["en"].packages[0], names.__contains__):
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        found[names[name]] = trimmed(soxr.resample(samples, rate, RATE).astype(np.float32))
    return found


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    synthetic_speech.programs()
    (papers,) = members(SET.packages[1], lambda name: name == COPYRIGHT)
    out.licence("asterisk-cc-by-sa-3.0.txt", papers[1])
    recordings = _recordings(members)
    rng = np.random.default_rng(0)
    names = list(VOICES)
    drawn = [(draw(rng), names[number % len(names)]) for number in range(CLIPS)]

    def render(one: tuple[Said, str]) -> np.ndarray:
        said, name = one
        voice = VOICES[name]
        if voice is None:
            return recorded(said.words, recordings)
        text = " ".join(said.words).replace("xray", "x-ray")
        return trimmed(synthetic_speech.render(text, voice))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        sounds = pool.map(render, drawn)
        for done, ((said, name), samples) in enumerate(zip(drawn, sounds, strict=True), 1):
            if len(samples) <= LONGEST * RATE:
                seconds = round(len(samples) / RATE, 3)
                audio = out.put("speech", _flac(samples))
                out.row(
                    words=said.words, number=said.number, voice=name, seconds=seconds, audio=audio
                )
            yield done, CLIPS


def _flac(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.clip(-1, 1), RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


SET = prepared.Set(
    name="spoken_questions",
    about="numbers and words said by seven voices, and questions about them",
    licence="CC-BY-SA-3.0",
    packages=asterisk.SETS["en"].packages,
    build=_build,
    disk=300_000_000,
)


def answers(row: Mapping[str, Any]) -> dict[str, str]:
    """Kind of question -> the right answer, of those that a clip can be asked."""
    out = {
        "count": str(len(row["words"])),
        "voice": row["voice"],
        "words": " ".join(row["words"]),
    }
    if row["number"] is not None:
        out["number"] = " ".join(str(row["number"]))
    return out


def tones(words: Sequence[str], voice: str) -> np.ndarray:
    """Each word a tone of its own height, each voice overtones of its own; float32 at RATE."""
    known = [*ONES, *TENS, "hundred", *ALPHABET]
    time = np.arange(round(TONE * RATE)) / RATE
    colour = 1 + list(VOICES).index(voice)
    pieces = []
    for word in words:
        hertz = 300 * 2 ** (known.index(word) / 20)
        tone = np.sin(2 * np.pi * hertz * time) + 0.5 * np.sin(2 * np.pi * hertz * colour * time)
        pieces.append(0.3 * tone * np.hanning(len(time)))
    return np.concatenate(pieces).astype(np.float32)


def open(config: Config) -> InMemory:
    """The rows of a split: audio (FLAC bytes, or samples at RATE), group, id; text (the question),
    answer, kind; or a conversation. Columns: text, answer, group.

    Raises DataError for a wrong choice or a missing set.
    """
    check_choice("spoken_questions: split", config.split, SPLITS)
    check_choice("spoken_questions: clips", config.clips, ORDERS)
    check_choice("spoken_questions: sound", config.sound, SOUNDS)
    for kind in config.kinds:
        check_choice("spoken_questions: kinds", kind, tuple(QUESTIONS))

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        kept = []
        for number, row in enumerate(rows):
            said = Said(tuple(row["words"]), row["number"])
            if in_split(key_of(said), config.split):
                kept.append((number, row))
        others = np.roll(np.arange(len(kept)), 1 if config.clips == "shuffled" else 0)
        for (number, row), other in zip(kept, others.tolist(), strict=True):
            audio = kept[other][1]["audio"]
            audio = Place(*audio) if config.sound == "speech" else audio
            yield from _asked(config, number, row, audio)

    name = f"spoken questions {config.split}"
    if config.sound == "tones":
        source = InMemory(list(examples(_tones())), name)
    else:
        source = prepared.source(SET, name, examples, ("group",))
    for column in ("text", "answer"):
        source.columns[column] = objects([example[column] for example in source.examples])
    return source


def _tones() -> list[dict[str, Any]]:
    """As rows.jsonl has them, with samples instead of places."""
    rng = np.random.default_rng(0)
    names = list(VOICES)
    rows = []
    for number in range(TONES):
        said = draw(rng)
        voice = names[number % len(names)]
        row = {"words": list(said.words), "number": said.number, "voice": voice}
        rows.append({**row, "audio": tones(said.words, voice)})
    return rows


def _asked(config: Config, number: int, row: Mapping[str, Any], audio: Any) -> Iterator[Example]:
    """The rows of a clip."""
    known = answers(row)
    kinds = [kind for kind in config.kinds if kind in known]
    shared = {"audio": audio, "group": number}
    if not config.conversations:
        for kind in kinds:
            yield {
                **shared,
                "text": QUESTIONS[kind],
                "answer": known[kind],
                "kind": kind,
                "id": f"clip {number}, {kind}",
            }
        return
    order = np.random.default_rng(number).permutation(len(kinds))
    turns = []
    for place in order.tolist():
        turns.append({"role": "user", "content": QUESTIONS[kinds[place]]})
        turns.append({"role": "assistant", "content": known[kinds[place]]})
    # the first question and its answer stand for the conversation where answers are counted
    first = {"text": turns[0]["content"], "answer": turns[1]["content"]}
    yield {**shared, **first, "conversation": turns, "id": f"clip {number}"}
