"""What the table says of a kernel, seen as a linear map of a file: its names, sides and order.

A layout such as "(N H) D -> D N H" has the file's axes on the left, one group for the outputs and
one for the inputs, and ours on the right, inputs first.
"""

from __future__ import annotations

import dataclasses
import math
import re

from mmjax.conversion.mapping.fields import Unsupported
from mmjax.conversion.mapping.table import Entry


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """The row of a kernel."""

    entry: Entry

    @property
    def path(self) -> str:
        """Of the map among our parameters."""
        return self.entry.path.removesuffix("/kernel")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the map in the file, one for each layer."""
        return tuple(name.removesuffix(".weight") for name in self.entry.names)

    @property
    def _groups(self) -> list[str]:
        """Axes of the file's tensor: "(N H)", "D"."""
        return re.findall(r"\([^)]*\)|\S+", self._layout[0])

    @property
    def _layout(self) -> list[str]:
        return (self.entry.layout or "D F -> D F").split("->")

    def check(self) -> None:
        """Raises Unsupported: no plain linear map, so that nothing of this file applies to it."""
        # the weight of torch's MultiheadAttention is called in_proj_weight
        if not self.entry.name.endswith(".weight") or len(self._groups) != 2:
            raise Unsupported(
                f"{self.entry.name} is no plain linear map: a LoRA on it is not converted"
            )

    @property
    def keeps_inputs_first(self) -> bool:
        """Whether the file keeps [in, out], as GPT-2's: peft's fan_in_fan_out."""
        theirs, ours = (re.findall(r"\w+", side) for side in self._layout)
        if self.entry.index is not None:
            shared = ours[0]  # the axis that tells the maps of one tensor apart
            theirs = [letter for letter in theirs if letter != shared]
            ours = ours[1:]
        return theirs == ours

    @property
    def parts(self) -> int:
        """How many of our maps the file's tensor holds, one behind the other in its outputs."""
        if self.entry.index is None:
            return 1
        return self.entry.sizes[self._layout[1].split()[0]]

    def sides(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Numbers of inputs and outputs of our kernel of this shape, layers included."""
        inputs = self._groups[0] if self.keeps_inputs_first else self._groups[1]
        axes = len(re.findall(r"\w+", inputs))
        shape = shape[self.entry.layers is not None :]
        return math.prod(shape[:axes]), math.prod(shape[axes:])
