"""The processor of models that see pictures alone, such as classifiers and generators of pixels.

* Labels, groups and other numbers of an example pass through as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.source import Example
from mmjax.processors import base
from mmjax.processors.base import Sources
from mmjax.processors.raw import several
from mmjax.transforms import images
from mmjax.transforms.decode import DecodeImage
from mmjax.typing import Positive


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: Positive = 224  # pixels along each edge
    flip: float = 0.0  # probability of left-right, in training


class Processor(base.Processor):
    """Pictures -> pixels from -1 to 1."""

    arguments = {"image": "images"}

    def __init__(self, config: Config):
        self.config = config
        self.normalize = images.Normalize()

    @property
    def train(self) -> tuple[Transform, ...]:
        flip = (images.RandomFlip(self.config.flip),) if self.config.flip else ()
        return (*self._frame, *flip, self.normalize)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        return (*self._frame, self.normalize)

    @property
    def _frame(self) -> tuple[Transform, ...]:
        """From any form of a picture to the square in its middle."""
        size = self.config.image_size
        return (DecodeImage(), images.Resize(size), images.CenterCrop(size))

    @property
    def sizes(self) -> Mapping[str, Any]:
        return {"image_size": self.config.image_size}

    def resized(self, image_size: int) -> Processor:
        return Processor(dataclasses.replace(self.config, image_size=image_size))

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        return {"image": self.normalize.undone(np.asarray(arrays["image"][row]))}

    def __call__(self, images: Any) -> Arrays:
        """A batch: "images" float32 [B, H, W, 3], of one picture or several in any form."""
        return self.inputs({"image": several(images)})


def build(config: Config, sources: Sources | None, saved: Any) -> Processor:
    """There are no tokenizers here, so nothing is trained, loaded or kept."""
    return Processor(config)


def paper(config: Config) -> Example:
    """A black picture of class 0, for plans on paper."""
    return {"image": np.zeros((64, 64, 3), np.uint8), "label": 0, "group": 0}
