"""The processor of models that talk about pictures, sounds and clips: conversations -> arrays,
token ids, and back.

* Rows are conversations (transforms/dialogue.py), or questions with their answers; `image` is one
  picture, several, or none, another number in each row, and `audio` so of clips (sounds.py,
  tunes.py), `video` of videos (watched.py). A sense of another kind is a Config beside those.
* Training learns what the assistant says; an evaluation's text ends where it is to answer, and
  `answered` is the whole conversation, for its perplexity.
* With `pack`, conversations of neighbouring rows lie one behind the other, and their pictures and
  clips stay apart: tasks/language.py.
* The vocabulary is trained on what is said in the training data, or is that of a language model to
  which the tokens of pictures and clips are added, and the roles where they are no words.

Letters: M pictures, P tokens of one, L tokens.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data import messages
from mmjax.data.alike import alike
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Bucketed, Packed, Shape, buckets
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.layers.senses import SENSES
from mmjax.processors import base, sounds, told, tunes, vocabularies, watched, whole
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
)
from mmjax.typing import Natural

TOKENIZER = "tokenizer.json"
TRAINED = {"": bpe, "words": words}
TEXTS = ("text", "text_weight", "answered", "answered_weight")
# arguments of the model's call
INPUTS = ("inputs", "mask", *SENSES)


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: int = 224  # pixels along each edge
    patch_size: int = 16  # pixels along each edge of a patch
    image_tokens: int = 0  # P, tokens that a picture becomes; 0: one of each patch
    max_images: Natural = 1  # M: a row has at most so many pictures; 0: the model does not see
    # what becomes of clips: sounds of any length, tunes; None: the model does not hear
    audio: sounds.Config | tunes.Config | None = None
    video: watched.Config | None = None  # what becomes of videos; None: the model sees none
    max_length: int = 512  # L: tokens of a conversation at most, pictures and clips included
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

    @property
    def specials(self) -> tuple[str, ...]:
        """Tokens that are no words; those of clips and videos where there are any."""
        return (*SPECIALS, *(messages.KINDS[field].token for field in self.senses))

    @property
    def senses(self) -> Mapping[str, sounds.Config | whole.Whole]:
        """Those whose things say how many tokens they become, by field."""
        found = {"audio": self.audio, "video": self.video}
        return {field: sense for field, sense in found.items() if sense is not None}


class Processor(base.Processor):
    """Pictures [M, H, W, 3], clips [M, T, F], videos [M, T, H, W, 3] and conversations, with the
    lengths that batches are padded to."""

    ragged = {"image": 1, "audio": 2, "video": 2, **dict.fromkeys(TEXTS, 1)}
    arguments = {
        "image": "images", "audio": "sounds", "video": "videos", "text": "inputs",
        "text_mask": "mask",
    }  # fmt: skip

    def __init__(self, config: Config, tokenizer: Tokenizer, vocab_size: int | None = None):
        self.config = config
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size or tokenizer.vocab_size
        self.normalize = images.Normalize()
        self.as_conversation = AsConversation(config.question, config.answer)

    def _encode(self, answered: bool) -> EncodeConversation:
        c = self.config
        in_words = c.roles == "words"
        tokens = c.tokens if c.max_images else 0
        return EncodeConversation(self.tokenizer, tokens, c.max_length, answered, in_words)

    def _prepared(self, *augmentation: Transform, train: bool) -> tuple[Transform, ...]:
        """Conversations, pixels and frames."""
        c = self.config
        each: tuple[Transform, ...] = (self.as_conversation,)
        if c.max_images:
            crop = (images.Resize(c.image_size), images.CenterCrop(c.image_size))
            pixels = (DecodeImage(), *crop, *augmentation, self.normalize)
            each = (*each, EachImage(pixels, c.image_size, c.max_images))
        for sense in c.senses.values():
            each = (*each, *sense.transforms(train))
        return each

    @property
    def train(self) -> tuple[Transform, ...]:
        flip = (images.RandomFlip(self.config.flip),) if self.config.flip else ()
        return (*self._prepared(*flip, train=True), self._encode(answered=True))

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        return (*self._prepared(train=False), self._encode(answered=False))

    @property
    def sizes(self) -> Mapping[str, Any]:
        special = self.tokenizer.special
        sizes: dict[str, Any] = {
            "language.vocab_size": AtLeast(self.vocab_size),
            "language.context_length": AtLeast(self.longest),
            "generate.end_ids": (special[END],),
            "generate.padding_id": special[PADDING],
        }
        if self.config.max_images:
            sizes["image.image_size"] = self.config.image_size
            sizes["image.patch_size"] = self.config.patch_size
            sizes["image_id"] = special[IMAGE]
        for field, sense in self.config.senses.items():
            sizes[f"{field}_id"] = special[messages.KINDS[field].token]
            sizes |= sense.sizes
        return sizes

    @property
    def longest(self) -> int:
        """Tokens of a row of a batch at most."""
        return max(self.config.max_length, self.config.pack_length)

    def lengths(self, source: Source) -> Mapping[str, np.ndarray]:
        lengths = self._lengths(source, answered=True)
        return {name: lengths[name] for name in lengths if name in ("text", *messages.KINDS)}

    def _lengths(self, source: Source, answered: bool) -> dict[str, np.ndarray]:
        """Tokens of each row's texts, and what its longest clip and video take; of a row that
        cannot be read, 1."""
        encode = self._encode(answered)
        senses = self.config.senses
        count = functools.cache(lambda text: len(self.tokenizer.encode(text)))
        names = TEXTS[:2] if answered else TEXTS
        lengths = {name: np.ones(len(source), np.int32) for name in (*names, *senses)}
        for row, example in enumerate(told.unopened(self.config, source)):
            try:
                example = self.as_conversation(example)
                for field, sense in senses.items():
                    example, longest = sense.measured(example)
                    lengths[field][row] = longest
                    if isinstance(sense, whole.Whole):
                        example = told.grown(example, sense, count)
                made = encode(example)
            except CorruptExample:
                continue  # the pipeline finds it again, and counts it
            for name in names:
                lengths[name][row] = len(made[name])
        return lengths

    def plan(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        config = self.config
        plan = dataclasses.replace(plan, shape={**plan.shape, **self._counts()})
        every = [self.lengths(source) for source in sources]
        for field, sense in config.senses.items():
            if sense.alike > 1:  # of whole batches, so before their lengths
                plan = alike(plan, [lengths[field] for lengths in every], sense.alike)
        for field, sense in config.senses.items():
            taken = [lengths[field] for lengths in every]
            plan = Bucketed(plan, taken, sense.edges(taken), field=field)
        lengths = [lengths["text"] for lengths in every]
        if config.pack:
            length = config.pack_length or config.max_length
            return Packed(plan, lengths, length, config.pack, also=("text_weight",))
        longest = max(int(rows.max()) for rows in lengths)
        edges = config.buckets or buckets(longest, most=4)
        edges = sorted({min(edge, longest) for edge in edges} | {longest})
        return Bucketed(plan, lengths, tuple(edges), also=("text_weight",))

    def shape(self, source: Source) -> Shape:
        lengths = self._lengths(source, answered=False)
        shape = {**self._counts(), **{name: (int(lengths[name].max()),) for name in TEXTS}}
        for field, sense in self.config.senses.items():
            (longest,) = sense.edges([lengths[field]])[-1:]
            shape[field] = (sense.most, longest)
        return shape

    def _counts(self) -> dict[str, tuple[int, ...]]:
        """How many pictures and clips each row of a batch has room for; of clips no frame yet."""
        counts: dict[str, tuple[int, ...]] = {}
        if self.config.max_images:
            counts["image"] = (self.config.max_images,)
        for field, sense in self.config.senses.items():
            counts[field] = (sense.most, 0)
        return counts

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
        """The batch of conversations: "inputs", "mask", and "images", "sounds", "videos" with their
        masks where they have any.

        Args:
          conversations: messages {"role": ..., "content": a text, or parts {"type": "text", "text":
            ...}, {"type": "image", "image": a path, bytes, a Pillow image or an array} and {"type":
            "audio", "audio": a path, bytes, samples or a `Sound`}, and likewise "video"}.
          answer: they end where the assistant is to answer.

        Raises:
          CorruptExample: what is no conversation, or is too long.
        """
        if not answer:
            raise ConfigError("a conversation is written down for its next answer")
        examples = [_example(turns) for turns in conversations]
        for kind in messages.KINDS:
            if any(kind in example for example in examples):
                for example in examples:
                    example.setdefault(kind, [])
        names = dict.fromkeys(name for example in examples for name in example)
        return self.inputs({name: [example[name] for example in examples] for name in names})

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        """As every processor's, without what was said to it."""
        made = super().inputs(fields)
        return {name: made[name] for name in INPUTS if name in made}

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The pictures side by side, the clips as grey ones, the videos, and the words; the tokens
        of pictures, clips and videos leave no trace."""
        shown: dict[str, Any] = {}
        if "image" in arrays:
            pictures = arrays["image"][row]
            there = pictures[np.asarray(arrays["image_mask"][row])]
            if len(there):
                shown["image"] = np.concatenate(list(self.normalize.undone(there)), axis=1)
        for field, sense in self.config.senses.items():
            if field in arrays:
                shown |= sense.shown(arrays[field][row], arrays[f"{field}_mask"][row])
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


def _example(turns: Sequence[Mapping[str, Any]]) -> Example:
    """A conversation with its pictures and clips, each in its place."""
    turns, held = messages.joined(turns)
    things = {kind: [raw(kind, thing) for thing in held[kind]] for kind in held}
    return {"conversation": turns, **things}


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
        tokenizer = _extended(vocabularies.load(config.tokenizer), config)
        return Processor(config, tokenizer, _rounded(tokenizer.vocab_size))
    trainer = TRAINED.get(config.tokenizer, bpe)
    if sources is None:  # on paper it has all the entries that it may have
        tokenizer = trainer.train(["what is said"], config.vocab_size, specials=config.specials)
        return Processor(config, tokenizer, config.vocab_size)
    said = told.texts(config, sources())
    return Processor(config, trainer.train(said, config.vocab_size, specials=config.specials))


def _extended(tokenizer: Tokenizer, config: Config) -> Tokenizer:
    """With the tokens that its vocabulary lacks, behind it."""
    in_words = (IMAGE, *config.specials[len(SPECIALS) :])
    wanted = config.specials if config.roles == "tokens" else in_words
    backend = tokenizer.copy_of_backend()
    backend.add_special_tokens([name for name in wanted if name not in tokenizer.special])
    return Tokenizer(backend, clean=tokenizer.clean)


def _rounded(entries: int) -> int:
    """A number of entries that devices can share evenly: LLaVA has 32,064 for 32,002."""
    return -(-entries // 64) * 64


def paper(config: Config) -> Example:
    """A black picture, a silent clip and a black video, where the model takes them, a question and
    an answer as long as may be, for plans on paper."""
    example: Example = {}
    taken = 48  # the question and the roles
    if config.max_images:
        example["image"] = np.zeros((64, 64, 3), np.uint8)
        taken += config.tokens
    for field, sense in config.senses.items():
        example[field] = sense.paper()
        taken += sense.room()
    letters = max(1, config.max_length - taken)
    example[config.question] = "what is in the picture"
    return {**example, config.answer: "q" * letters, "group": 0}
