"""The processor of image-text models: raw pictures and captions -> pixels and token ids, and back.

* `train` augments and draws one caption; `evaluate` is deterministic and keeps all captions, [K,
  L].
* One random affine map (zoom, stretch, rotation, shear, shift, flip) in one resampling pass, or
  CLIP's random resized crop; then colours.
* Captions: captioned.py.
* Called with pictures and texts, as the processors of other checkpoints are, it gives what the
  model's call takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.source import Example
from mmjax.processors import captioned
from mmjax.processors.base import Sources
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms import images
from mmjax.transforms.decode import DecodeImage
from mmjax.typing import Positive


@dataclasses.dataclass(frozen=True)
class Augmentation:
    crop: tuple[
        float, ...
    ] = ()  # share of the area of a random resized crop, (low, high); (): affine instead
    zoom: tuple[float, float] = (1.0, 1.0)  # of the affine map, log-uniform
    stretch: tuple[float, float] = (1.0, 1.0)  # width / height, log-uniform
    degrees: float = 0.0  # rotation up to, either way
    shear: float = 0.0  # degrees up to, either way
    translate: float = 0.0  # shift up to, share of the image
    flip: float = 0.0  # probability of left-right
    brightness: float = 0.0  # colour changes up to, either way
    contrast: float = 0.0  # up to, either way
    saturation: float = 0.0  # up to, either way
    hue: float = 0.0  # turns
    drop_words: float = 0.0  # probability of each word of the caption to be left out

    @property
    def leaves_pixels(self) -> bool:
        """Whether pictures stay as they are."""
        return dataclasses.replace(self, drop_words=0.0) == Augmentation()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(captioned.Config):
    image_size: Positive = 224  # pixels along each edge
    # "clip": CLIP's mean and std; "half": pixels to -1 .. 1
    normalisation: Literal["clip", "half"] = "half"
    augmentation: Augmentation = Augmentation()  # of training pairs


class Processor(captioned.Processor):
    """Transforms for training and evaluation, and what they imply for the model."""

    arguments = {"image": "images", **captioned.Processor.arguments}

    def __init__(self, config: Config, tokenizer: Tokenizer, vocab_size: int | None = None):
        super().__init__(config, tokenizer, vocab_size)
        self.normalize = images.Normalize()
        if config.normalisation == "clip":
            self.normalize = images.Normalize(images.CLIP_MEAN, images.CLIP_STD)

    @property
    def train(self) -> tuple[Transform, ...]:
        """Augmented pixels, and one caption of each row."""
        size = self.config.image_size
        augmentation = self.config.augmentation
        if augmentation.crop:  # of large photographs: the crop takes the encoded bytes
            decode = DecodeImage(draft=True)
            crop = images.RandomResizedCrop(size, scale=augmentation.crop, decode=decode)
            frame: tuple[Transform, ...] = (crop, images.RandomFlip(augmentation.flip))
        else:
            affine = images.RandomAffine(
                size,
                augmentation.zoom,
                augmentation.stretch,
                augmentation.degrees,
                augmentation.shear,
                augmentation.translate,
                augmentation.flip,
            )
            frame = (DecodeImage(), affine)
        strengths = (
            augmentation.brightness,
            augmentation.contrast,
            augmentation.saturation,
            augmentation.hue,
        )
        colours = (images.ColorJitter(*strengths),) if any(strengths) else ()
        caption = self.one_caption(augmentation.drop_words)
        return (*frame, *colours, self.normalize, *caption)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """The middle of each picture, and all captions of each row."""
        size = self.config.image_size
        return (
            DecodeImage(),
            images.Resize(size),
            images.CenterCrop(size),
            self.normalize,
            self.tokenize,
        )

    @property
    def sizes(self) -> Mapping[str, Any]:
        """The image's edge; ids and positions."""
        return {"image.image_size": self.config.image_size, **super().sizes}

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The picture as the model sees it, and the caption that its ids spell."""
        shown: dict[str, Any] = {}
        if "image" in arrays:
            shown["image"] = self.normalize.undone(arrays["image"][row])
        return shown | super().show(arrays, row)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        refuse_unknown: bool = True,
    ) -> Arrays:
        """A batch: "images" float32 [B, H, W, C], "ids" int32 and "mask" bool [B, L].

        Args:
          images: one or several of: a path, encoded bytes, a Pillow image, uint8 [H, W, 3].
          refuse_unknown: texts of which the tokenizer knows no word; else they are empty ones.

        Raises:
          CorruptExample: a picture that cannot be read; a text without a word that is known.
        """
        return self.batch("image", images, text, refuse_unknown)

    def resized(self, image_size: int) -> Processor:
        config = dataclasses.replace(self.config, image_size=image_size)
        return Processor(config, self.tokenizer, self.vocab_size)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """With the tokenizer that was saved, that the config names, or that is trained on the captions
    now, in this order."""
    return captioned.with_tokenizer(Processor, config, sources, saved)


def paper(config: Config) -> Example:
    """A black picture and the longest caption, for plans on paper."""
    return {"image": np.zeros((64, 64, 3), np.uint8), "text": captioned.paper(config)}
