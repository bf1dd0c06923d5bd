"""Classes that hold at once: names or numbers of an example -> 0 and 1 of each class."""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

import numpy as np

from mmjax.data.source import CorruptExample, Example


@dataclasses.dataclass(frozen=True)
class MultiHot:
    """`field` -> `label` int32 [V], 1 where a class holds.

    The field is one number or several; or one text or several, in which each name that stands as
    whole words counts.
    """

    classes: int  # V
    names: tuple[str, ...] = ()  # of the classes; (): the field has numbers
    field: str = "labels"
    label: ClassVar[str] = "label"  # field that is made
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        """Raises CorruptExample for a class that there is not, or a field that is missing."""
        if self.field not in example:
            raise CorruptExample(f"there is no {self.field!r} that says which classes hold")
        value = example[self.field]
        given = [value] if isinstance(value, str | int | np.integer) else list(value)
        held = np.zeros(self.classes, np.int32)
        for one in given:
            for number in self._numbers(one):
                if not 0 <= number < self.classes:
                    raise CorruptExample(
                        f"class {number} of {self.field!r}; they are 0 to {self.classes - 1}"
                    )
                held[number] = 1
        rest = {name: example[name] for name in example if name != self.field}
        return {**rest, self.label: held}

    def _numbers(self, one: str | int) -> list[int]:
        if not isinstance(one, str):
            return [int(one)]
        if not self.names:
            raise CorruptExample(
                f"{self.field!r} has the text {one!r}: give classes by number, or give names"
            )
        plain = one.lower()
        found = [re.search(rf"\b{re.escape(name.lower())}\b", plain) for name in self.names]
        return [number for number, there in enumerate(found) if there]
