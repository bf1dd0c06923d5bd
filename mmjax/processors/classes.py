"""Classes by their written names: prompts, and one vector for each class (arXiv:2103.00020, 3.1.4).

* Each name goes into each template, "a photo of a {}."; a class is the mean of the unit vectors of
  its prompts, made a unit vector again.

Letters: B rows, M prompts, N classes, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from mmjax.config import ConfigError
from mmjax.typing import Float


class Classification(NamedTuple):
    """How rows fit classes."""

    names: tuple[str, ...]  # of the classes
    logits: Float[np.ndarray, "B N"]
    # over the classes; under a sigmoid loss (SigLIP) of each class for itself
    probabilities: Float[np.ndarray, "B N"]

    @property
    def best(self) -> tuple[str, ...]:
        """The name of the likeliest class of each row."""
        return tuple(self.names[number] for number in self.logits.argmax(1))


def classification(
    names: Sequence[str], logits: Float[np.ndarray, "B N"], *, sigmoid: bool = False
) -> Classification:
    """Of the logits of classes."""
    probabilities = jax.nn.sigmoid(logits) if sigmoid else jax.nn.softmax(logits, axis=-1)
    return Classification(tuple(names), logits, np.asarray(probabilities))


def check(names: Sequence[str], templates: Sequence[str]) -> None:
    """Raises ConfigError where these are no classes to choose among, or no templates."""
    if len(names) < 2:
        raise ConfigError(f"zero-shot needs at least 2 class names, not {len(names)}")
    if not templates:
        raise ConfigError('zero-shot needs at least one template, such as "a photo of a {}."')
    for template in templates:
        if template.count("{}") != 1:
            raise ConfigError(
                f'template {template!r} needs "{{}}" once, where the class name goes'
            )
    unique, counts = np.unique(np.asarray(names), return_counts=True)
    if (counts > 1).any():
        name = str(unique[counts > 1][0])
        raise ConfigError(f"class name {name!r} is given for several labels")


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """All templates of the first name, then those of the second, and so on."""
    return [template.replace("{}", name) for name in names for template in templates]


def class_vectors(vectors: Float[np.ndarray, "M D"], classes: int) -> Float[np.ndarray, "N D"]:
    """Vectors of prompts, class by class -> one unit vector for each class."""
    width = vectors.shape[-1]
    return _unit(_unit(vectors).reshape(classes, -1, width).mean(1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
