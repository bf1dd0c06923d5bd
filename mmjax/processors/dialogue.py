"""The processor of models that talk about pictures: conversations -> pixels, token ids, and back.

* Rows are conversations (transforms/dialogue.py), or questions with their answers; `image` is one
  picture, several, or none, another number in each row.
* Training learns what the assistant says; an evaluation's text ends where it is to answer, and
  `answered` is the whole conversation, for its perplexity.
* With `pack`, conversations of neighbouring rows lie one behind the other, and their pictures stay
  apart: tasks/language.py.
* The vocabulary is trained on what is said in the training data, or is that of a language model to
  which the picture's token is added, and the roles where they are no words.

Letters: M pictures, P tokens of one, L tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Bucketed, Packed, Shape, buckets
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.processors import base, vocabularies
from mmjax.processors.base import AtLeast, Sources
from mmjax.processors.packed import ids_of
from mmjax.processors.raw import raw
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
from mmjax.typing import Natural

TOKENIZER = "tokenizer.json"
TRAINED = {"": bpe, "words": words}
TEXTS = ("text", "text_weight", "answered", "answered_weight")
INPUTS = ("inputs", "mask", "images", "image_mask")  # arguments of the model's call


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: int = 224  # pixels along each edge
    patch_size: int = 16  # pixels along each edge of a patch
    image_tokens: int = 0  # P, tokens that a picture becomes; 0: one of each patch
    max_images: int = 1  # M: a row has at most so many pictures
    max_length: int = 512  # L: tokens of a conversation at most, pictures included
    buckets: tuple[int, ...] = ()  # lengths that batches are padded up to; (): at most 4 even steps
    pack: Natural = 0  # so many neighbouring conversations share rows; 0: each has its own
    pack_length: Natural = 0  # tokens of such a row, at least max_length; 0: max_length
    question: str = "text"  # field of the question, where a row is no conversation
    answer: str = "answer"  # field of its answer
    flip: float = 0.0  # probability of left-right, of training pictures
    # trained on what is said: "" byte-level BPE, "words" whole words; or that of a language model:
    # "gpt2", the path of a tokenizer.json or a hub folder
    tokenizer: str = ""
    vocab_size: int = 2048  # entries of a trained one at most, and of any on paper
    # "tokens": roles are tokens of their own; "words": "USER:" and "ASSISTANT:", as in LLaVA-1.5
    roles: Literal["tokens", "words"] = "tokens"

    @property
    def tokens(self) -> int:
        return self.image_tokens or (self.image_size // self.patch_size) ** 2


class Processor(base.Processor):
    """Pictures [M, H, W, 3] and conversations, with the lengths that batches are padded to."""

    ragged = {"image": 1, **dict.fromkeys(TEXTS, 1)}
    arguments = {"image": "images", "text": "inputs", "text_mask": "mask"}

    def __init__(self, config: Config, tokenizer: Tokenizer, vocab_size: int | None = None):
        self.config = config
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size or tokenizer.vocab_size
        self.normalize = images.Normalize()
        self.as_conversation = AsConversation(config.question, config.answer)

    def _encode(self, answered: bool) -> EncodeConversation:
        c = self.config
        in_words = c.roles == "words"
        return EncodeConversation(self.tokenizer, c.tokens, c.max_length, answered, in_words)

    def _pixels(self, *augmentation: Transform) -> EachImage:
        size = self.config.image_size
        crop = (images.Resize(size), images.CenterCrop(size))
        each = (DecodeImage(), *crop, *augmentation, self.normalize)
        return EachImage(each, size, self.config.max_images)

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
            "language.context_length": AtLeast(self.longest),
            "image_id": special[IMAGE],
            "generate.end_ids": (special[END],),
            "generate.padding_id": special[PADDING],
        }

    @property
    def longest(self) -> int:
        """Tokens of a row of a batch at most."""
        return max(self.config.max_length, self.config.pack_length)

    def lengths(self, source: Source) -> Mapping[str, np.ndarray]:
        return {"text": self._lengths(source, answered=True)["text"]}

    def _lengths(self, source: Source, answered: bool) -> dict[str, np.ndarray]:
        """Tokens of each row's texts; of one that cannot be read, 1."""
        encode = self._encode(answered)
        names = TEXTS[:2] if answered else TEXTS
        lengths = {name: np.ones(len(source), np.int32) for name in names}
        for row, example in enumerate(unopened(source)):
            try:
                made = encode(self.as_conversation(example))
            except CorruptExample:
                continue  # the pipeline finds it again, and counts it
            for name in names:
                lengths[name][row] = len(made[name])
        return lengths

    def plan(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        config = self.config
        shape = {**plan.shape, "image": (config.max_images,)}
        plan = dataclasses.replace(plan, shape=shape)
        lengths = [self.lengths(source)["text"] for source in sources]
        if config.pack:
            length = config.pack_length or config.max_length
            return Packed(plan, lengths, length, config.pack, also=("text_weight",))
        longest = max(int(rows.max()) for rows in lengths)
        edges = config.buckets or buckets(longest, most=4)
        edges = sorted({min(edge, longest) for edge in edges} | {longest})
        return Bucketed(plan, lengths, tuple(edges), also=("text_weight",))

    def shape(self, source: Source) -> Shape:
        lengths = self._lengths(source, answered=False)
        texts = {name: (int(rows.max()),) for name, rows in lengths.items()}
        return {"image": (self.config.max_images,), **texts}

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return (self.tokenizer.special[END],)

    def decode(self, ids: Sequence[int]) -> str:
        """The words of an answer."""
        return self.tokenizer.decode(ids)

    def chat(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]], *, answer: bool = True
    ) -> dict[str, np.ndarray]:
        """The batch of conversations, "inputs", "mask", "images" and "image_mask".

        Args:
          conversations: messages {"role": ..., "content": a text, or parts {"type": "text", "text":
            ...} and {"type": "image", "image": a path, bytes, a Pillow image or an array}}.
          answer: they end where the assistant is to answer.

        Raises:
          CorruptExample: what is no conversation, or is too long.
        """
        if not answer:
            raise ConfigError("a conversation is written down for its next answer")
        examples = [_example(messages) for messages in conversations]
        if any("image" in example for example in examples):
            for example in examples:
                example.setdefault("image", [])
        names = dict.fromkeys(name for example in examples for name in example)
        return self.inputs({name: [example[name] for example in examples] for name in names})

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        """As every processor's, without what was said to it."""
        made = super().inputs(fields)
        return {name: made[name] for name in INPUTS if name in made}

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The pictures side by side, and the words; a picture's tokens leave no trace."""
        shown: dict[str, Any] = {}
        if "image" in arrays:
            pictures = arrays["image"][row]
            there = pictures[np.asarray(arrays["image_mask"][row])]
            if len(there):
                shown["image"] = np.concatenate(list(self.normalize.undone(there)), axis=1)
        if "text" in arrays:
            shown["text"] = self.tokenizer.decode(ids_of(arrays, row))
        return shown

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json, unless it is there."""
        path = Path(folder) / TOKENIZER
        if path.exists():
            return
        part = path.with_suffix(".part")  # another process never finds half of it
        self.tokenizer.save(part)
        part.replace(path)


def _example(messages: Sequence[Mapping[str, Any]]) -> Example:
    """A conversation with its pictures, each in its place."""
    turns = []
    pictures = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            words = ""
            for part in content:
                if part["type"] == "image":
                    pictures.append(part["image"])
                    words += IMAGE
                else:
                    words += part["text"]
            content = words
        turns.append({"role": message["role"], "content": content})
    example: Example = {"conversation": turns}
    if pictures:
        example["image"] = [raw("image", picture) for picture in pictures]
    return example


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor, with the tokenizer that was saved, that the config names, or that is trained
    on what is said, in this order.

    Raises:
      FileNotFoundError: no tokenizer of that name, unless all is on paper.
    """
    named = config.tokenizer not in TRAINED
    if saved is not None and (saved / TOKENIZER).exists():
        tokenizer = bpe.load(saved / TOKENIZER)
        return Processor(config, tokenizer, _rounded(tokenizer.vocab_size) if named else None)
    if named and (sources is not None or Path(config.tokenizer).exists()):
        tokenizer = _extended(vocabularies.load(config.tokenizer), config.roles)
        return Processor(config, tokenizer, _rounded(tokenizer.vocab_size))
    trainer = TRAINED.get(config.tokenizer, bpe)
    if sources is None:  # on paper it has all the entries that it may have
        tokenizer = trainer.train(["what is said"], config.vocab_size, specials=SPECIALS)
        return Processor(config, tokenizer, config.vocab_size)
    texts = _texts(config, sources())
    return Processor(config, trainer.train(texts, config.vocab_size, specials=SPECIALS))


