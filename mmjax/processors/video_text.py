"""The processor of models of clips and texts: frames as in video.py, captions as in image_text.py.

* Called with clips and texts it gives what the model's call takes, as the processors of loaded
  checkpoints do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.source import Example
from mmjax.processors import image_text, video
from mmjax.processors.base import Sources
from mmjax.processors.packed import ids_of
from mmjax.processors.raw import several
from mmjax.transforms.text import ChooseCaption, DropWords
from mmjax.transforms.video import OnClip


@dataclasses.dataclass(frozen=True)
class Config(image_text.Config):
    frames: video.Frames = video.Frames()  # which are seen


class Processor(image_text.Processor):
    """Transforms for training and evaluation, and what they imply for the model."""

    arguments = {"text": "ids", "text_mask": "mask"}
    config: Config

    @property
    def train(self) -> tuple[Transform, ...]:
        """Augmented frames, and one caption of each row."""
        config = self.config
        steps = video.trained(config.frames, config.image_size, config.augmentation)
        rate = config.augmentation.drop_words
        drop = (DropWords(rate),) if rate else ()
        return (*steps, OnClip(self.normalize), ChooseCaption(), *drop, self.tokenize)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """The middle of each frame, and all captions of each row."""
        config = self.config
        steps = video.evaluated(config.frames, config.image_size)
        return (*steps, OnClip(self.normalize), self.tokenize)

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Those of the clips and of the captions."""
        words = {name: size for name, size in super().sizes.items() if name.startswith("text.")}
        return {**words, **video.sizes(self.config.frames, self.config.image_size)}

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The clip as the model sees it, and the caption that its ids spell."""
        out: dict[str, Any] = {}
        if "video" in arrays:
            out["video"] = video.shown(arrays, row, self.normalize)
        if "text" in arrays:
            out["text"] = self.tokenizer.decode(ids_of(arrays, row))
        return out

    def __call__(
        self,
        videos: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        refuse_unknown: bool = True,
    ) -> Arrays:
        """A batch: "video" float32 [B, T, H, W, C], "ids" int32 and "mask" bool [B, L].

        Args:
          videos: one or several of: a path, encoded bytes, a Video, uint8 [T, H, W, 3].
          refuse_unknown: texts of which the tokenizer knows no word; else they are empty ones.

        Raises:
          CorruptExample: a clip that cannot be read; a text without a word that is known.
        """
        batch: Arrays = {} if videos is None else self.inputs({"video": several(videos)})
        return batch | super().__call__(text=text, refuse_unknown=refuse_unknown)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor, with its tokenizer, which is found or trained as in image_text.py."""
    words = image_text.build(config, sources, saved)
    return Processor(config, words.tokenizer, words.vocab_size)


def paper(config: Config) -> Example:
    """A black clip and the longest caption, for plans on paper."""
    example = image_text.paper(config)
    example.pop("image")
    return {**example, "video": np.zeros((config.frames.frames, 64, 64, 3), np.uint8)}
