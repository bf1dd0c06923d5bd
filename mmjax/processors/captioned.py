"""The text half of processors that pair something with captions: image_text.py, audio_text.py.

* In training one caption of a row is drawn; evaluation keeps all of them, [K, L].
* Captions are padded to `pad_to`, to the batch's length bucket, or packed.

Letters: K captions of a row, L tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.bucketing import worthwhile
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Bucketed, Packed, Shape, buckets
from mmjax.data.source import Source
from mmjax.processors import base, vocabularies
from mmjax.processors.base import AtLeast, Sources
from mmjax.processors.packed import ids_of
from mmjax.processors.raw import several
from mmjax.tokenizers import bpe, words
from mmjax.tokenizers.bpe import Tokenizer
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The part of a processor's config that is about captions."""

    max_length: Positive = 77  # tokens of a caption with its start and end
    pad_to: Natural = 0  # captions are padded to this many tokens; 0: to the batch's length bucket
    # lengths that batches are padded up to; (): at most 8 even steps, or one where more do not pay
    buckets: tuple[int, ...] = ()
    pack: Natural = 0  # captions of so many neighbouring examples share rows; 0: each has its own
    pack_length: Natural = 0  # tokens of such a row, at least max_length; 0: max_length
    # "clip", "open_clip", "gpt2", "bert"; path of a tokenizer.json or a hub folder; trained on the
    # training captions: "" byte-level BPE, "words" their whole words and no others
    tokenizer: str = ""
    vocab_size: Positive = 2048  # of the trained tokenizer, at most
    lowercase: bool = True  # of the trained tokenizer
    start: str = "<start>"  # special token before a caption; "": none
    end: str = "<end>"  # special token after a caption; "": none
    pad: str = "<pad>"  # special token behind a caption; "": id 0


class Processor(base.Processor):
    """Texts <-> token ids, and what they imply for plans and the model; the other half is added by
    who extends it."""

    ragged = {"text": 2, "text_mask": 2}
    arguments = {"text": "ids", "text_mask": "mask"}

    def __init__(self, config: Config, tokenizer: Tokenizer, vocab_size: int | None = None):
        """vocab_size: ids that the model has; None: those of the tokenizer."""
        self.config = config
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size or tokenizer.vocab_size
        special = {name: getattr(config, name) or None for name in ("start", "end", "pad")}
        self.tokenize = Tokenize(tokenizer, config.max_length, **special)

    def __eq__(self, other: object) -> bool:
        same = type(other) is type(self) and self.config == other.config
        return same and self.tokenizer.fingerprint == other.tokenizer.fingerprint

    def one_caption(self, drop_words: float) -> tuple[Transform, ...]:
        """In training: one of a row, without some of its words."""
        drop = (DropWords(drop_words),) if drop_words else ()
        return (ChooseCaption(), *drop, self.tokenize)

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Ids and positions, of which a text tower may have more."""
        return {
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
        """The caption that the ids spell."""
        return {"text": self.tokenizer.decode(ids_of(arrays, row))} if "text" in arrays else {}

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> Arrays:
        """As every processor's, captions padded to the longest length, so that a model is compiled
        once."""
        inputs = super().inputs(fields)
        for name, fill in (("ids", self.fill["text"]), ("mask", False)):
            if name in inputs:
                room = self.config.max_length - inputs[name].shape[-1]
                edges = [(0, 0)] * (inputs[name].ndim - 1) + [(0, room)]
                inputs[name] = np.pad(inputs[name], edges, constant_values=fill)
        return inputs

    def batch(self, field: str, values: Any, text: Any, refuse_unknown: bool) -> Arrays:
        """What a model is called with: one or several values of a field, texts, or both."""
        batch: Arrays = {}
        if values is not None:
            batch |= self.inputs({field: several(values)})
        if text is not None:
            texts = several(text)
            if refuse_unknown:
                self.check_known(texts)
            batch |= self.inputs({"text": texts})
        return batch

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


Made = TypeVar("Made", bound=Processor)


def with_tokenizer(
    kind: type[Made], config: Config, sources: Sources | None, saved: Path | None
) -> Made:
    """A processor with the tokenizer that was saved, that the config names, or that is trained on
    the captions now, in this order."""
    if saved is not None and (saved / TOKENIZER).exists():
        return kind(config, bpe.load(saved / TOKENIZER))
    if config.tokenizer not in TRAINED:
        return kind(config, vocabularies.load(config.tokenizer))
    trainer = TRAINED[config.tokenizer]
    if sources is None:  # on paper it has all the entries that it may have
        tokenizer = trainer.train([CAPTION], config.vocab_size, lowercase=config.lowercase)
        return kind(config, tokenizer, config.vocab_size)
    captions = all_captions(list(sources()))
    return kind(config, trainer.train(captions, config.vocab_size, lowercase=config.lowercase))


def paper(config: Config) -> str:
    """The longest caption, for plans on paper: none is longer."""
    return " ".join([CAPTION] * config.max_length)
