"""What evaluators of generated texts share: predictions as words, and what should have been said.

* Predictions come as a batch's fields (token ids, and a mask where there is one) and are read as
  words by the processor's `show`.
* References are a column or a field of the data: one text a row, or several.
"""

import dataclasses
import re
import unicodedata
from typing import Any

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Evaluator
from mmjax.evaluation.gather import Rows


@dataclasses.dataclass(frozen=True)
class Texts(Evaluator):
    predict: str = "generate"  # the task's predict function
    text: str = "text"  # key of the predicted ids, which is the processor's field that they are of
    reference: str = "text"  # column, or field, of what should be said

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

    def predictions(self, rows: Rows, context: Context) -> list[str]:
        """What was said to each row."""
        arrays = {name: rows[name] for name in self._fields if name in rows}
        return [context.show(arrays, row)[self.text] for row in range(len(rows["index"]))]

    def references(self, rows: Rows, context: Context) -> list[list[str]]:
        """What should have been said to each row: one text or several."""
        column = context.source.column(self.reference)
        references = []
        for index in rows["index"]:
            if column is not None:
                said = column[index]
            else:
                said = context.decode(int(index))[self.reference]
            references.append([said] if isinstance(said, str) else list(said))
        return references


def normalised(text: str) -> str:
    """Lower case, compatibility characters resolved, punctuation but apostrophes as spaces."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(re.sub(r"[^\w\s']|_", " ", text).split())
