"""The text of the nearest training picture: a caption from a look at thumbnails, which understands
nothing.

* Of all training pictures the one whose thumbnail is nearest lends its text; it stands beside
  the captions on the same rows and by the same metrics.
"""

import dataclasses

import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context
from mmjax.evaluation.captions import Captions
from mmjax.evaluation.thumbnails import pictures, thumbnails

NAME = "nearest_text"  # first segment of its metrics' names


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 16  # pixels along each edge of a thumbnail
    text: str = "text"  # field of training rows whose text is lent
    captions: Captions = Captions()  # how texts are compared: the fields of the evaluator


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where training data has no pictures or texts."""
    for source in context.training():
        example = source[0]
        for field in ("image", config.text):
            if field not in example:
                raise ConfigError(
                    f"the nearest training picture lends its text, and {source.name} has no "
                    f"{field!r}: leave `baseline` out"
                )


def measure(config: Config, context: Context) -> dict[str, float]:
    """The metrics of captions.py for the lent texts."""
    vectors: list[np.ndarray] = []
    texts: list[str] = []
    for training in context.training():
        rows, images = pictures(context, training, range(len(training)))
        vectors.append(thumbnails(images, config.size))
        texts += [_text(training[row][config.text]) for row in rows.tolist()]
    reference = np.concatenate(vectors)
    rows, images = pictures(context, context.source, range(len(context.source)))
    lent = []
    for vector in thumbnails(images, config.size):
        lent.append(texts[int(np.square(reference - vector).sum(1).argmin())])
    references = config.captions.references({"index": rows}, context)
    return config.captions.compare(lent, references).metrics


def _text(value: str | tuple[str, ...]) -> str:
    """The first of several texts."""
    return value if isinstance(value, str) else value[0]


