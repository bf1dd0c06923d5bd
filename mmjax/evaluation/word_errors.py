"""Word error rate: insertions, deletions and substitutions over the words that were said.

* A ratio of sums over all rows, so long utterances count for more; it may exceed 1.
* Both texts are made comparable first: lower case, Unicode NFKC, punctuation but apostrophes left
  out. It is no full normaliser: "20" and "twenty" are two words.
* `unit` = "character" gives the character error rate, for languages that do not part words.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mmjax.data.source import DataError
from mmjax.evaluation.base import Context, Ratio, Result, draw
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.texts import Texts, normalised


@dataclasses.dataclass(frozen=True)
class WordErrors(Texts):
    unit: Literal["word", "character"] = "word"  # what is counted
    normalise: bool = True  # compare lower case without punctuation

    @property
    def metric(self) -> str:
        return {"word": "wer", "character": "cer"}[self.unit]

    def finish(self, rows: Rows, context: Context) -> Result:
        count = len(rows["index"])
        errors = np.zeros(count, np.int64)
        units = np.zeros(count, np.int64)
        references = [texts[0] for texts in self.references(rows, context)]  # of several the first
        predictions = self.predictions(rows, context)
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
