"""Captions beside what people wrote: CIDEr-D, BLEU, and the share that is exactly right.

* Texts are compared in lower case and without punctuation.
* CIDEr-D is that of cider.py, BLEU-4 that of the package `sacrebleu`
  (https://arxiv.org/abs/1804.08771), from 0 to 100 and over the whole corpus; an exact match is one
  with any of the references.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import sacrebleu

from mmjax.evaluation.base import Context, Result
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.measures import cider
from mmjax.evaluation.texts import Texts, normalised


@dataclasses.dataclass(frozen=True)
class Captions(Texts):
    """Fields: texts.py."""

    # what is exactly right is the text before this, such as the first name before ","; "": all
    name_before: str = ""

    def compare(self, said: Sequence[str], references: Sequence[Sequence[str]]) -> Result:
        """The metrics of texts, each beside what should have been said."""
        result = scored(
            [normalised(text) for text in said],
            [[normalised(text) for text in texts] for texts in references],
        )
        if self.name_before:
            exact = np.array([
                self._name(text) in map(self._name, texts)
                for text, texts in zip(said, references, strict=True)
            ], np.float64)  # fmt: skip
            result.queries["exact_match"] = exact
            result.metrics["exact_match"] = float(exact.mean())
        return result

    def _name(self, text: str) -> str:
        return normalised(text.partition(self.name_before)[0])

    def finish(self, rows: Rows, context: Context) -> Result:
        predictions = self.predictions(rows, context)
        references = self.references(rows, context)
        result = self.compare(predictions, references)
        result.queries["index"] = rows["index"]
        if self.keep:
            said = [normalised(text) for text in predictions]
            wanted = [" | ".join(map(normalised, texts)) for texts in references]
            exact = result.queries["exact_match"]
            notes = [f"CIDEr-D {value:.2f}" for value in result.queries["cider_d"]]
            shown = self.shown(rows, context, said, wanted, exact, notes)
            result.media["captions"] = shown
        return result


def scored(predictions: list[str], references: list[list[str]]) -> Result:
    """The metrics of texts that have been made comparable."""
    exact = np.array(
        [text in texts for text, texts in zip(predictions, references, strict=True)], np.float64
    )
    consensus = cider.cider_d(
        [text.split() for text in predictions],
        [[text.split() for text in texts] for texts in references],
    )
    # sacrebleu takes the first reference of every row, then the second, ...; missing ones are None
    most = max(len(texts) for texts in references)
    columns = [
        [texts[number] if number < len(texts) else None for texts in references]
        for number in range(most)
    ]
    bleu = sacrebleu.corpus_bleu(predictions, columns, tokenize="none").score
    metrics = {
        "exact_match": float(exact.mean()),
        "cider_d": float(consensus.mean()),
        "bleu4": float(bleu),
    }
    return Result(metrics, queries={"exact_match": exact, "cider_d": consensus})


Config = Captions  # what a config's sub-tree of this evaluator is turned into
