"""The processor of sounds that several classes fit at once: AudioSet's clips.

* A clip is the window of a spectrogram transformer: `seconds` of log-mel frames as AST reads them,
  longer ones cut, shorter ones filled up (transforms/mel_ast.py); no mask, as it was published.
* The classes of a clip are numbers, or names in a text (transforms/tags.py).

Letters: B batch, T frames, M mel bins, V classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.source import Example
from mmjax.processors import base
from mmjax.processors.base import AtLeast, Sources
from mmjax.transforms import augment_audio
from mmjax.transforms.audio import DecodeAudio
from mmjax.transforms.mel import picture
from mmjax.transforms.mel_ast import AstMel
from mmjax.transforms.tags import MultiHot
from mmjax.typing import Positive


@dataclasses.dataclass(frozen=True)
class Config:
    classes: Positive = 527  # V: AudioSet's
    names: tuple[str, ...] = ()  # of the classes; (): the data have their numbers
    field: str = "labels"  # of the data, that says which classes hold
    rate: Positive = 16_000  # samples per second
    bins: Positive = 128  # M
    frames: Positive = 1_024  # T, 10 ms each
    augmentation: augment_audio.Config = augment_audio.Config()  # of training clips

    def __post_init__(self) -> None:
        if self.names and len(self.names) != self.classes:
            raise ConfigError(f"{len(self.names)} names for classes={self.classes}")


@dataclasses.dataclass(frozen=True)
class Window:
    """AstMel's frames without the mask."""

    mel: AstMel
    field: str = "audio"
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        features, _ = self.mel.of(example["audio"])
        return {**example, "audio": features}


class Processor(base.Processor):
    """Frames [T, M] and labels [V] of 0 and 1."""

    def __init__(self, config: Config):
        self.config = config
        c = config
        self.window = Window(AstMel(c.bins, c.rate, c.frames))
        self.tags = MultiHot(c.classes, c.names, c.field)

    @property
    def train(self) -> tuple[Transform, ...]:
        c = self.config
        of_sound, of_frames = augment_audio.transforms(c.augmentation, c.rate)
        return (self.tags, DecodeAudio(c.rate), *of_sound, self.window, *of_frames)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        return (self.tags, DecodeAudio(self.config.rate), self.window)

    @property
    def sizes(self) -> Mapping[str, Any]:
        c = self.config
        return {"audio.bins": c.bins, "audio.frames": AtLeast(c.frames), "classes": c.classes}

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The frames as a grey picture, low frequencies below."""
        return {"audio": picture(np.asarray(arrays["audio"][row], np.float32))}


def build(config: Config, sources: Sources | None, saved: Any) -> Processor:
    """The processor; nothing of it is learned."""
    return Processor(config)


def paper(config: Config) -> Example:
    """A second of silence of class 0, for plans on paper."""
    label = config.names[0] if config.names else 0
    return {"audio": np.zeros(config.rate, np.float32), config.field: label, "group": 0}
