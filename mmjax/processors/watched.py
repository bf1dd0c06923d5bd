"""Clips of pictures between words: frames for a video tower, as in video.py.

* Every clip has the same number of frames. Of one that is too short for an even pace the last frame
  goes on.
* For a tower of several scales (models/towers/hierarchical.py) a clip has as many frames at an even
  pace as it has time, T at most; how many tokens it becomes follows from them.

Letters: M clips of a row at most, T frames of one at most, H and W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.messages import VIDEOS, Kind
from mmjax.data.source import Example
from mmjax.models.towers import hierarchical
from mmjax.processors import video, whole
from mmjax.processors.image_text import Augmentation
from mmjax.transforms import images
from mmjax.transforms.video import OnClip, Video
from mmjax.typing import Natural, Positive

NORMALIZE = images.Normalize()


@dataclasses.dataclass(frozen=True)
class Config(whole.Whole):
    """What becomes of clips; the model's tower follows it."""

    image_size: Positive = 224  # pixels along each edge of a frame
    frames: video.Frames = video.Frames()  # which are seen
    # of training clips, where what is said does not speak of left and right; its drop_words is for
    # captions
    augmentation: Augmentation | None = None
    # those of the model's tower, where clips have their own lengths; (): they are alike
    scales: tuple[hierarchical.Scale, ...] = ()
    # frames that batches are padded up to, rising; (): up to the longest clip of all
    buckets: tuple[int, ...] = ()
    # the rows of so many training batches are dealt out anew, by their lengths: less of a batch is
    # padding; 0: they come as planned
    alike: Natural = 0
    kind: ClassVar[Kind] = VIDEOS  # what its things are

    def __post_init__(self) -> None:
        if self.augmentation is not None and self.augmentation.drop_words:
            raise ConfigError("augmentation.drop_words: conversations keep their words")
        if (self.buckets or self.alike) and self.fixed:
            raise ConfigError(
                "buckets and alike are for clips of their own lengths, which `scales` make"
            )
        if not self.fixed and self.frames.pick != "pace":
            raise ConfigError(
                f"scales read frames at an even pace; frames.pick={self.frames.pick!r} takes as "
                "many of each clip: take 'pace'"
            )
        if not self.fixed and self.tokens != self.count(self.shape[0]):
            raise ConfigError(
                f"tokens={self.tokens}, and of {self.shape[0]} frames the scales make "
                f"{self.count(self.shape[0])}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """T, H, W, 3."""
        return self.frames.frames, self.image_size, self.image_size, 3

    @property
    def fixed(self) -> bool:
        """Whether all clips have T frames."""
        return not self.scales

    def own(self, prepared: Example) -> np.ndarray:
        """The frames that are there, in front; all of them where clips are alike."""
        clip = prepared["video"]
        return clip if self.fixed else clip[: int(prepared["video_mask"].sum())]

    def length(self, thing: Any) -> int:
        """Frames of a clip, of which none is drawn; of the bytes of a file, T."""
        most = self.frames.frames
        if self.fixed or not isinstance(thing, np.ndarray | Video):
            return most
        count = len(thing) if isinstance(thing, np.ndarray) else len(thing.frames)
        rate = 1 if isinstance(thing, np.ndarray) else thing.rate
        return min(most, int(np.ceil(count * self.frames.rate / rate)))

    def count(self, length: int) -> int:
        """Tokens of a clip of so many frames."""
        return self.tokens if self.fixed else sum(one.vectors(length) for one in self.scales)

    def edges(self, lengths: Sequence[np.ndarray]) -> tuple[int, ...]:
        """Frames that batches are padded up to."""
        if self.fixed:
            return super().edges(lengths)
        longest = max(int(rows.max()) for rows in lengths)
        return tuple(sorted({min(edge, longest) for edge in self.buckets} | {longest}))

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
        if self.scales:
            inside["video.encoder.scales"] = self.scales
        return {**super().sizes, **inside}

    def paper(self) -> np.ndarray:
        """A black clip."""
        return np.zeros((self.frames.frames, 64, 64, 3), np.uint8)

    def shown(self, things: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        """The clips of a row one behind the other, uint8 [T, H, W, 3]."""
        there = [clip[seen] for clip, seen in zip(things, mask, strict=True) if seen.any()]
        if not there:
            return {}
        frames = np.concatenate(there)
        return {"video": np.stack([NORMALIZE.undone(frame) for frame in frames])}
