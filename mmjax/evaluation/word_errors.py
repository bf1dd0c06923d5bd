"""Word error rate: insertions, deletions and substitutions over the words that were said.

* A ratio of sums over all rows, so long utterances count for more; it may exceed 1.
* Both texts are made comparable first: lower case, Unicode NFKC, punctuation but apostrophes left
  out. It is no full normaliser: "20" and "twenty" are two words.
* `unit` = "character" gives the character error rate, for languages that do not part words.
* Predictions come as a batch's fields (token ids, and a mask where there is one) and are read as
  words by the processor's `show`.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.source import DataError
from mmjax.evaluation.base import Context, Evaluator, Ratio, Result, draw
from mmjax.evaluation.gather import Rows


@dataclasses.dataclass(frozen=True)
class WordErrors(Evaluator):
    predict: str = "generate"  # the task's predict function
    text: str = "text"  # key of the predicted ids, which is the processor's field that they are of
    reference: str = "text"  # column, or field, of what was said
    unit: Literal["word", "character"] = "word"  # what is counted
    normalise: bool = True  # compare lower case without punctuation

    @property
    def metric(self) -> str:
        return {"word": "wer", "character": "cer"}[self.unit]

    @property
    def _fields(self) -> tuple[str, str]:
        return self.text, f"{self.text}_mask"

    def check(self, context: Context) -> None:
        if context.source.column(self.reference) is None:
            example = context.source[0]
            if self.reference not in example:
                raise ConfigError(
                    f"the data has no {self.reference!r} to compare with; it has "
                    f"{', '.join(example)}"
                )

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        out = predict(variables, batch)
        if self.text not in out:
            raise ConfigError(f"predict gave no {self.text!r}, only {', '.join(out)}")
        return {name: out[name] for name in self._fields if name in out}

    def finish(self, rows: Rows, context: Context) -> Result:
        arrays = {name: rows[name] for name in self._fields if name in rows}
        count = len(rows["index"])
        errors = np.zeros(count, np.int64)
        units = np.zeros(count, np.int64)
        references = self._references(rows, context)
        predictions = [context.show(arrays, row)[self.text] for row in range(count)]
        for row, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
            said = self.split(reference)
            errors[row] = edit_distance(said, self.split(prediction))
            units[row] = len(said)
        if not units.sum():
            raise DataError(f"not one of {count} references holds a {self.unit}")
        rate = Ratio(errors, units)
        queries = {self.metric: rate, "index": rows["index"]}
        shown = [
            f"{references[row]}\n{predictions[row]}" for row in draw(count, self.keep).tolist()
        ]
        media = {"transcripts": "\n\n".join(shown)} if shown else {}
        return Result({self.metric: rate.value}, media=media, queries=queries)

    def split(self, text: str) -> list[str]:
        """The words, or characters, of a text."""
        if self.normalise:
            text = normalised(text)
        words = text.split()
        return words if self.unit == "word" else list(" ".join(words))

    def _references(self, rows: Rows, context: Context) -> list[str]:
        column = context.source.column(self.reference)
        texts = []
        for index in rows["index"]:
            if column is not None:
                text = column[index]
            else:
                text = context.decode(int(index))[self.reference]
            texts.append(text if isinstance(text, str) else text[0])  # of several the first
        return texts


def normalised(text: str) -> str:
    """Lower case, compatibility characters resolved, punctuation but apostrophes as spaces."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(re.sub(r"[^\w\s']|_", " ", text).split())


def edit_distance(reference: Sequence[Any], prediction: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that turn one into the other
    (Levenshtein, 1966)."""
    # distances[j]: between the items of `reference` so far and the first j of `prediction`
    distances = list(range(len(prediction) + 1))
    for i, wanted in enumerate(reference, 1):
        diagonal = distances[0]
        distances[0] = i
        for j, got in enumerate(prediction, 1):
            best = min(
                diagonal + (wanted != got),  # kept or replaced
                distances[j] + 1,  # left out
                distances[j - 1] + 1,  # put in
            )
            diagonal = distances[j]
            distances[j] = best
    return distances[-1]


Config = WordErrors  # what a config's sub-tree of this evaluator is turned into
