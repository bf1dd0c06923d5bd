"""What can be told of sounds without a network of their own: linear classifiers on three summaries.

* "mel": mean and deviation over time of the log-mel spectrum. "chroma": how loud each of the twelve
  pitch classes is on average. "onsets": autocorrelation of where notes begin.
* Each is fitted on the training data of the set (linear_probe.py) and measured on the rows that are
  evaluated. The best of them stands beside the metric, each under a name of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample, Source
from mmjax.data.storage import Progress
from mmjax.evaluation import linear_probe
from mmjax.evaluation.base import Context
from mmjax.transforms.audio import DecodeAudio, Sound
from mmjax.transforms.log_frequency import LogFrequency
from mmjax.transforms.mel import LogMel
from mmjax.typing import Float

NAME = "linear_probe"  # first segment of its metrics' names
SUMMARIES = ("mel", "chroma", "onsets")
RATE = 16_000  # samples per second
LONGEST = 10.0  # seconds of a sound that are summarised
LAGS = 240  # of autocorrelation, 3 seconds
BINS = 64  # mel bins


@dataclasses.dataclass(frozen=True)
class Config:
    label: str = "label"  # column of the right class, from 0; rows below it are left out
    metric: str = "accuracy/top1"  # the evaluator's metric that it stands beside
    rows: int = 2000  # of the training data that are looked at, at most; 0: all


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where the column is missing, or there is no training data."""
    if not context.training():
        raise ConfigError("it learns from training data of the same set, and there is none")
    for source in (*context.training(), context.source):
        if source.column(config.label) is None:
            raise ConfigError(f"the data has no column {config.label!r}")


def measure(config: Config, context: Context) -> dict[str, float]:
    """The share of right answers from each summary, and of the best one."""
    trained = [_chosen(source, config) for source in context.training()]
    known = np.concatenate([summaries(*one) for one in trained])
    labels = np.concatenate([source.column(config.label)[rows] for source, rows in trained])
    groups = np.concatenate([_groups(source)[rows] for source, rows in trained])
    source, rows = _chosen(context.source, dataclasses.replace(config, rows=0))
    asked = summaries(source, rows)
    right = source.column(config.label)[rows]
    classes = int(max(labels.max(), right.max())) + 1
    found = {}
    for name, place in zip(SUMMARIES, _places(), strict=True):
        probe = linear_probe.fit(known[:, place], labels, groups, classes=classes)
        answers = (asked[:, place] @ probe.weights + probe.bias).argmax(1)
        found[f"{name}/{config.metric}"] = float((answers == right).mean())
    return {config.metric: max(found.values()), **found}


def _chosen(source: Source, config: Config) -> tuple[Source, list[int]]:
    """The rows whose label is known, so many of them at most, always the same ones: other labels
    are asked of the same rows, which are listened to once."""
    column = np.asarray(source.column(config.label))
    order = np.random.default_rng(0).permutation(len(column))
    rows = order[column[order] >= 0]
    rows = rows[: config.rows] if config.rows else rows
    return source, np.sort(rows).tolist()


def _groups(source: Source) -> np.ndarray:
    """Rows of one group are held out together."""
    groups = source.column("group")
    return np.arange(len(source)) if groups is None else groups


def _places() -> tuple[slice, ...]:
    """Where each of SUMMARIES lies in `summary`."""
    edges = np.cumsum([0, 2 * BINS, 12, LAGS])
    return tuple(slice(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def summaries(source: Source, rows: Sequence[int]) -> Float[np.ndarray, "N D"]:
    """Of some rows of a source, one below the other; of a sound that cannot be read zeros."""
    found = np.zeros((len(rows), 2 * BINS + 12 + LAGS), np.float32)
    with Progress("listening for linear probes", len(rows)) as bar:
        for place, row in enumerate(rows):
            found[place] = _remembered(source[row]["audio"])
            bar.update(place + 1)
    return found


@functools.lru_cache(maxsize=1)
def _memory() -> dict[bytes, np.ndarray]:
    """Summaries by the sound's digest: several heads ask for the same."""
    return {}


def _remembered(sound: bytes | np.ndarray | Sound) -> np.ndarray:
    samples = sound.samples if isinstance(sound, Sound) else sound
    data = samples.tobytes() if isinstance(samples, np.ndarray) else samples
    key = hashlib.sha256(data).digest()
    if key not in _memory():
        try:
            _memory()[key] = summary(DecodeAudio(RATE)({"audio": sound})["audio"])
        except CorruptExample:
            _memory()[key] = np.zeros(2 * BINS + 12 + LAGS, np.float32)
    return _memory()[key]


def summary(samples: Float[np.ndarray, " S"]) -> Float[np.ndarray, " D"]:
    """All summaries of a sound, one behind the other."""
    front = LogFrequency()
    samples = samples[: round(LONGEST * RATE)]
    samples = np.pad(samples, (0, max(0, front.hop - len(samples))))
    mel = LogMel(bins=BINS, rate=RATE, seconds=None).batch([samples]).features[0]
    frames = front({"audio": samples})["audio"]
    chroma = frames[:, : front.bins].reshape(len(frames), -1, 12).mean((0, 1))
    onsets = front.beginnings(samples).sum(1)
    onsets = onsets - onsets.mean()
    spectrum = np.abs(np.fft.rfft(onsets, 2 * len(onsets))) ** 2
    returns = np.fft.irfft(spectrum)[1 : 1 + LAGS]
    returns = np.pad(returns, (0, LAGS - len(returns))) / max(float((onsets**2).sum()), 1e-6)
    parts = [mel.mean(0), mel.std(0), chroma, returns]
    return np.concatenate(parts).astype(np.float32)
