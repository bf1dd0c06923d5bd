"""Live transcription beside offline transcription with the same weights: words, latency, speed.

    python -m experiments.streaming.measure --set=librivox
    python -m experiments.streaming.measure --set=asterisk --minutes=10 --out=asterisk.json

* The sound arrives on a simulated clock: a hop is there when its last sample was spoken, and is
  heard when the ones before it are done, for as long as that really takes on this machine. What
  waits is heard at once, as streaming/live.py does. --clock=cpu counts the processor's seconds of
  all threads instead of the wall's: what one quiet core would take, on a machine that is busy.
* Latency of a word: from its end, as the offline transcript has it, to its confirmation.
* Agreement: 1 - edits between the two transcripts / words of the offline one, both in lower case
  without punctuation; where transformers is installed also by Whisper's own normaliser of English,
  to which "nine" and "9" are one word. Word error rates are against what was really said.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import mmjax
from experiments.transcription.measure import normalisers
from mmjax.data.storage import Progress
from mmjax.datasets import asterisk, librivox
from mmjax.datasets.prepared import weights
from mmjax.evaluation.texts import normalised
from mmjax.evaluation.word_errors import edit_distance
from mmjax.generation.transcription.options import Options
from mmjax.run.listening import recogniser
from mmjax.run.transcribe import Transcriber
from mmjax.streaming.activity import RATE
from mmjax.streaming.blocks import Chunk
from mmjax.streaming.events import Confirmed
from mmjax.streaming.listener import Config, Listener
from mmjax.streaming.recognition import Word
from mmjax.transforms.audio import DecodeAudio


class Recording(NamedTuple):
    """A sound and what is said in it."""

    samples: np.ndarray  # [T], 16 kHz
    text: str


class Timed(NamedTuple):
    """A confirmed word, and when it was confirmed."""

    word: Word
    at: float  # seconds after the first sample


class Live(NamedTuple):
    """A recording, heard as it is spoken."""

    words: list[Timed]
    computed: float  # seconds
    hops: int
    looks: int  # hops that were heard one by one or together


def recordings(name: str, minutes: float, seed: int = 0) -> list[Recording]:
    """The clips of LibriVox one by one; or Asterisk's prompts in a random order in one recording,
    with pauses of 0.3 to 1.5 seconds."""
    decode = DecodeAudio(RATE)
    if name == "librivox":
        rows = librivox.open(librivox.Config("all"))
        return [Recording(decode(one)["audio"], one["text"]) for one in rows]
    source = asterisk.open(asterisk.Config("all"))
    rng = np.random.default_rng(seed)
    parts = []
    texts = []
    length = 0
    for row in rng.permutation(len(source)):
        example = source[int(row)]
        sound = decode(example)["audio"]
        pause = np.zeros(round(rng.uniform(0.3, 1.5) * RATE), np.float32)
        parts += [sound, pause]
        texts.append(example["text"])
        length += len(sound) + len(pause)
        if length >= minutes * 60 * RATE:
            break
    return [Recording(np.concatenate(parts), " ".join(texts))]


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def listen(
    listener: Listener, samples: np.ndarray, clock: str, limit: float, bar: Progress
) -> Live:
    """Hears a recording on the simulated clock, or as much of it as takes `limit` seconds."""
    deadline = time.monotonic() + limit
    read = CLOCKS[clock]
    hop = listener.blocks.hop / RATE
    blocks = [*listener.blocks.push(Chunk(samples)), *listener.blocks.flush()]
    words: list[Timed] = []
    computed = 0.0
    now = 0.0
    looks = 0
    done = 0
    while done <= len(blocks):
        if time.monotonic() > deadline:
            blocks = blocks[:done]
        last = done == len(blocks)
        now = max(now, done * hop if last else (done + 1) * hop)
        ready = 1 if last else min(len(blocks), int(now / hop + 1e-9)) - done
        begun = read()
        events = list(listener.close() if last else listener.hear(blocks[done : done + ready]))
        seconds = read() - begun
        now += seconds
        computed += seconds
        looks += 1
        done += ready
        bar.advance(ready * hop)
        words += [Timed(w, now) for e in events if isinstance(e, Confirmed) for w in e.words]
    return Live(words, computed, len(blocks), looks)


def split(text: str) -> list[str]:
    """Words as they are compared."""
    return normalised(text).split()


def each(words: Sequence[Word]) -> list[tuple[str, Word]]:
    """Words as they are compared, each with the word that it is, or is a part of."""
    return [(part, word) for word in words for part in split(word.text)]


def latencies(live: Live, offline: Sequence[Word]) -> list[float]:
    """Seconds from the end of a word to its confirmation, of the words that both have."""
    ours = [(part, one) for one in live.words for part in split(one.word.text)]
    theirs = each(offline)
    blocks = difflib.SequenceMatcher(
        None, [one for one, _ in ours], [one for one, _ in theirs], autojunk=False
    ).get_matching_blocks()
    pairs = [(ours[b.a + i][1], theirs[b.b + i][1]) for b in blocks for i in range(b.size)]
    return [heard.at - word.end for heard, word in pairs]


def agreements(texts: Sequence[dict[str, str]]) -> dict[str, float]:
    """By each normaliser: 1 - edits / words of the offline transcripts."""
    found = {}
    for name, normalise in normalisers(english=True).items():
        edits = 0
        words = 0
        for pair in texts:
            offline = normalise(pair["offline"]).split()
            edits += edit_distance(offline, normalise(pair["live"]).split())
            words += len(offline)
        found[name] = round(1 - edits / words, 4)
    return found


def measure(arguments: argparse.Namespace) -> dict:
    """The figures of a set, as they are printed and kept."""
    fields = {field.name for field in dataclasses.fields(Config)} - {"endpoint"}
    given = {k: v for k, v in vars(arguments).items() if k in fields and v is not None}
    config = Config(**given)
    loaded = mmjax.load(weights.folder(arguments.model))
    heard = recogniser(loaded, "en")
    offline = Transcriber(loaded, Options(words=True, language="en"))
    found = recordings(arguments.set, arguments.minutes)
    first = Listener(heard, config)  # compiles
    for _ in first.push(Chunk(np.tile(found[0].samples, 2)[: 12 * RATE])):
        pass
    seconds = sum(len(one.samples) for one in found) / RATE
    edits = {"live": 0, "offline": 0}
    counts = {"offline": 0, "said": 0}
    late: list[float] = []
    computed = 0.0
    hops = 0
    looks = 0
    texts = []
    with Progress(f"listening to {arguments.set}, seconds", round(seconds)) as bar:
        for one in found:
            limit = 60 * (arguments.limit or float("inf"))
            live = listen(Listener(heard, config), one.samples, arguments.clock, limit, bar)
            samples = one.samples[: round(live.hops * config.hop * RATE)]
            short = len(one.samples) - len(samples)
            seconds -= short / RATE
            written = offline(samples)
            mine = split(" ".join(word.word.text for word in live.words))
            theirs = split(written.text)
            said = split(one.text) if not short else []  # where it ends is not known
            counts["offline"] += len(theirs)
            counts["said"] += len(said)
            if said:
                edits["live"] += edit_distance(said, mine)
                edits["offline"] += edit_distance(said, theirs)
            late += latencies(live, written.words)
            computed += live.computed
            hops += live.hops
            looks += live.looks - 1
            heard_live = " ".join(word.word.text.strip() for word in live.words)
            texts.append({"live": heard_live, "offline": written.text})
    return {
        "set": arguments.set,
        "model": arguments.model,
        "config": dataclasses.asdict(config),
        "clock": arguments.clock,
        "seconds": round(seconds, 1),
        "words offline": counts["offline"],
        "agreement": agreements(texts),
        "wer live": round(edits["live"] / max(counts["said"], 1), 4),
        "wer offline": round(edits["offline"] / max(counts["said"], 1), 4),
        "words said": counts["said"],
        "latency p50": round(float(np.percentile(late, 50)), 2),
        "latency p95": round(float(np.percentile(late, 95)), 2),
        "words timed": len(late),
        "real-time factor": round(computed / seconds, 3),
        "hops": hops,
        "hops heard together with others": hops - looks,
        "texts": texts,
    }


def main() -> None:
    """Measures, prints, and keeps the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", default="librivox", choices=["librivox", "asterisk"])
    parser.add_argument("--model", default="whisper-tiny.en", help="one of the prepared weights")
    parser.add_argument("--minutes", type=float, default=10.0, help="of Asterisk's prompts")
    parser.add_argument("--hop", type=float, help="seconds from look to look")
    parser.add_argument("--window", type=float, help="seconds of a window at most")
    parser.add_argument("--context", type=float, help="seconds of earlier utterances")
    parser.add_argument("--prompt", type=int, help="words before a window that are told")
    parser.add_argument("--least", type=float, help="seconds of a window that is looked at")
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS))
    parser.add_argument("--limit", type=float, help="minutes that listening may take; then it ends")
    parser.add_argument("--out", help="file for the figures and the texts, .json")
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, value in found.items():
        if name != "texts":
            print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