def _extended(tokenizer: Tokenizer, roles: str) -> Tokenizer:
    """With the tokens that its vocabulary lacks, behind it."""
    wanted = SPECIALS if roles == "tokens" else (IMAGE,)
    backend = tokenizer.copy_of_backend()
    backend.add_special_tokens([name for name in wanted if name not in tokenizer.special])
    return Tokenizer(backend, clean=tokenizer.clean)


def _rounded(entries: int) -> int:
    """A number of entries that devices can share evenly: LLaVA has 32,064 for 32,002."""
    return -(-entries // 64) * 64


def unopened(source: Source) -> Iterator[Example]:
    """What is said in each row and the pictures that it has, of which no file is opened where the
    source knows their names; {} for a row that cannot be read."""
    said = source.column("conversation")
    pictures = source.column("image")
    if said is not None and pictures is not None:
        for turns, paths in zip(said, pictures, strict=True):
            yield {"conversation": turns, "image": paths}
        return
    for row in range(len(source)):
        try:
            yield source[row]
        except CorruptExample:
            yield {}


def _texts(config: Config, sources: Sequence[Source]) -> Iterator[str]:
    """Everything that is said in the data."""
    convert = AsConversation(config.question, config.answer)
    for source in sources:
        for example in unopened(source):
            try:
                turns = checked(convert(example)["conversation"])
            except CorruptExample:
                continue
            for turn in turns:
                yield turn["content"].replace(IMAGE, " ")


def paper(config: Config) -> Example:
    """A black picture, a question and an answer as long as may be, for plans on paper."""
    letters = max(1, config.max_length - config.tokens - 48)  # 48: the question and the roles
    return {
        "image": np.zeros((64, 64, 3), np.uint8),
        config.question: "what is in the picture", config.answer: "q" * letters, "group": 0,
    }  # fmt: skip
