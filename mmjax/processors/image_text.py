"""The processor of image-text models: raw pictures and captions -> pixels and token ids, and back.

* `train` augments and draws one caption; `evaluate` is deterministic and keeps all captions, [K,
  L].
* One random affine map (zoom, stretch, rotation, shear, shift, flip) in one resampling pass, or
  CLIP's random resized crop; then colours.
* Called with pictures and texts, as the processors of other checkpoints are, it gives what the
  model's call takes; captions are then padded to the longest length, so that a model is compiled
  once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.bucketing import worthwhile
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Bucketed, Packed, Shape, buckets
from mmjax.data.source import Example, Source
from mmjax.processors import base, vocabularies
from mmjax.processors.base import AtLeast, Sources
from mmjax.processors.packed import ids_of
from mmjax.processors.raw import several
from mmjax.tokenizers import bpe, words
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms import images
from mmjax.transforms.decode import DecodeImage
from mmjax.transforms.text import (
    ChooseCaption,
    DropWords,
    Tokenize,
    all_captions,
    text_lengths,
    text_shape,
)
from mmjax.typing import Natural, Positive

TOKENIZER = "tokenizer.json"  # file of a folder that a processor was saved in
# By the config's `tokenizer`: what is trained on the captions of a run.
TRAINED = {"": bpe, "words": words}
CAPTION = "what a caption on paper says"


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
    image_size: Positive = 224  # pixels along each edge
    max_length: Positive = 77  # tokens of a caption with its start and end
    pad_to: Natural = 0  # captions are padded to this many tokens; 0: to the batch's length bucket
    # lengths that batches are padded up to; (): at most 8 even steps, or one where more do not pay
    buckets: tuple[int, ...] = ()
    pack: Natural = 0  # captions of so many neighbouring examples share rows; 0: each has its own
    pack_length: Natural = 0  # tokens of such a row, at least max_length; 0: max_length
    # "clip": CLIP's mean and std; "half": pixels to -1 .. 1
    normalisation: Literal["clip", "half"] = "half"
    augmentation: Augmentation = Augmentation()  # of training pairs
    # "clip", "open_clip", "gpt2", "bert"; path of a tokenizer.json or a hub folder; trained on the
    # training captions: "" byte-level BPE, "words" their whole words and no others
    tokenizer: str = ""
    vocab_size: Positive = 2048  # of the trained tokenizer, at most
    lowercase: bool = True  # of the trained tokenizer
    start: str = "<start>"  # special token before a caption; "": none
    end: str = "<end>"  # special token after a caption; "": none
    pad: str = "<pad>"  # special token behind a caption; "": id 0


class Processor(base.Processor):
    """Transforms for training and evaluation, and what they imply for the model."""

    ragged = {"text": 2, "text_mask": 2}
    arguments = {"image": "images", "text": "ids", "text_mask": "mask"}

    def __init__(self, config: Config, tokenizer: Tokenizer, vocab_size: int | None = None):
        """vocab_size: ids that the model has; None: those of the tokenizer."""
        self.config = config
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size or tokenizer.vocab_size
        special = {name: getattr(config, name) or None for name in ("start", "end", "pad")}
        self.tokenize = Tokenize(tokenizer, config.max_length, **special)
        self.normalize = images.Normalize()
        if config.normalisation == "clip":
            self.normalize = images.Normalize(images.CLIP_MEAN, images.CLIP_STD)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Processor) and self.config == other.config
        return same and self.tokenizer.fingerprint == other.tokenizer.fingerprint

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
        rate = augmentation.drop_words
        drop = (DropWords(rate),) if rate else ()
        return (*frame, *colours, self.normalize, ChooseCaption(), *drop, self.tokenize)

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
        """The image's edge; ids and positions, of which a text tower may have more."""
        return {
            "image.image_size": self.config.image_size,
            "text.vocab_size": AtLeast(self.vocab_size),
            "text.context_length": AtLeast(self.config.max_length),
        }

    def lengths(self, source: Source) -> Mapping[str, np.ndarray]:
        """Tokens of each row's longest caption."""
        return {"text": text_lengths(source, self.tokenize)}

    def plan(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        """Captions padded to `pad_to`, to the batch's length bucket, or packed."""
        config = self.config
        if 0 < config.pad_to < config.max_length:
            raise ConfigError(
                f"data.processor.pad_to={config.pad_to} is shorter than max_length="
                f"{config.max_length}: captions would not fit; make them equal, or pad_to=0"
            )
        if config.pad_to and not config.pack:
            return dataclasses.replace(plan, shape={**plan.shape, "text": (config.pad_to,)})
        lengths = [self.lengths(source)["text"] for source in sources]
        if config.pack:
            return Packed(plan, lengths, config.pack_length or config.max_length, config.pack)
        edges = config.buckets or buckets(config.max_length)
        edges = tuple(sorted({min(edge, config.max_length) for edge in edges}))
        if not config.buckets:
            edges = worthwhile(plan, lengths, edges)
        return Bucketed(plan, lengths, edges)

    def shape(self, source: Source) -> Shape:
        """All captions of a row, as long as the longest of the source."""
        return {"text": text_shape(source, self.tokenize)}

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The picture as the model sees it, and the caption that its ids spell."""
        shown: dict[str, Any] = {}
        if "image" in arrays:
            shown["image"] = self.normalize.undone(arrays["image"][row])
        if "text" in arrays:
            shown["text"] = self.tokenizer.decode(ids_of(arrays, row))
        return shown

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
        batch: Arrays = {}
        if images is not None:
            batch |= self.inputs({"image": several(images)})
        if text is not None:
            texts = several(text)
            if refuse_unknown:
                self.check_known(texts)
            batch |= self.inputs({"text": texts})
        return batch

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> Arrays:
        """As every processor's, captions padded to the longest length."""
        inputs = super().inputs(fields)
        for name, fill in (("ids", self.fill["text"]), ("mask", False)):
            if name in inputs:
                room = self.config.max_length - inputs[name].shape[-1]
                edges = [(0, 0)] * (inputs[name].ndim - 1) + [(0, room)]
                inputs[name] = np.pad(inputs[name], edges, constant_values=fill)
        return inputs

    def resized(self, image_size: int) -> Processor:
        config = dataclasses.replace(self.config, image_size=image_size)
        return Processor(config, self.tokenizer, self.vocab_size)

    def knows(self, text: str) -> bool:
        bare = self.config.max_length - self.tokenize.room  # start and end alone
        return len(self.tokenize({"text": text})["text"]) > bare

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json, unless it is there."""
        path = Path(folder) / TOKENIZER
        if path.exists():
            return
        part = path.with_suffix(".part")  # another process never finds half of it
        self.tokenizer.save(part)
        part.replace(path)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor, with the tokenizer that was saved, that the config names, or that is trained
    on the captions now, in this order."""
    if saved is not None and (saved / TOKENIZER).exists():
        return Processor(config, bpe.load(saved / TOKENIZER))
    if config.tokenizer not in TRAINED:
        return Processor(config, vocabularies.load(config.tokenizer))
    trainer = TRAINED[config.tokenizer]
    if sources is None:  # on paper it has all the entries that it may have
        tokenizer = trainer.train([CAPTION], config.vocab_size, lowercase=config.lowercase)
        return Processor(config, tokenizer, config.vocab_size)
    captions = all_captions(list(sources()))
    return Processor(config, trainer.train(captions, config.vocab_size, lowercase=config.lowercase))


def paper(config: Config) -> Example:
    """A black picture and the longest caption, for plans on paper."""
    text = " ".join([CAPTION] * config.max_length)  # none is longer
    return {"image": np.zeros((64, 64, 3), np.uint8), "text": text}
