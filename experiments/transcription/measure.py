"""Real recordings, written down by mmjax and by faster-whisper with the same weights.

    python -m experiments.transcription.measure --set=librivox
    python -m experiments.transcription.measure --set=asterisk --out=runs/asterisk.json
    python -m experiments.transcription.measure --set=asterisk_fr --model=whisper-base --clips=100

* Both sides hear the same samples and take the likeliest token each time (no fallback), in float32,
  with times; faster-whisper's loop is the released code's.
* Word error rates through the house's `normalised`, and through the English normaliser of the
  reference where `transformers` is installed (without its table of British spellings). "of 4 words
  and more" leaves out what telephones say in one word: letters, digits.
* Without faster-whisper installed, mmjax alone is measured.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mmjax
from mmjax.data.storage import Progress
from mmjax.datasets import asterisk, librivox
from mmjax.datasets.prepared import weights
from mmjax.evaluation.texts import normalised
from mmjax.evaluation.word_errors import Report, report
from mmjax.generation.transcription.options import Options
from mmjax.run.transcribe import Transcriber
from mmjax.transforms.audio import DecodeAudio

RATE = 16_000
WORDS = 4  # of a text, for the second row of the table


class Clip(NamedTuple):
    """A recording of which the text is known."""

    name: str
    text: str
    samples: np.ndarray  # [T], 16 kHz


class Heard(NamedTuple):
    """What one side wrote down."""

    text: str
    language: str
    tokens: tuple[int, ...]
    no_speech: float


def clips(name: str, count: int, words: int = 0) -> list[Clip]:
    """Of a set ("librivox", "asterisk", "asterisk_fr", ...), always the same ones.

    Args:
      count: at most; 0: all.
      words: that a text has at least.
    """
    if name == "librivox":
        source = librivox.open(librivox.Config())
    else:
        language = name.partition("_")[2] or "en"
        source = asterisk.open(asterisk.Config("all", language))
    texts = source.column("text")
    long = [row for row in range(len(source)) if len(texts[row].split()) >= words]
    if count and count < len(long):
        long = sorted(np.random.default_rng(0).permutation(long)[:count].tolist())
    decode = DecodeAudio(RATE)
    out = []
    for row in long:
        example = source[row]
        out.append(Clip(example["id"], example["text"], decode(example)["audio"]))
    return out


def ours(model: str, given: Sequence[Clip], language: str, batch_size: int) -> list[Heard]:
    """By mmjax."""
    options = Options(language=language, temperatures=(0.0,))
    transcriber = Transcriber(model, options, batch_size)
    out: dict[int, Heard] = {}
    with Progress("mmjax", len(given)) as bar:
        for number, found in transcriber.several([clip.samples for clip in given]):
            tokens = tuple(token for segment in found.segments for token in segment.tokens)
            silence = max((segment.no_speech for segment in found.segments), default=1.0)
            out[number] = Heard(found.text, found.language, tokens, silence)
            bar.advance(1)
    return [out[number] for number in range(len(given))]


def theirs(model: str, given: Sequence[Clip], language: str) -> list[Heard] | None:
    """By faster-whisper; None where it is not installed."""
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        return None
    folder = str(weights.folder(model))
    reference = WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=2)
    out = []
    with Progress("faster-whisper", len(given)) as bar:
        for clip in given:
            segments, about = reference.transcribe(
                clip.samples, beam_size=1, temperature=0.0, language=language or None
            )
            segments = list(segments)
            text = "".join(segment.text for segment in segments).strip()
            tokens = tuple(token for segment in segments for token in segment.tokens)
            silence = max((segment.no_speech_prob for segment in segments), default=1.0)
            out.append(Heard(text, about.language, tokens, silence))
            bar.advance(1)
    return out


def normalisers(english: bool) -> dict[str, Callable[[str], str]]:
    """By name."""
    found: dict[str, Callable[[str], str]] = {"house": normalised}
    try:
        from transformers.models.whisper import english_normalizer as reference
    except ImportError:
        return found
    if english:
        found["Whisper's"] = reference.EnglishTextNormalizer({})
    else:
        found["Whisper's"] = reference.BasicTextNormalizer()
    return found


def table(given: Sequence[Clip], sides: dict[str, list[Heard]], english: bool) -> dict[str, Any]:
    """Prints the word errors of each side; all numbers by name."""
    numbers: dict[str, Any] = {}
    print(f"{'':40s} {'WER':>7s} {'subst.':>7s} {'del.':>6s} {'ins.':>6s} {'words':>7s}")
    for by, normalise in normalisers(english).items():
        for kind, least in (("all", 0), (f"{WORDS} words and more", WORDS)):
            rows = [row for row, clip in enumerate(given) if len(clip.text.split()) >= least]
            for side, heard in sides.items():
                found = report(
                    [normalise(given[row].text) for row in rows],
                    [normalise(heard[row].text) for row in rows],
                )
                title = f"{side}, {by} normaliser, {kind}"
                numbers[title] = found.rate
                print(
                    f"{title:40s} {found.rate:7.2%} {found.substitutions:7d} "
                    f"{found.deletions:6d} {found.insertions:6d} {found.words:7d}"
                )
    return numbers


def worst(given: Sequence[Clip], heard: Sequence[Heard], count: int) -> None:
    """Prints the clips with the most word errors."""
    found: Report = report(
        [normalised(clip.text) for clip in given], [normalised(one.text) for one in heard]
    )
    print("\nthe worst clips")
    for row in found.worst(count):
        print(f"  {given[row].name}: {found.errors[row]} errors of {found.lengths[row]} words")
        print(f"    said   {given[row].text}\n    heard  {heard[row].text}")


def main(options: argparse.Namespace) -> None:
    """Measures and prints."""
    given = clips(options.set, options.clips, options.words)
    english = options.set in ("librivox", "asterisk")
    spoken = options.set.partition("_")[2] or "en"
    language = "en" if english else options.language
    minutes = sum(len(clip.samples) for clip in given) / RATE / 60
    print(f"{options.set}: {len(given)} clips, {minutes:.1f} minutes; {options.model}")
    sides: dict[str, list[Heard]] = {}
    start = time.perf_counter()
    sides["mmjax"] = ours(options.model, given, language, options.batch_size)
    print(f"mmjax: {time.perf_counter() - start:.0f} s, with what is compiled")
    start = time.perf_counter()
    reference = theirs(options.model, given, language)
    if reference is not None:
        sides["faster-whisper"] = reference
        print(f"faster-whisper: {time.perf_counter() - start:.0f} s")
        same = [a.text == b.text for a, b in zip(sides["mmjax"], reference, strict=True)]
        print(f"the same text, letter by letter: {np.mean(same):.1%}")
    print()
    numbers = table(given, sides, english)
    for side, heard in sides.items():
        right = np.mean([one.language == spoken for one in heard])
        numbers[f"{side}, language"] = float(right)
        print(f"{side}: the language is right in {right:.1%}")
    worst(given, sides["mmjax"], options.worst)
    if options.out:
        rows = [
            {"name": clip.name, "text": clip.text,
             **{side: heard[row]._asdict() for side, heard in sides.items()}}
            for row, clip in enumerate(given)
        ]  # fmt: skip
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        found = {"mmjax": mmjax.__version__, "numbers": numbers, "clips": rows}
        Path(options.out).write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="librivox", help="librivox, asterisk, asterisk_fr, ...")
    parser.add_argument("--model", default="whisper-tiny.en", help="a name of prepared weights")
    parser.add_argument("--clips", type=int, default=0, help="at most; 0: all")
    parser.add_argument("--words", type=int, default=0, help="that a text has at least")
    parser.add_argument("--language", default="", help='"": heard, where the model can')
    parser.add_argument("--batch_size", type=int, default=8, help="windows together")
    parser.add_argument("--worst", type=int, default=5, help="clips that are shown")
    parser.add_argument("--out", default="", help="a .json of every text and number")
    main(parser.parse_args())
