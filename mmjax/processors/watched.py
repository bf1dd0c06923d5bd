"""Clips of pictures between words: frames for a video tower, as in video.py.

* Every clip has the same number of frames. Of one that is too short for an even pace the last frame
  goes on.

Letters: M clips of a row at most, T frames, H and W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.messages import VIDEOS, Kind
from mmjax.processors import video, whole
from mmjax.processors.image_text import Augmentation
from mmjax.transforms import images
from mmjax.transforms.video import OnClip
from mmjax.typing import Positive

NORMALIZE = images.Normalize()


@dataclasses.dataclass(frozen=True)
class Config(whole.Whole):
    """What becomes of clips; the model's tower follows it."""

    image_size: Positive = 224  # pixels along each edge of a frame
    frames: video.Frames = video.Frames()  # which are seen
    # of training clips, where what is said does not speak of left and right; its drop_words is for
    # captions
    augmentation: Augmentation | None = None
    kind: ClassVar[Kind] = VIDEOS  # what its things are

    def __post_init__(self) -> None:
        if self.augmentation is not None and self.augmentation.drop_words:
            raise ConfigError("augmentation.drop_words: conversations keep their words")

    @property
    def shape(self) -> tuple[int, ...]:
        """T, H, W, 3."""
        return self.frames.frames, self.image_size, self.image_size, 3

    def steps(self, train: bool) -> tuple[Transform, ...]:
        """A clip in any form -> pixels from -1 to 1."""
        if train and self.augmentation is not None:
            made = video.trained(self.frames, self.image_size, self.augmentation)
        else:
            made = video.evaluated(self.frames, self.image_size)
        return (*made, OnClip(NORMALIZE))

    @property
    def sizes(self) -> Mapping[str, Any]:
        """As of `Whole`, and those of the tower."""
        of_tower = video.sizes(self.frames, self.image_size)
        inside = {f"video.encoder.{name[len('video.'):]}": of_tower[name] for name in of_tower}
        return {**super().sizes, **inside}

    def paper(self) -> np.ndarray:
        """A black clip."""
        return np.zeros((self.frames.frames, 64, 64, 3), np.uint8)

    def shown(self, things: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        """The clips of a row one behind the other, uint8 [T, H, W, 3]."""
        there = [clip for clip, seen in zip(things, mask, strict=True) if seen.any()]
        if not there:
            return {}
        frames = np.concatenate(there)
        return {"video": np.stack([NORMALIZE.undone(frame) for frame in frames])}
