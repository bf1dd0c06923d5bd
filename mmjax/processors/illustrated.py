"""The processor of models that make pictures or clips from sentences.

* Pixels from -1 to 1, in colour or grey; of clips the frames that video.py takes, of pictures the
  whole square. The sentence is one: in training any of a row's, in evaluation the first.
* What the model and the task need of the data follows from it: the shape of a sample, and the ids
  of an empty sentence.
* A sentence that is asked for and does not fit is refused, not cut.

Letters: T frames, H and W pixels, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.captions import captions
from mmjax.data.collation import Arrays
from mmjax.data.plan import Shape
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.processors import captioned, video
from mmjax.processors.base import Sources
from mmjax.processors.image_text import Augmentation
from mmjax.processors.raw import raw
from mmjax.transforms import images
from mmjax.transforms.decode import DecodeImage
from mmjax.transforms.video import OnClip
from mmjax.typing import Positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(captioned.Config):
    image_size: Positive = 64  # pixels along each edge
    frames: video.Frames | None = None  # of a clip, which are seen; None: pictures
    grey: bool = False  # one channel in the place of three
    augmentation: Augmentation = Augmentation()  # of training pairs; best none, or what is slight


@dataclasses.dataclass(frozen=True)
class FirstCaption:
    """The first of the example's captions."""

    field: ClassVar[str] = "text"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        return {**example, "text": captions(example, "text")[0]}


@dataclasses.dataclass(frozen=True)
class Grey:
    """uint8 or float [..., 3] -> [..., 1]: the mean of the three."""

    field: str
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        pixels = np.asarray(example[self.field], np.float32)
        return {**example, self.field: pixels.mean(-1, keepdims=True)}


class Processor(captioned.Processor):
    """Transforms for training and evaluation, and what they imply for the model and the task."""

    config: Config

    def __init__(self, config: Config, tokenizer: Any, vocab_size: int | None = None):
        """
        Raises:
          ConfigError: packed captions.
        """
        super().__init__(config, tokenizer, vocab_size)
        if config.pack:
            raise ConfigError(f"data.processor.pack={config.pack}: each sample has its own row; 0")
        self.normalize = images.Normalize()

    @property
    def field(self) -> str:
        """What is made: "video" or "image"."""
        return "image" if self.config.frames is None else "video"

    @property
    def train(self) -> tuple[Transform, ...]:
        """Augmented pixels, and one sentence of each row."""
        c = self.config
        sentence = self.one_caption(c.augmentation.drop_words)
        if c.augmentation.leaves_pixels:
            return (*self._pixels, *sentence)
        if c.frames is not None:
            steps = video.trained(c.frames, c.image_size, c.augmentation)
        else:
            one = video.trained(video.Frames(1), c.image_size, c.augmentation)[1:]
            steps = (DecodeImage(), *(step.step for step in one))
        return (*steps, *self._values, *sentence)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """The middle of each frame, and the first sentence of each row."""
        return (*self._pixels, FirstCaption(), self.tokenize)

    @property
    def _pixels(self) -> tuple[Transform, ...]:
        c = self.config
        if c.frames is not None:
            return (*video.evaluated(c.frames, c.image_size), *self._values)
        steps = (DecodeImage(), images.Resize(c.image_size), images.CenterCrop(c.image_size))
        return (*steps, *self._values)

    @property
    def _values(self) -> tuple[Transform, ...]:
        values = self.normalize if self.config.frames is None else OnClip(self.normalize)
        return (values, Grey(self.field)) if self.config.grey else (values,)

    def shape(self, source: Source) -> Shape:
        """One sentence of each row, as long as the longest allowed: every set is compiled once."""
        return {"text": (self.config.pad_to or self.config.max_length,)}

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(T, H, W, C), or (H, W, C) of a picture."""
        c = self.config
        picture = (c.image_size, c.image_size, 1 if c.grey else 3)
        return picture if c.frames is None else (c.frames.frames, *picture)

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Ids and positions of the tower, the empty sentence, and what a sample is."""
        empty = (*self.tokenize.first, *self.tokenize.last)
        return {
            **super().sizes, "empty": empty, "shape": self.sample_shape, "field": self.field,
        }  # fmt: skip

    def asked(self, texts: Sequence[str]) -> Arrays:
        """Sentences -> "text" int32 [B, L] and "text_mask" bool [B, L], L always the same.

        Raises:
          CorruptExample: one without a word that is known, or longer than the model reads.
        """
        room = self.tokenize.room
        self.check_known(texts)
        for text in texts:
            count = len(self.tokenizer.encode(text))
            if count > room:
                raise CorruptExample(
                    f"{text!r} has {count} tokens, and the model reads {room}: shorten it"
                )
        ids = [self.tokenize({"text": text})["text"] for text in texts]
        length = self.config.pad_to or self.config.max_length
        batch = np.full((len(ids), length), self.fill["text"], np.int32)
        mask = np.zeros(batch.shape, bool)
        for row, one in enumerate(ids):
            batch[row, : len(one)] = one
            mask[row, : len(one)] = True
        return {"text": batch, "text_mask": mask}

    def first(self, picture: Any, side: int) -> np.ndarray:
        """A picture in any form -> the values of a frame of side x side pixels, [H, W, C].

        Raises:
          OSError, CorruptExample: one that cannot be read.
        """
        crop = (images.Resize(side), images.CenterCrop(side))
        grey = (Grey("image"),) if self.config.grey else ()
        example = {"image": raw("image", picture)}
        for step in (DecodeImage(), *crop, self.normalize, *grey):
            example = step(example)
        return np.asarray(example["image"], np.float32)

    def pixels(self, samples: np.ndarray) -> np.ndarray:
        """Samples from -1 to 1 -> uint8 [..., H, W, 3], as people see them."""
        samples = np.nan_to_num(np.asarray(samples, np.float32))
        values = np.rint((samples + 1) * 127.5).clip(0, 255).astype(np.uint8)
        return np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The clip or picture as the model sees it, and the sentence that its ids spell."""
        shown: dict[str, Any] = {}
        if self.field in arrays:
            shown[self.field] = self.pixels(arrays[self.field][row])
        return shown | super().show(arrays, row)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor, with its tokenizer, which is found or trained as in captioned.py."""
    return captioned.with_tokenizer(Processor, config, sources, saved)


def paper(config: Config) -> Example:
    """A black clip or picture and the longest sentence, for plans on paper."""
    picture = np.zeros((config.image_size, config.image_size, 3), np.uint8)
    text = captioned.paper(config)
    if config.frames is None:
        return {"image": picture, "text": text}
    return {"video": np.repeat(picture[None], config.frames.frames, axis=0), "text": text}
