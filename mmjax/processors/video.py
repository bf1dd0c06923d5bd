"""The processor of models that see clips alone, such as classifiers and masked autoencoders.

* Frames are taken by time. In training some moment of each of T equal parts, or T frames at an even
  pace; in evaluation the middle of each part, or the pace in the middle of the clip.
* One crop, flip and change of colours for all frames of a clip.
* Labels, groups and other numbers of an example pass through as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.source import Example
from mmjax.processors import base
from mmjax.processors.base import Sources
from mmjax.processors.image_text import Augmentation
from mmjax.transforms import images
from mmjax.transforms.video import DecodeVideo, Dense, OnClip, Segments, Uniform
from mmjax.typing import Natural, Positive


@dataclasses.dataclass(frozen=True)
class Frames:
    """Which frames of a clip are seen."""

    frames: Positive = 8  # T
    pick: Literal["parts", "pace"] = "parts"  # one of each of T equal parts, or at an even pace
    rate: float = 4.0  # frames per second of an even pace
    # pixels of the shorter side that frames are reduced to as they are decoded; 0: as they are
    decoded_side: Natural = 0

    def decode(self, train: bool) -> DecodeVideo:
        """The first step of a clip."""
        pick: Uniform | Segments | Dense = Uniform(self.frames)
        if self.pick == "pace":
            pick = Dense(self.frames, self.rate, None if train else 0.5)
        elif train:
            pick = Segments(self.frames)
        return DecodeVideo(pick, self.decoded_side)


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: Positive = 224  # pixels along each edge of a frame
    frames: Frames = Frames()  # which are seen
    # of training clips; its drop_words is for texts
    augmentation: Augmentation = Augmentation()


class Processor(base.Processor):
    """Clips -> pixels from -1 to 1."""

    arguments = {"video_mask": "mask"}

    def __init__(self, config: Config):
        if config.augmentation.drop_words:
            raise ConfigError("data.processor.augmentation.drop_words: there are no texts here")
        self.config = config
        self.normalize = images.Normalize()

    @property
    def train(self) -> tuple[Transform, ...]:
        config = self.config
        steps = trained(config.frames, config.image_size, config.augmentation)
        return (*steps, OnClip(self.normalize))

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        config = self.config
        return (*evaluated(config.frames, config.image_size), OnClip(self.normalize))

    @property
    def sizes(self) -> Mapping[str, Any]:
        return sizes(self.config.frames, self.config.image_size)

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        return {"video": shown(arrays, row, self.normalize)}


def trained(frames: Frames, size: int, augmentation: Augmentation) -> tuple[Transform, ...]:
    """From any form of a clip to augmented frames of size x size pixels."""
    a = augmentation
    if a.crop:
        frame: Any = (images.RandomResizedCrop(size, scale=a.crop), images.RandomFlip(a.flip))
    else:
        affine = (a.zoom, a.stretch, a.degrees, a.shear, a.translate, a.flip)
        frame = (images.RandomAffine(size, *affine),)
    strengths = (a.brightness, a.contrast, a.saturation, a.hue)
    colours = (images.ColorJitter(*strengths),) if any(strengths) else ()
    return (frames.decode(train=True), *(OnClip(step) for step in (*frame, *colours)))


def evaluated(frames: Frames, size: int) -> tuple[Transform, ...]:
    """From any form of a clip to the middle of its frames, size x size pixels."""
    steps = (images.Resize(size), images.CenterCrop(size))
    return (frames.decode(train=False), *(OnClip(step) for step in steps))


def sizes(frames: Frames, size: int) -> dict[str, Any]:
    """What a tower of clips has of them, by the names of its fields."""
    return {
        "video.frames": frames.frames,
        "video.image_size": size,
        "video.image.image_size": size,  # of a tower of pictures inside
    }


def shown(arrays: Arrays, row: int, normalize: images.Normalize) -> np.ndarray:
    """The frames of a row, uint8 [T, H, W, 3]."""
    return np.stack([normalize.undone(frame) for frame in np.asarray(arrays["video"][row])])


def build(config: Config, sources: Sources | None, saved: Any) -> Processor:
    """There are no tokenizers here, so nothing is trained, loaded or kept."""
    return Processor(config)


def paper(config: Config) -> Example:
    """A black clip of class 0, for plans on paper."""
    frames = config.frames.frames
    return {"video": np.zeros((frames, 64, 64, 3), np.uint8), "label": 0, "group": 0}
