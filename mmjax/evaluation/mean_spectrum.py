"""The mean-spectrum neighbour: a sound is called what the nearest training sound is called.

* Near by the mean and the deviation over time of each bin of its log-mel spectrogram, each measured
  in standard deviations over the training sounds: timbre and loudness, and nothing of what comes
  when.
* Retrieval: texts are ordered by the words that they share with the neighbour's caption (the cosine
  of their sets of words), in both directions; ties are averaged as everywhere.
* Classes: the neighbour's label.

Letters: Q queries, R training sounds, S values of a spectrum (two for a mel bin), V words.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mmjax.config import ConfigError
from mmjax.data.captions import captions
from mmjax.data.source import CorruptExample, Source
from mmjax.data.storage import Progress
from mmjax.evaluation.base import Context, Result
from mmjax.evaluation.retrieval import Retrieval
from mmjax.transforms.audio import DecodeAudio
from mmjax.transforms.mel import LogMel
from mmjax.transforms.samples import Repeated

NAME = "mean_spectrum"  # first segment of its metrics' names
RATE = 16_000  # samples per second
HEARD = (DecodeAudio(RATE), Repeated(RATE // 10), LogMel(64, RATE, seconds=None))


@dataclasses.dataclass(frozen=True)
class Config:
    label: str = ""  # column of a class that is guessed; "": texts are retrieved
    retrieval: Retrieval = Retrieval(queries="audio")  # how: the fields of the evaluator


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where there are no training sounds, or no texts or labels of them."""
    sources = context.training()
    if not sources:
        raise ConfigError(
            "the mean-spectrum neighbour is a training sound of the same set, and there is none: "
            "leave `baseline` out"
        )
    for source in (*sources, context.source):
        example = source[0]
        for field in ("audio", config.label or "text"):
            if field not in example:
                raise ConfigError(f"the mean-spectrum neighbour needs {field!r} of each row")


def measure(config: Config, context: Context) -> Result:
    """The evaluator's metrics, and the values of every query, of the neighbours' answers."""
    check(config, context)
    known: list[np.ndarray] = []
    said: list = []
    for source in context.training():
        rows, spectra = heard(source)
        known.append(spectra)
        said += [_said(config, source, row) for row in rows.tolist()]
    rows, spectra = heard(context.source)
    answers = [said[number] for number in nearest(spectra, np.concatenate(known)).tolist()]
    right = [_said(config, context.source, row) for row in rows.tolist()]
    if config.label:
        hits = np.asarray([a == b for a, b in zip(answers, right, strict=True)], np.float64)
        queries = {"accuracy/top1": hits, "accuracy/index": rows}
        return Result({"accuracy/top1": float(hits.mean())}, queries=queries)
    asked = [captions(context.source[row]) for row in rows.tolist()]
    sounds, texts = bags(answers, asked)
    columns = {
        name: np.asarray(column)[rows]
        for name in config.retrieval.columns
        if (column := context.source.column(name)) is not None
    }
    found = {"audio": sounds, **texts, "index": rows, **columns}
    return config.retrieval.measure(config.retrieval.parts(found, context))


@functools.lru_cache(maxsize=8)
def heard(source: Source) -> tuple[Int[np.ndarray, " R"], Float[np.ndarray, "R S"]]:
    """(rows that can be read, the mean and the deviation of each bin)."""
    rows: list[int] = []
    spectra: list[np.ndarray] = []
    with Progress("mean spectra", len(source)) as bar:
        for row in range(len(source)):
            with contextlib.suppress(CorruptExample):
                example = source[row]
                for transform in HEARD:
                    example = transform(example)
                frames = example["audio"]
                spectra.append(np.concatenate([frames.mean(0), frames.std(0)]))
                rows.append(row)
            bar.update(row + 1)
    return np.asarray(rows, np.int64), np.asarray(spectra, np.float32)


def nearest(
    queries: Float[np.ndarray, "Q S"], known: Float[np.ndarray, "R S"]
) -> Int[np.ndarray, " Q"]:
    """The nearest known vector of each query, of equally near ones the first."""
    mean = known.mean(0)
    deviation = known.std(0)
    # a bin in which all that is known is silent must not decide alone
    deviation = np.maximum(deviation, max(0.1 * float(deviation.mean()), 1e-6))
    known = (known - mean) / deviation
    lengths = np.square(known).sum(1)
    out = np.zeros(len(queries), np.int64)
    for place, query in enumerate((queries - mean) / deviation):
        out[place] = (lengths - 2 * known @ query).argmin()
    return out


def bags(
    answers: Sequence[str], asked: Sequence[Sequence[str]]
) -> tuple[Float[np.ndarray, "Q V"], dict[str, np.ndarray]]:
    """Texts as unit vectors of the words that they hold: the answers [Q, V]; the texts of each row
    [Q, K, V], with a mask of those that there are."""
    numbers: dict[str, int] = {}
    for text in (*answers, *(one for several in asked for one in several)):
        for word in words(text):
            numbers.setdefault(word, len(numbers))

    def bag(text: str) -> np.ndarray:
        out = np.zeros(max(len(numbers), 1), np.float32)
        out[[numbers[word] for word in words(text)]] = 1.0
        return out / max(float(np.linalg.norm(out)), 1e-6)

    most = max(map(len, asked))
    texts = np.zeros((len(asked), most, max(len(numbers), 1)), np.float32)
    mask = np.arange(most) < np.asarray([len(several) for several in asked])[:, None]
    texts[mask] = np.stack([bag(one) for several in asked for one in several])
    return np.stack([bag(text) for text in answers]), {"text": texts, "text_mask": mask}


def words(text: str) -> set[str]:
    """The different words of a text."""
    return set(re.findall(r"\w+", text.lower()))


def _said(config: Config, source: Source, row: int) -> str | int:
    """The first caption of a row, or its label."""
    example = {name: value for name, value in source[row].items() if name != "audio"}
    return int(example[config.label]) if config.label else captions(example)[0]
