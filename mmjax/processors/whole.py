"""Things between words that become arrays of one shape, and as many tokens each; or of one shape
but for their length, which says how many tokens.

* Tunes (tunes.py) and clips of pictures (watched.py); sounds of any length are sounds.py. What
  processors/dialogue.py asks of a sense is what `Whole` has.
* `tokens` is stated, as the model's tower makes them of the longest thing: another number is
  refused before anything is compiled.

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
    """One thing, several or none -> [M, T, ...], "<field>_mask" [M, T], and "<field>_tokens"; T is
    that of the longest of them."""

    steps: tuple[Transform, ...]  # of a single thing
    sense: Whole  # what it is

    @property
    def field(self) -> str:
        return self.sense.kind.field

    @property
    def deterministic(self) -> bool:
        """Whether it may be remembered by the pipeline's cache."""
        return all(getattr(step, "deterministic", False) for step in self.steps)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        """Raises CorruptExample for a thing that cannot be used."""
        field = self.field
        sense = self.sense
        things = things_of(example, field)
        check_count(len(things), sense.most, sense.kind)
        made = []
        for thing in things:
            raw = messages.contents(thing, sense.kind.things.removesuffix("s"))
            single: Example = {field: raw}
            for step in self.steps:
                single = step(single, rng)
            made.append(sense.own(single))
        lengths = [len(one) for one in made]
        longest = max(lengths, default=sense.empty)
        values = np.zeros((len(made), longest, *sense.shape[1:]), np.float32)
        there = np.zeros((len(made), longest), bool)
        for place, one in enumerate(made):
            values[place, : len(one)] = one
            there[place, : len(one)] = True
        counts = tuple(map(sense.count, lengths))
        return {**example, field: values, f"{field}_mask": there, f"{field}_tokens": counts}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    """A sense whose things are alike; subclasses are Configs, and say how one is prepared."""

    tokens: Positive  # that the longest thing becomes in a prompt, as the model's tower makes them
    most: Positive = 1  # M: a row has at most so many
    kind: ClassVar[Kind]  # what its things are
    # so many batches are dealt out anew, by the lengths of their things; 0: they come as planned
    alike: ClassVar[int] = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """T, ... of the longest thing."""
        raise NotImplementedError

    @property
    def fixed(self) -> bool:
        """Whether all things have the length T."""
        return True

    @property
    def empty(self) -> int:
        """T of a row without things."""
        return self.shape[0] if self.fixed else 1

    def own(self, prepared: Example) -> np.ndarray:
        """What the steps have made of a thing, at its own length."""
        return prepared[self.kind.field]

    def length(self, thing: Any) -> int:
        """T of a raw thing, of which nothing is opened."""
        return self.shape[0]

    def count(self, length: int) -> int:
        """Tokens of a thing of so many units."""
        return self.tokens

    def steps(self, train: bool) -> tuple[Transform, ...]:
        """What becomes of a single thing."""
        raise NotImplementedError

    def behind(self, train: bool) -> tuple[Transform, ...]:
        """What becomes of an example whose things are prepared."""
        return ()

    def transforms(self, train: bool) -> tuple[Transform, ...]:
        """Conversation and raw things -> prepared things."""
        return (EachWhole(self.steps(train), self), *self.behind(train))

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
        things = things_of(example, self.kind.field)
        check_count(len(things), self.most, self.kind)
        lengths = [self.length(thing) for thing in things]
        counts = tuple(map(self.count, lengths))
        longest = max(lengths, default=self.empty)
        return {**example, f"{self.kind.field}_tokens": counts}, longest

    def edges(self, lengths: Sequence[np.ndarray]) -> tuple[int, ...]:
        """T that batches have, rising; the last holds the longest thing."""
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
