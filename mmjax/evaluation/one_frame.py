"""One frame: clips are found by a model of pictures and texts that sees the middle frame alone.

* What time, and several looks at one thing, add to a trained image tower is the difference to this.
* Retrieval in both directions, as the evaluator's; each row has one text, its first.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mmjax.config import ConfigError
from mmjax.conversion import load
from mmjax.data.captions import captions
from mmjax.data.source import CorruptExample
from mmjax.datasets import bundled
from mmjax.evaluation.base import Context, Result
from mmjax.evaluation.retrieval import Retrieval
from mmjax.transforms.video import MIDDLE

NAME = "one_frame"  # first segment of its metrics' names
ROWS = 64  # that are encoded at a time


@dataclasses.dataclass(frozen=True)
class Config:
    model: str = "emoji_clip"  # a model of the package, or the folder of a checkpoint
    retrieval: Retrieval = Retrieval(queries="video")  # how: the fields of the evaluator


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where the rows have no clip, or no text."""
    for field in ("video", "text"):
        if field not in context.source[0]:
            raise ConfigError(f"the one-frame baseline needs {field!r} of each row")


def measure(config: Config, context: Context) -> Result:
    """The evaluator's metrics, and the values of every query; clips that are broken are left
    out."""
    check(config, context)
    folder = bundled.model(config.model) if config.model in bundled.MODELS else config.model
    model = load.load(folder)
    rows: list[int] = []
    frames: list[np.ndarray] = []
    texts: list[str] = []
    for row in range(len(context.source)):
        example = context.source[row]
        try:
            frame = MIDDLE(example)["video"][0]
        except CorruptExample:
            continue
        rows.append(row)
        frames.append(frame)
        texts.append(captions(example)[0])
    index = np.asarray(rows)
    group = context.source.column(config.retrieval.group)
    found = {
        "video": model.encode_image(frames, batch_size=ROWS),
        "text": model.encode_text(texts, batch_size=ROWS),
        "index": index,
        **({} if group is None else {config.retrieval.group: np.asarray(group)[index]}),
    }
    return config.retrieval.measure(config.retrieval.parts(found, context))
