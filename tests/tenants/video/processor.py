"""Clips of frames -> numbers around zero."""

import dataclasses
from typing import ClassVar

import numpy as np

from mmjax.processors import base


@dataclasses.dataclass(frozen=True)
class Config:
    shrink: int = 4  # every so many pixels one is seen


@dataclasses.dataclass(frozen=True)
class Frames:
    shrink: int
    field: ClassVar[str] = "video"
    deterministic: ClassVar[bool] = True

    def __call__(self, example, rng=None):
        video = example["video"][:, :: self.shrink, :: self.shrink]
        return {**example, "video": video.astype(np.float32) / 127.5 - 1}


class Processor(base.Processor):
    def __init__(self, config):
        self.config = config

    @property
    def evaluate(self):
        return (Frames(self.config.shrink),)

    def show(self, arrays, row):
        """The clip again."""
        video = np.asarray(arrays["video"][row])
        return {"video": np.rint((video + 1) * 127.5).clip(0, 255).astype(np.uint8)}


def build(config, sources, saved):
    return Processor(config)


def paper(config):
    return {"video": np.zeros((6, 32, 32, 3), np.uint8), "label": 0, "group": 0}
