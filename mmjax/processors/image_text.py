"""The processor of image-text models: what turns raw examples into pixels and token ids.

* `train` augments and draws one caption; `evaluate` is deterministic and keeps all captions, [K,
  L].
* One random affine map (zoom, stretch, rotation, shear, shift, flip) in one resampling pass, or
  CLIP's random resized crop; then colours.
* What the model must agree with (image size, vocabulary, context length) is stated by `sizes`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms import images
from mmjax.transforms.decode import DecodeImage
from mmjax.transforms.text import ChooseCaption, DropWords, Tokenize


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


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: int = 224  # pixels along each edge
    max_length: int = 77  # tokens of a caption with its start and end
    pad_to: int = 0  # captions are padded to this many tokens; 0: to the batch's length bucket
    buckets: tuple[int, ...] = ()  # lengths that batches are padded up to; (): at most 8 even steps
    pack: int = 0  # captions of so many neighbouring examples share rows; 0: each has its own
    pack_length: int = 0  # tokens of such a row, at least max_length; 0: max_length
    # "clip": CLIP's mean and std; "half": pixels to -1 .. 1
    normalisation: Literal["clip", "half"] = "half"
    augmentation: Augmentation = Augmentation()  # of training pairs
    # "clip", "open_clip", "gpt2", "bert"; path of a tokenizer.json or a hub folder; trained on the
    # training captions: "" byte-level BPE, "words" their whole words and no others
    tokenizer: str = ""
    vocab_size: int = 2048  # of the trained tokenizer, at most
    lowercase: bool = True  # of the trained tokenizer
    start: str = "<start>"  # special token before a caption; "": none
    end: str = "<end>"  # special token after a caption; "": none
    pad: str = "<pad>"  # special token behind a caption; "": id 0


class Processor:
    """Transforms for training and evaluation, and what they imply for the model."""

    def __init__(self, config: Config, tokenizer: Tokenizer):
        self.config, self.tokenizer = config, tokenizer
        names = {name: getattr(config, name) or None for name in ("start", "end", "pad")}
        self.tokenize = Tokenize(tokenizer, config.max_length, **names)
        mean, std = ((0.5,) * 3, (0.5,) * 3)
        if config.normalisation == "clip":
            mean, std = images.CLIP_MEAN, images.CLIP_STD
        self.normalize = images.Normalize(mean, std)

    @property
    def train(self) -> tuple[Any, ...]:
        """Augmented pixels, and one caption of each row."""
        a, size = self.config.augmentation, self.config.image_size
        if a.crop:  # of large photographs: the crop takes the encoded bytes
            crop = images.RandomResizedCrop(size, scale=a.crop, decode=DecodeImage(draft=True))
            shape: tuple[Any, ...] = (crop, images.RandomFlip(a.flip))
        else:
            shape = (
                DecodeImage(),
                images.RandomAffine(
                    size, a.zoom, a.stretch, a.degrees, a.shear, a.translate, a.flip
                ),
            )
        colour = images.ColorJitter(a.brightness, a.contrast, a.saturation, a.hue)
        changes = (colour,) if any((a.brightness, a.contrast, a.saturation, a.hue)) else ()
        words = (DropWords(a.drop_words),) if a.drop_words else ()
        return (*shape, *changes, self.normalize, ChooseCaption(), *words, self.tokenize)

    @property
    def evaluate(self) -> tuple[Any, ...]:
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
    def sizes(self) -> dict[str, int]:
        """Fields of the model's config that follow from the data, by dotted path."""
        c = self.config
        return {
            "image.image_size": c.image_size,
            "text.vocab_size": self.tokenizer.vocab_size,
            "text.context_length": c.max_length,
        }
