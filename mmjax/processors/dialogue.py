"""The processor of models that talk about pictures: conversations -> pixels, token ids, and back.

* Rows are conversations (transforms/dialogue.py), or questions with their answers; `image` is one
  picture, several, or none.
* Training learns what the assistant says; an evaluation's text ends where it is to answer.
* The vocabulary is trained on what is said in the training data, or is one by name to which the
  roles and the picture's token are added.

Letters: M pictures, P tokens of one, L tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Bucketed, Shape, buckets
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.processors import base
from mmjax.processors.base import AtLeast, Sources
from mmjax.tokenizers import bpe, words
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms import images
from mmjax.transforms.decode import DecodeImage
from mmjax.transforms.dialogue import (
    END,
    IMAGE,
    PADDING,
    SPECIALS,
    AsConversation,
    EachImage,
    EncodeConversation,
    checked,
)

TOKENIZER = "tokenizer.json"
TRAINED = {"": bpe, "words": words}


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: int = 224  # pixels along each edge
    patch_size: int = 16  # pixels along each edge of a patch
    image_tokens: int = 0  # P, tokens that a picture becomes; 0: one of each patch
    max_images: int = 1  # M: a row has at most so many pictures
    max_length: int = 512  # L: tokens of a conversation at most, pictures included
    buckets: tuple[int, ...] = ()  # lengths that batches are padded up to; (): at most 4 even steps
    question: str = "text"  # field of the question, where a row is no conversation
    answer: str = "answer"  # field of its answer
    flip: float = 0.0  # probability of left-right, of training pictures
    tokenizer: str = ""  # trained on what is said: "" byte-level BPE, "words" whole words
    vocab_size: int = 2048  # entries at most

    @property
    def tokens(self) -> int:
        return self.image_tokens or (self.image_size // self.patch_size) ** 2


class Processor(base.Processor):
    """Pictures [M, H, W, 3] and conversations, with the lengths that batches are padded to."""

    ragged = {"image": 1, "text": 1, "text_weight": 1}
    arguments = {"image": "images", "text": "inputs", "text_mask": "mask"}

    def __init__(self, config: Config, tokenizer: Tokenizer, vocab_size: int | None = None):
        self.config = config
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size or tokenizer.vocab_size
        self.normalize = images.Normalize()
        self.as_conversation = AsConversation(config.question, config.answer)

    def _encode(self, answered: bool) -> EncodeConversation:
        c = self.config
        return EncodeConversation(self.tokenizer, c.tokens, c.max_length, answered)

    def _pixels(self, *augmentation: Transform) -> EachImage:
        size = self.config.image_size
        crop = (images.Resize(size), images.CenterCrop(size))
        return EachImage((DecodeImage(), *crop, *augmentation, self.normalize))

    @property
    def train(self) -> tuple[Transform, ...]:
        flip = (images.RandomFlip(self.config.flip),) if self.config.flip else ()
        return (self.as_conversation, self._pixels(*flip), self._encode(answered=True))

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        return (self.as_conversation, self._pixels(), self._encode(answered=False))

    @property
    def sizes(self) -> Mapping[str, Any]:
        special = self.tokenizer.special
        return {
            "image.image_size": self.config.image_size,
            "image.patch_size": self.config.patch_size,
            "language.vocab_size": AtLeast(self.vocab_size),
            "language.context_length": AtLeast(self.config.max_length),
            "image_id": special[IMAGE],
            "generate.end_ids": (special[END],),
            "generate.padding_id": special[PADDING],
        }

    def lengths(self, source: Source) -> Mapping[str, np.ndarray]:
        return {"text": self._lengths(source, answered=True)}

    def _lengths(self, source: Source, answered: bool) -> np.ndarray:
        """Tokens of each row; of one that cannot be read, 1."""
        encode = self._encode(answered)
        lengths = np.ones(len(source), np.int32)
        for row in range(len(source)):
            try:
                example = self.as_conversation(source[row])
                pictures = example.get("image", [])
                if not isinstance(pictures, (list, tuple)):
                    pictures = [pictures]
                lengths[row] = len(encode({**example, "image": pictures})["text"])
            except CorruptExample:
                continue  # the pipeline finds it again, and counts it
        return lengths

    def plan(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        shape = {**plan.shape, "image": (self.config.max_images,)}
        plan = dataclasses.replace(plan, shape=shape)
        lengths = [self._lengths(source, answered=True) for source in sources]
        longest = max(int(rows.max()) for rows in lengths)
        edges = self.config.buckets or buckets(longest, most=4)
        edges = sorted({min(edge, longest) for edge in edges} | {longest})
        return Bucketed(plan, lengths, tuple(edges), field="text", also=("text_weight",))

    def shape(self, source: Source) -> Shape:
        longest = int(self._lengths(source, answered=False).max())
        return {"image": (self.config.max_images,), "text": (longest,)}

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The pictures side by side, and the words; a picture's tokens leave no trace."""
        shown: dict[str, Any] = {}
        if "image" in arrays:
            pictures = arrays["image"][row]
            there = pictures[np.asarray(arrays["image_mask"][row])]
            if len(there):
                shown["image"] = np.concatenate(list(self.normalize.undone(there)), axis=1)
        if "text" in arrays:
            ids = arrays["text"][row][np.asarray(arrays["text_mask"][row])]
            shown["text"] = self.tokenizer.decode(ids)
        return shown

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json, unless it is there."""
        path = Path(folder) / TOKENIZER
        if path.exists():
            return
        part = path.with_suffix(".part")  # another process never finds half of it
        self.tokenizer.save(part)
        part.replace(path)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor, with the tokenizer that was saved, or that is trained on what is said."""
    if saved is not None and (saved / TOKENIZER).exists():
        return Processor(config, bpe.load(saved / TOKENIZER))
    if config.tokenizer not in TRAINED:
        raise ConfigError(
            f"data.processor.tokenizer is {config.tokenizer!r}: it is one of "
            f"{', '.join(map(repr, TRAINED))}"
        )
    trainer = TRAINED[config.tokenizer]
    if sources is None:  # on paper it has all the entries that it may have
        tokenizer = trainer.train(["what is said"], config.vocab_size, specials=SPECIALS)
        return Processor(config, tokenizer, config.vocab_size)
    texts = _texts(config, sources())
    return Processor(config, trainer.train(texts, config.vocab_size, specials=SPECIALS))


def _texts(config: Config, sources: Sequence[Source]) -> Iterator[str]:
    """Everything that is said in the data."""
    convert = AsConversation(config.question, config.answer)
    for source in sources:
        for row in range(len(source)):
            try:
                turns = checked(convert(source[row])["conversation"])
            except CorruptExample:
                continue
            for turn in turns:
                yield turn["content"].replace(IMAGE, " ")


def paper(config: Config) -> Example:
    """A black picture, a question and an answer, for plans on paper."""
    return {
        "image": np.zeros((64, 64, 3), np.uint8),
        config.question: "what is in the picture", config.answer: "nothing", "group": 0,
    }  # fmt: skip
