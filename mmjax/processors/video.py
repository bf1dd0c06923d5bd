"""The processor of models that see clips alone, such as classifiers and masked autoencoders.

* Frames are taken by time. In training some moment of each of T equal parts, or T frames at an even
  pace; in evaluation the middle of each part, or the pace in the middle of the clip.
* Evaluation may look at several clips of one video, at even places from its beginning to its end,
  and at one or three crops of each: what a model says of all of them is averaged by its task.
* One crop, flip and change of colours for all frames of a clip.
* Labels, groups and other numbers of an example pass through as they are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.source import Example
from mmjax.processors import base
from mmjax.processors.base import AtLeast, Sources
from mmjax.processors.image_text import Augmentation
from mmjax.transforms import images
from mmjax.transforms.decode import WHITE
from mmjax.transforms.video import DecodeVideo, Dense, OnClip, Segments, Uniform, Views
from mmjax.typing import Natural, Positive

OUTSIDE = {"white": WHITE, "black": (0, 0, 0)}
CLASSES = "classes.json"  # the names of the classes, in the order of their numbers


@dataclasses.dataclass(frozen=True)
class Frames:
    """Which frames of a clip are seen."""

    frames: Positive = 8  # T
    pick: Literal["parts", "pace"] = "parts"  # one of each of T equal parts, or at an even pace
    rate: float = 4.0  # frames per second of an even pace
    # pixels of the shorter side that frames are reduced to as they are decoded; 0: as they are
    decoded_side: Natural = 0
    outside: Literal["white", "black"] = "white"  # what augmentation shows from beyond a frame
    # in evaluation: clips of a video at an even pace, and crops of each along its longer side
    clips: Positive = 1
    crops: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        if self.clips > 1 and self.pick != "pace":
            raise ConfigError(
                f"clips={self.clips} of a video differ where pick='pace'; {self.pick!r} takes all "
                "of it"
            )

    @property
    def views(self) -> int:
        """Of a row in evaluation."""
        return self.clips * self.crops

    def decode(self, train: bool) -> DecodeVideo:
        """The first step of a clip."""
        pick: Uniform | Segments | Dense = Uniform(self.frames)
        if self.pick == "pace":
            pick = Dense(self.frames, self.rate, None if train else 0.5)
        elif train:
            pick = Segments(self.frames)
        return DecodeVideo(pick, self.decoded_side)

    def decoded_views(self) -> tuple[DecodeVideo, ...]:
        """One for each clip of evaluation."""
        if self.clips == 1:
            return (self.decode(train=False),)
        places = [number / (self.clips - 1) for number in range(self.clips)]
        picks = (Dense(self.frames, self.rate, place) for place in places)
        return tuple(DecodeVideo(pick, self.decoded_side) for pick in picks)


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: Positive = 224  # pixels along each edge of a frame
    frames: Frames = Frames()  # which are seen
    # of training clips; its drop_words is for texts
    augmentation: Augmentation = Augmentation()
    # "half": pixels to -1 .. 1; "imagenet": by the mean and deviation of ImageNet
    normalisation: Literal["half", "imagenet"] = "half"
    # the model has the classes of the training data, and knows their names
    classes: bool = False


class Processor(base.Processor):
    """Clips -> normalised pixels."""

    arguments = {"video_mask": "mask"}

    def __init__(self, config: Config, names: tuple[str, ...] = ()):
        """
        Args:
          names: of the classes of the training data, where the config asks for them.
        """
        self.names = names
        if config.augmentation.drop_words:
            raise ConfigError("data.processor.augmentation.drop_words: there are no texts here")
        self.config = config
        imagenet = (images.IMAGENET_MEAN, images.IMAGENET_STD)
        known = imagenet if config.normalisation == "imagenet" else ()
        self.normalize = images.Normalize(*known)

    @property
    def train(self) -> tuple[Transform, ...]:
        config = self.config
        steps = trained(config.frames, config.image_size, config.augmentation)
        return (*steps, OnClip(self.normalize))

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        config = self.config
        if config.frames.views > 1:
            decoded = config.frames.decoded_views()
            size = config.image_size
            return (Views(decoded, size, config.frames.crops, self.normalize),)
        return (*evaluated(config.frames, config.image_size), OnClip(self.normalize))

    @property
    def sizes(self) -> Mapping[str, Any]:
        views = self.config.frames.views
        more: dict[str, Any] = {"views": views} if views > 1 else {}  # of the task
        if self.names:
            more |= {"classes": len(self.names), "labels": self.names}
        return {**sizes(self.config.frames, self.config.image_size), **more}

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """As every processor's; a model that is asked by itself sees the middle view alone."""
        if self.config.frames.views == 1:
            return super().inputs(fields)
        frames = dataclasses.replace(self.config.frames, clips=1, crops=1)
        config = dataclasses.replace(self.config, frames=frames)
        return Processor(config, self.names).inputs(fields)

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        return {"video": shown(arrays, row, self.normalize)}

    def save(self, folder: Path) -> None:
        if self.names:
            text = json.dumps(self.names, ensure_ascii=False, indent=2)
            (folder / CLASSES).write_text(text + "\n", encoding="utf-8")


def trained(frames: Frames, size: int, augmentation: Augmentation) -> tuple[Transform, ...]:
    """From any form of a clip to augmented frames of size x size pixels."""
    a = augmentation
    if a.leaves_pixels:
        frame: Any = (images.Resize(size), images.CenterCrop(size))
    elif a.crop:
        frame = (images.RandomResizedCrop(size, scale=a.crop), images.RandomFlip(a.flip))
    else:
        affine = (a.zoom, a.stretch, a.degrees, a.shear, a.translate, a.flip)
        frame = (images.RandomAffine(size, *affine, fill=OUTSIDE[frames.outside]),)
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
        "video.frames": AtLeast(frames.frames),  # a tower of a fixed number says so by itself
        "video.image_size": size,
        "video.image.image_size": size,  # of a tower of pictures inside
    }


def shown(arrays: Arrays, row: int, normalize: images.Normalize) -> np.ndarray:
    """The frames of a row, or of the first of its views, uint8 [T, H, W, 3]."""
    clip = np.asarray(arrays["video"][row])
    clip = clip if clip.ndim == 4 else clip[0]
    return np.stack([normalize.undone(frame) for frame in clip])


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor, with the classes of the training data where the config asks for them.

    Raises:
      ConfigError: these are numbers, or differ between the training sets.
    """
    if not config.classes:
        return Processor(config)
    kept = saved / CLASSES if saved is not None else None
    if kept is not None and kept.exists():
        return Processor(config, tuple(json.loads(kept.read_text(encoding="utf-8"))))
    if sources is None:
        return Processor(config)
    found = {tuple(getattr(source, "class_names", ())) for source in sources()}
    if len(found) != 1 or not (names := found.pop()):
        raise ConfigError(
            "data.processor.classes: the labels of the training data have no names, or each set "
            "has its own; leave it False and give model.classes their number"
        )
    return Processor(config, names)


def paper(config: Config) -> Example:
    """A black clip of class 0, for plans on paper."""
    frames = config.frames.frames
    return {"video": np.zeros((frames, 64, 64, 3), np.uint8), "label": 0, "group": 0}
