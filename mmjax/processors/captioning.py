"""The processor of models that compare, match and describe (BLIP): image_text, and two more tokens
that say what a text is for.

* A text opens with `start` to be compared; the task puts [ENC] in its place where it is read beside
  an image, and [DEC] where it is written. Vocabularies that lack the two get them, behind all
  others, as BLIP's BERT has them.
* Rows with an `answer` are questions: `text` is read, `answer` is written; of several answers one
  is drawn at each visit. An evaluation keeps the question alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.plan import BatchPlan
from mmjax.data.source import Example, Source
from mmjax.processors import captioned, image_text, vocabularies
from mmjax.processors.base import AtLeast, Sources
from mmjax.tokenizers import bpe
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms.text import ChooseCaption, all_captions
from mmjax.typing import Natural

WRITE = "[DEC]"  # opens a text that is written
READ = "[ENC]"  # opens a text that is read beside an image
ANSWER = "answer"  # field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(image_text.Config):
    # tokens of an answer with its start and end, to which all are padded; 0: rows are captions
    answer_length: Natural = 0


class Processor(image_text.Processor):
    """Pixels, captions or questions, and answers."""

    config: Config
    ragged: ClassVar[Mapping[str, int]] = {
        **image_text.Processor.ragged, ANSWER: 1, f"{ANSWER}_mask": 1,
    }  # fmt: skip

    def __init__(self, config: Config, tokenizer: Tokenizer, vocab_size: int | None = None):
        super().__init__(config, tokenizer, vocab_size)
        if config.pack:
            raise ConfigError(
                "data.processor.pack: a text that is read beside its image shares its row with no "
                "other; set pack=0"
            )
        length = config.answer_length or config.max_length
        self.tokenize_answer = dataclasses.replace(self.tokenize, field=ANSWER, max_length=length)

    @property
    def train(self) -> tuple[Transform, ...]:
        if not self.config.answer_length:
            return super().train
        return (*super().train, ChooseCaption(ANSWER), self.tokenize_answer)

    @property
    def fill(self) -> Mapping[str, int]:
        return {**super().fill, **self.tokenize_answer.padding}

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The token that ends a text."""
        return (self.tokenizer.special[self.config.end],)

    @property
    def sizes(self) -> Mapping[str, Any]:
        special = self.tokenizer.special
        padding = self.fill["text"]
        return {
            "image.image_size": self.config.image_size,
            "vocab_size": AtLeast(self.vocab_size),
            "context_length": AtLeast(max(self.config.max_length, self.config.answer_length)),
            "start_id": special[WRITE],
            "match_id": special[READ],
            "end_ids": self.end_ids,
            "padding_id": padding,
            "generate.end_ids": self.end_ids,
            "generate.padding_id": padding,
        }

    def plan(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        if self.config.answer_length:
            shape = {**plan.shape, ANSWER: (self.config.answer_length,)}
            plan = dataclasses.replace(plan, shape=shape)
        return super().plan(plan, sources)

    def prompt(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """How written texts begin: `inputs` int32 [B, L] and `mask` bool [B, L], padded on the
        left.

        Args:
          texts: one for each row; "": a caption from its first word on.
        """
        rows = [[self.tokenizer.special[WRITE], *self.tokenizer.encode(text)] for text in texts]
        length = max(map(len, rows))
        ids = np.full((len(rows), length), self.fill["text"], np.int32)
        mask = np.zeros(ids.shape, bool)
        for row, written in enumerate(rows):
            ids[row, length - len(written) :] = written
            mask[row, length - len(written) :] = True
        return {"inputs": ids, "mask": mask}

    def decode(self, ids: Any) -> str:
        """Text of ids [L] that were written; ends and padding leave no trace."""
        return self.tokenizer.decode(ids)

    def resized(self, image_size: int) -> Processor:
        config = dataclasses.replace(self.config, image_size=image_size)
        return Processor(config, self.tokenizer, self.vocab_size)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor, with the tokenizer that was saved, that the config names, or that is trained
    on captions, questions and answers now, in this order."""
    if saved is not None and (saved / captioned.TOKENIZER).exists():
        return Processor(config, bpe.load(saved / captioned.TOKENIZER))
    if config.tokenizer not in captioned.TRAINED:
        return Processor(config, _opening(vocabularies.load(config.tokenizer)))
    trainer = captioned.TRAINED[config.tokenizer]
    kwargs = dict(specials=(*bpe.SPECIALS, WRITE, READ), lowercase=config.lowercase)
    if sources is None:  # on paper it has all the entries that it may have
        tokenizer = trainer.train([captioned.CAPTION], config.vocab_size, **kwargs)
        return Processor(config, tokenizer, config.vocab_size)
    opened = list(sources())
    texts = all_captions(opened)
    if config.answer_length:
        texts += all_captions(opened, ANSWER)
    return Processor(config, trainer.train(texts, config.vocab_size, **kwargs))


def _opening(tokenizer: Tokenizer) -> Tokenizer:
    """The vocabulary with the two tokens that it may lack."""
    missing = [name for name in (WRITE, READ) if name not in tokenizer.special]
    if not missing:
        return tokenizer
    backend = tokenizer.copy_of_backend()
    backend.add_special_tokens(missing)
    return Tokenizer(backend, "the vocabulary with BLIP's tokens", tokenizer.clean)


def paper(config: Config) -> Example:
    """A black picture and the longest text, for plans on paper."""
    example = image_text.paper(config)
    return {**example, ANSWER: "nothing"} if config.answer_length else example
