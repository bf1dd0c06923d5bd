"""What stands between raw examples and a model's fields, in both directions: one protocol.

* Training, evaluation, a restored run, a loaded checkpoint, embedding, search, chat and serving all
  go through a `Processor`; nothing outside of it knows which modalities there are. It owns its
  tokenizers, lengths and special tokens.
* A module of this room has a `Config`, and

      build(config, sources, saved) -> Processor    trains or loads what it needs
      paper(config) -> Example                      a raw example that needs no data

  `sources` is a function that opens the training data (a processor whose tokenizer is saved never
  calls it), or None: on paper, where there is no data. `saved` is a folder that an earlier `save`
  wrote into, or None.
* A transform says with `field` which field it works on, so that examples that hold only some of the
  fields (a query, a caption to embed) pass by the transforms of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.config import ConfigError
from mmjax.data import collation
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Shape
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.processors.raw import raw

Sources = Callable[[], Sequence[Source]]
# What a batch holds beside the fields of a model, and the ending of what only the host counts.
BOOKKEEPING = ("weight", "index", "source")
COUNTED = "_truncated"


class AtLeast(int):
    """A size that the data needs, of which a model may have more: ids, positions, classes."""


class Processor:
    """Defaults for a modality whose fields all have fixed shapes."""

    config: Any  # of its module
    # fields that differ in length from row to row -> how many leading axes are padded
    ragged: ClassVar[Mapping[str, int]] = {}
    # name of a field -> name of the argument of the model's call, where it is another
    arguments: ClassVar[Mapping[str, str]] = {}

    @property
    def train(self) -> tuple[Transform, ...]:
        """Raw example -> the model's fields, with augmentation."""
        return self.evaluate

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """The same without any chance in it."""
        raise TypeError(f"{type(self).__name__} has no transforms: define evaluate")

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Fields of the model's and the task's configs that follow from the data, by dotted path.

        Each takes those that it has. `AtLeast` marks sizes of which more does no harm.
        """
        return {}

    def lengths(self, source: Source) -> Mapping[str, np.ndarray]:
        """A bound of each row's length, int [rows], for ragged fields known without decoding."""
        return {}

    def plan(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        """The plan of training with the lengths that fields are padded to, or packed in."""
        return plan

    def shape(self, source: Source) -> Shape:
        """What ragged fields of an evaluation's source are padded to."""
        return {}

    def collate(self, examples: Sequence[Example]) -> Arrays:
        """Transformed examples -> one batch; ragged fields are padded to the longest of them.

        Adds "<field>_mask" for padded fields, weight, index and source, as the pipeline does.

        Raises:
          ValueError: examples that do not have the same fields.
        """
        batch = collation.collate(examples, self.ragged, self.fill)
        rows = len(examples)
        return {
            **batch,
            "weight": np.ones(rows, np.float32),
            "index": np.arange(rows, dtype=np.int32),
            "source": np.zeros(rows, np.int32),
        }

    @property
    def fill(self) -> Mapping[str, int]:
        """What ragged fields are padded with, 0 where nothing is said."""
        padding: dict[str, int] = {}
        for transform in self.evaluate:
            padding |= getattr(transform, "padding", {})
        return padding

    def encode(self, examples: Sequence[Example]) -> Arrays:
        """Raw examples, with any of the fields but all with the same -> a batch, without chance.

        A picture or a sound is the path of a file, its bytes, or what a transform takes besides:
        a Pillow image, uint8 [H, W, 3], samples.

        Raises:
          CorruptExample: one that cannot be used. OSError: a file that cannot be read.
        """
        rng = np.random.default_rng(0)  # which nothing is drawn from
        rows = []
        for example in examples:
            made = {name: raw(name, value) for name, value in example.items()}
            for transform in self.evaluate:
                if _applies(transform, made):
                    made = transform(made, rng)
            rows.append(made)
        return self.collate(rows)

    @property
    def takes(self) -> tuple[str, ...]:
        """The raw fields that it prepares."""
        fields = (getattr(transform, "field", None) for transform in self.evaluate)
        return tuple(dict.fromkeys(field for field in fields if field is not None))

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Raw values of some fields, as many of each -> arguments of the model's call, by name.

        Raises:
          CorruptExample: a value that cannot be used.
        """
        columns = zip(*fields.values(), strict=True)
        batch = self.encode([dict(zip(fields, row, strict=True)) for row in columns])
        return {
            self.arguments.get(name, name): value
            for name, value in batch.items()
            if name not in BOOKKEEPING and not name.endswith(COUNTED)
        }

    def resized(self, image_size: int) -> Processor:
        """The same for a model that sees pictures of another size.

        Raises:
          ConfigError: it has no size of pictures.
        """
        raise ConfigError(f"{type(self).__module__} has no size of pictures to change")

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """A row of a batch as a person sees it: by name a text, a picture (uint8 [H, W, 3]), a
        clip (uint8 [T, H, W, 3]), a `transforms.video.Video` or a `transforms.audio.Sound`."""
        return {}

    def knows(self, text: str) -> bool:
        """Whether anything of a text is left in its ids."""
        return True

    def check_known(self, texts: Sequence[str]) -> None:
        """Raises CorruptExample where a text holds no word that the tokenizer knows."""
        for text in texts:
            if not self.knows(text):
                raise CorruptExample(f"{text!r} holds no word that the tokenizer knows")

    def save(self, folder: Path) -> None:
        """Writes what `build` finds there again, each file whole or not at all."""


def _applies(transform: Transform, example: Example) -> bool:
    field = getattr(transform, "field", None)
    return field is None or field in example
