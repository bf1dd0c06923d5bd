"""Things between words that all become arrays of one shape, and as many tokens each.

* Tunes (tunes.py) and clips of pictures (watched.py); sounds of any length are sounds.py. What
  processors/dialogue.py asks of a sense is what `Whole` has.
* `tokens` is stated, as the model's tower makes them: another number is refused before anything is
  compiled.

Letters: M things of a row at most, T units of one (frames).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mmjax.data import messages
from mmjax.data.batching import Transform
from mmjax.data.messages import Kind
from mmjax.data.source import CorruptExample, Example
from mmjax.transforms.dialogue import things_of
from mmjax.typing import Positive


@dataclasses.dataclass(frozen=True)
class EachWhole:
    """One thing, several or none -> [M, T, ...], "<field>_mask" [M, T], and "<field>_tokens"."""

    steps: tuple[Transform, ...]  # of a single thing
    kind: Kind  # what it is
    tokens: int  # that each becomes
    most: int  # M; an example with more is corrupt
    shape: tuple[int, ...]  # T, ... of one

    @property
    def field(self) -> str:
        return self.kind.field

    @property
    def deterministic(self) -> bool:
        """Whether it may be remembered by the pipeline's cache."""
        return all(getattr(step, "deterministic", False) for step in self.steps)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        """Raises CorruptExample for a thing that cannot be used."""
        field = self.field
        things = things_of(example, field)
        check_count(len(things), self.most, self.kind)
        made = np.zeros((len(things), *self.shape), np.float32)
        for place, thing in enumerate(things):
            single: Example = {field: messages.contents(thing, self.kind.things.removesuffix("s"))}
            for step in self.steps:
                single = step(single, rng)
            made[place] = single[field]
        there = np.ones((len(things), self.shape[0]), bool)
        counts = (self.tokens,) * len(things)
        return {**example, field: made, f"{field}_mask": there, f"{field}_tokens": counts}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    """A sense whose things are alike; subclasses are Configs, and say how one is prepared."""

    tokens: Positive  # that a thing becomes in a prompt, as many as the model's tower makes
    most: Positive = 1  # M: a row has at most so many
    kind: ClassVar[Kind]  # what its things are

    @property
    def shape(self) -> tuple[int, ...]:
        """T, ... of one thing."""
        raise NotImplementedError

    def steps(self, train: bool) -> tuple[Transform, ...]:
        """What becomes of a single thing."""
        raise NotImplementedError

    def behind(self, train: bool) -> tuple[Transform, ...]:
        """What becomes of an example whose things are prepared."""
        return ()

    def transforms(self, train: bool) -> tuple[Transform, ...]:
        """Conversation and raw things -> prepared things."""
        each = EachWhole(self.steps(train), self.kind, self.tokens, self.most, self.shape)
        return (each, *self.behind(train))

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Of the model's tower, as `Processor.sizes` has them."""
        return {f"{self.kind.field}.count": self.tokens}

    @property
    def texts(self) -> tuple[str, ...]:
        """What may be said besides what the data say."""
        return ()

    def grown(self, text: str, count: Callable[[str], int]) -> str:
        """A text of training as long as it may become.

        count: how many tokens a text has.
        """
        return text

    def measured(self, example: Example) -> tuple[Example, int]:
        """An example with its "<field>_tokens", and T; nothing is opened.

        Raises:
          CorruptExample: too many things.
        """
        count = len(things_of(example, self.kind.field))
        check_count(count, self.most, self.kind)
        return {**example, f"{self.kind.field}_tokens": (self.tokens,) * count}, self.shape[0]

    def edges(self, lengths: Sequence[np.ndarray]) -> tuple[int, ...]:
        """T, which all batches have."""
        return (self.shape[0],)

    def room(self) -> int:
        """Tokens of what `paper` returns."""
        return self.tokens

    def paper(self) -> Any:
        """A raw thing that needs no data."""
        raise NotImplementedError

    def shown(self, things: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        """The things of a row as people see them."""
        raise NotImplementedError


def check_count(count: int, most: int, kind: Kind) -> None:
    """Raises CorruptExample for a row with more things than it has room for."""
    if count > most:
        raise CorruptExample(f"{count} {kind.things}, more than {kind.field}.most={most}")
