"""Word error rate: insertions, deletions and substitutions over the words that were said.

* A ratio of sums over all rows, so long utterances count for more; it may exceed 1.
* Both texts are made comparable first: lower case, Unicode NFKC, punctuation but apostrophes left
  out. It is no full normaliser: "20" and "twenty" are two words.
* `unit` = "character" gives the character error rate, for languages that do not part words.
* People see which kind the errors are, and the rows with the most of them, what was said above what
  was heard, wrong words in capitals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mmjax.data.source import DataError
from mmjax.evaluation.base import Context, Ratio, Result, draw
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.texts import Texts, normalised
from mmjax.typing import Int

KINDS = ("substitutions", "deletions", "insertions")


@dataclasses.dataclass(frozen=True)
class WordErrors(Texts):
    unit: Literal["word", "character"] = "word"  # what is counted
    normalise: bool = True  # compare lower case without punctuation

    @property
    def metric(self) -> str:
        return {"word": "wer", "character": "cer"}[self.unit]

    def finish(self, rows: Rows, context: Context) -> Result:
        count = len(rows["index"])
        references = [texts[0] for texts in self.references(rows, context)]  # of several the first
        predictions = self.predictions(rows, context)
        said = [self.split(text) for text in references]
        heard = [self.split(text) for text in predictions]
        found = Report.of(said, heard)
        if not found.words:
            raise DataError(f"not one of {count} references holds a {self.unit}")
        rate = Ratio(found.errors, found.lengths)
        queries = {self.metric: rate, "index": rows["index"]}
        metrics = {self.metric: rate.value}
        for kind in KINDS:
            metrics[f"{self.metric}_{kind}"] = getattr(found, kind) / found.words
        shown = [
            f"{references[row]}\n{predictions[row]}" for row in draw(count, self.keep).tolist()
        ]
        media = {}
        if shown:
            media["transcripts"] = "\n\n".join(shown)
            wrong = found.worst(self.keep)
            media["worst"] = "\n\n".join(side_by_side(said[row], heard[row]) for row in wrong)
        return Result(metrics, media=media, queries=queries)

    def split(self, text: str) -> list[str]:
        """The words, or characters, of a text."""
        if self.normalise:
            text = normalised(text)
        words = text.split()
        return words if self.unit == "word" else list(" ".join(words))


class Report(NamedTuple):
    """The errors of many texts."""

    kinds: Int[np.ndarray, "R 3"]  # of each text, in the order of KINDS
    lengths: Int[np.ndarray, " R"]  # words of each reference

    @classmethod
    def of(cls, said: Sequence[Sequence[Any]], heard: Sequence[Sequence[Any]]) -> Report:
        """Of texts in words."""
        kinds = np.zeros((len(said), len(KINDS)), np.int64)
        for row, (one, other) in enumerate(zip(said, heard, strict=True)):
            for wanted, got in alignment(one, other):
                if wanted is None or got is None or wanted != got:
                    kinds[row, 2 if wanted is None else int(got is None)] += 1
        return cls(kinds, np.array([len(one) for one in said], np.int64))

    @property
    def errors(self) -> Int[np.ndarray, " R"]:
        """Of each text."""
        return self.kinds.sum(1)

    @property
    def words(self) -> int:
        """Of all references."""
        return int(self.lengths.sum())

    @property
    def rate(self) -> float:
        """Errors for each word that was said."""
        return float(self.kinds.sum() / max(1, self.words))

    @property
    def substitutions(self) -> int:
        """Words in the place of others."""
        return int(self.kinds[:, 0].sum())

    @property
    def deletions(self) -> int:
        """Words that were not heard."""
        return int(self.kinds[:, 1].sum())

    @property
    def insertions(self) -> int:
        """Words that were not said."""
        return int(self.kinds[:, 2].sum())

    def worst(self, count: int) -> list[int]:
        """The texts with the most errors, the worst first; of equal ones the shorter."""
        order = np.lexsort((self.lengths, -self.errors))
        return [int(row) for row in order[:count] if self.errors[row]]


def report(references: Sequence[str], predictions: Sequence[str]) -> Report:
    """The word errors of texts as they are; see `texts.normalised`."""
    split = [[text.split() for text in texts] for texts in (references, predictions)]
    return Report.of(*split)


def distances(reference: Sequence[Any], prediction: Sequence[Any]) -> Int[np.ndarray, "I J"]:
    """The fewest insertions, deletions and substitutions that turn the first i items of one into
    the first j of the other (Levenshtein, 1966)."""
    table = np.zeros((len(reference) + 1, len(prediction) + 1), np.int64)
    table[0] = np.arange(len(prediction) + 1)
    place = np.arange(len(prediction) + 1)
    # words as numbers, to be compared a row at a time
    numbers = {item: number for number, item in enumerate(dict.fromkeys(prediction))}
    got = np.array([numbers[item] for item in prediction], np.int64)
    for i, wanted in enumerate(reference, 1):
        above = table[i - 1]
        row = above + 1  # left out
        kept = above[:-1] + (got != numbers.get(wanted, -1))  # kept or replaced
        row[1:] = np.minimum(row[1:], kept)
        # put in: one more than the place before, again and again
        table[i] = np.minimum.accumulate(row - place) + place
    return table


def edit_distance(reference: Sequence[Any], prediction: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that turn one into the other."""
    return int(distances(reference, prediction)[-1, -1])


def alignment(
    reference: Sequence[Any], prediction: Sequence[Any]
) -> list[tuple[Any | None, Any | None]]:
    """Pairs (said, heard) of one shortest way from one to the other; None: no counterpart."""
    table = distances(reference, prediction)
    i = len(reference)
    j = len(prediction)
    pairs: list[tuple[Any | None, Any | None]] = []
    while i or j:
        here = table[i, j]
        if i and j and here == table[i - 1, j - 1] + (reference[i - 1] != prediction[j - 1]):
            i -= 1
            j -= 1
            pairs.append((reference[i], prediction[j]))
        elif i and here == table[i - 1, j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, prediction[j]))
    return pairs[::-1]


def side_by_side(said: Sequence[str], heard: Sequence[str]) -> str:
    """Two lines, words below each other; wrong ones in capitals, missing ones as asterisks."""
    lines: list[list[str]] = [[], []]
    for wanted, got in alignment(said, heard):
        right = wanted == got
        width = max(len(wanted or ""), len(got or ""))
        for line, word in zip(lines, (wanted, got), strict=True):
            shown = "*" * width if word is None else word if right else word.upper()
            line.append(shown.ljust(width))
    return "\n".join(" ".join(line).rstrip() for line in lines)


Config = WordErrors  # what a config's sub-tree of this evaluator is turned into
