"""What a description states: each attribute is read out of the sentence and held against a label.

* Of an attribute's classes the one counts that the sentence names; of names inside one another
  ("slip jig", "jig") the longer one. None of them, or two: the attribute is wrong.
* "<field>/accuracy/top1" over the rows whose label is known, so it stands beside the accuracy of a
  classifier of the same label (classification.py); "<field>/stated", the share of these rows whose
  sentence names any class; "accuracy", over all attributes of all rows.
* Texts are compared in lower case and without punctuation.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Result
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.texts import Texts, normalised


@dataclasses.dataclass(frozen=True)
class Attributes(Texts):
    """Fields: texts.py."""

    reference: str = "answer"  # column, or field, of what should be said
    # label field -> how a sentence names each of its classes; a label below 0 is not known
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def check(self, context: Context) -> None:
        super().check(context)
        if not self.names:
            raise ConfigError("names are empty: name the attributes and their classes")
        for field, names in self.names.items():
            labels = context.source.column(field)
            if labels is None:
                raise ConfigError(f"names.{field}: the data has no column of that name")
            if np.max(labels) >= len(names):
                raise ConfigError(
                    f"names.{field} has {len(names)} names, and the data has class {np.max(labels)}"
                )

    def finish(self, rows: Rows, context: Context) -> Result:
        said = self.predictions(rows, context)
        result = self.compare(said, rows["index"], context)
        if self.keep:
            wanted = [" | ".join(texts) for texts in self.references(rows, context)]
            right = [normalised(a) == normalised(b) for a, b in zip(said, wanted, strict=True)]
            result.media["descriptions"] = self.shown(rows, context, said, wanted, np.array(right))
        return result

    def compare(self, said: Sequence[str], index: np.ndarray, context: Context) -> Result:
        """The metrics of the sentences that were said to some rows."""
        metrics: dict[str, float] = {}
        queries: dict[str, np.ndarray] = {}
        right_in_all: list[np.ndarray] = []
        for field, names in self.names.items():
            labels = np.asarray(context.source.column(field))[index]
            known = labels >= 0
            if not known.any():
                raise ConfigError(f"names.{field}: no evaluated row has a known label")
            stated = stated_classes(said, names)[known]
            right = (stated == labels[known]).astype(np.float64)
            metrics[f"{field}/accuracy/top1"] = float(right.mean())
            metrics[f"{field}/stated"] = float((stated >= 0).mean())
            queries[f"{field}/accuracy/top1"] = right
            queries[f"{field}/accuracy/index"] = index[known]
            right_in_all.append(right)
        metrics["accuracy"] = float(np.concatenate(right_in_all).mean())
        return Result(metrics, queries=queries)


def stated_classes(texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Of each text the number of the only class that it names, -1 where it names none or several,
    int [R]."""
    plain = [normalised(name) for name in names]
    longest_first = sorted(plain, key=len, reverse=True)
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b")
    found = []
    for text in texts:
        named = set(pattern.findall(normalised(text)))
        found.append(plain.index(named.pop()) if len(named) == 1 else -1)
    return np.array(found)


Config = Attributes  # what a config's sub-tree of this evaluator is turned into
