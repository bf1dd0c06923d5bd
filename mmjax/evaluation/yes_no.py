"""Yes-or-no questions about what is in a picture, as POPE asks them of models that see things that
are not there (Li et al. 2023, https://arxiv.org/abs/2305.10355).

* An answer is no if its first sentence has the word "no" or "not", else yes, as in POPE's code.
* Precision, recall and F1 are of the answer yes; "yes" is the share of that answer, which is half
  where the questions are balanced and the model does not lean.
"""

import dataclasses

import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Result
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.texts import Texts


@dataclasses.dataclass(frozen=True)
class YesNo(Texts):
    reference: str = "answer"  # column, or field, that is "yes" or "no"
    questions: str = "text"  # column, or field, that is shown beside them; "": none

    def finish(self, rows: Rows, context: Context) -> Result:
        wanted = np.array([self._wanted(texts[0]) for texts in self.references(rows, context)])
        predictions = self.predictions(rows, context)
        said = np.array([is_yes(text) for text in predictions])
        right = said == wanted
        both = float(np.sum(said & wanted))
        precision = both / max(int(said.sum()), 1)
        recall = both / max(int(wanted.sum()), 1)
        metrics = {
            "accuracy": float(right.mean()),
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / max(precision + recall, 1e-12),
            "yes": float(said.mean()),
        }
        majority = max(float(wanted.mean()), 1 - float(wanted.mean()))
        queries = {"accuracy": right.astype(np.float64), "index": rows["index"]}
        media = {}
        if self.keep:
            answers = ["yes" if yes else "no" for yes in wanted]
            media["answers"] = self.shown(rows, context, predictions, answers, right)
        return Result(metrics, {"majority": {"accuracy": majority}}, media, queries)

    def _wanted(self, text: str) -> bool:
        answer = text.strip().lower()
        if answer not in ("yes", "no"):
            raise ConfigError(
                f"{self.reference!r} is {text!r} in a row: here every answer is yes or no"
            )
        return answer == "yes"


def is_yes(text: str) -> bool:
    """Whether an answer says yes."""
    words = text.lower().split(".")[0].replace(",", "").split()
    return "no" not in words and "not" not in words


Config = YesNo  # what a config's sub-tree of this evaluator is turned into
