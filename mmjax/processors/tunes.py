"""Tunes between words: frames of pitches and onsets for the music encoder, as in melody.py.

* In training a clip is shifted by semitones, and what is said of it with it: its labels, and the
  names of their classes wherever a turn of the conversation has them ("in G major" becomes "in A
  major").

Letters: M clips of a row at most, T frames, F values of a frame.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.messages import CLIPS, Kind
from mmjax.processors import melody, whole
from mmjax.transforms.log_frequency import Transpose
from mmjax.transforms.mel import picture
from mmjax.transforms.renamed import Renamed


@dataclasses.dataclass(frozen=True)
class Config(whole.Whole):
    """What becomes of tunes; the model's tower follows it."""

    melody: melody.Config = melody.Config()  # frames, shifts, and the labels that move with them
    # how conversations name the classes of a label that moves, by its field
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    kind: ClassVar[Kind] = CLIPS  # what its things are

    def __post_init__(self) -> None:
        moving = {label.field: 12 * label.tonal for label in self.melody.labels if label.tonal}
        for field, names in self.names.items():
            if len(names) != moving.get(field):
                raise ConfigError(
                    f"names.{field} are {len(names)} names; melody.labels has "
                    f"{moving.get(field, 'no')} classes of it that move with the pitch"
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """T, F."""
        c = self.melody
        return round(c.seconds * c.rate) // c.hop, c.front.width

    def steps(self, train: bool) -> tuple[Transform, ...]:
        """Sound -> frames."""
        return melody.Processor(self.melody).evaluate

    def behind(self, train: bool) -> tuple[Transform, ...]:
        """The shift, of all clips of a row alike."""
        steps = melody.Processor(self.melody).train[len(self.steps(train)) :] if train else ()
        names = tuple(self.names.items())
        return tuple(
            Renamed(step, names) if isinstance(step, Transpose) else step for step in steps
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """All names: a shift may say some that no row of the data has."""
        return tuple(name for names in self.names.values() for name in names)

    def grown(self, text: str, count: Callable[[str], int]) -> str:
        """With the longest names instead of those that a shift changes."""
        for names in self.names.values():
            pattern = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
            text = re.sub(rf"\b(?:{pattern})\b", max(names, key=count), text)
        return text

    @property
    def sizes(self) -> Mapping[str, Any]:
        """As of `Whole`, and those of the encoder."""
        of_encoder = melody.Processor(self.melody).sizes
        prefixed = {f"audio.encoder.{name}": size for name, size in of_encoder.items()}
        return {**super().sizes, **prefixed}

    def paper(self) -> np.ndarray:
        """A silent clip."""
        return np.zeros(round(self.melody.seconds * self.melody.rate), np.float32)

    def shown(self, things: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        """The pitches of a row's clips one behind the other, as a grey picture."""
        there = [clip for clip, sound in zip(things, mask, strict=True) if sound.any()]
        if not there:
            return {}
        frames = np.concatenate(there).astype(np.float32)
        return {"audio": picture(frames[:, : self.melody.front.bins])}
