"""What is said of a clip follows what becomes of it: names of classes in a conversation."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from mmjax.data.batching import Transform
from mmjax.data.source import Example


@dataclasses.dataclass(frozen=True)
class Renamed:
    """A transform that changes labels, and the names of their classes wherever the turns of
    `conversation` have them as whole words; they change together, so a name that another label's
    class gets is not taken for its own."""

    step: Transform
    names: tuple[tuple[str, tuple[str, ...]], ...]  # label field -> its classes' names

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        out = self.step(example, rng)
        changed = {}
        for field, names in self.names:
            if field in example and example[field] >= 0:  # below 0: it is not known
                changed[names[int(example[field])]] = names[int(out[field])]
        if not changed or "conversation" not in out:
            return out
        pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, changed))})\b")
        turns = [
            {**turn, "content": pattern.sub(lambda found: changed[found[0]], turn["content"])}
            for turn in out["conversation"]
        ]
        return {**out, "conversation": turns}
