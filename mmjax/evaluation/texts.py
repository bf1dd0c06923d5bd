"""What evaluators of generated texts share: predictions as words, and what should have been said.

* Predictions come as a batch's fields (token ids, and a mask where there is one) and are read as
  words by the processor's `show`.
* References are a column or a field of the data: one text a row, or several.
* What people see of them is a sheet (drawing/answer_sheet.py) where the rows have pictures, else a
  text.
* Another sheet (drawing/attention_sheet.py) says where the model looked, where the task has a
  predict function "attention". Its batch has `said` [B, N] and `said_mask`, the predicted text
  behind each prompt; it gives `attention` [B, N, M, G, G], of each token that was said to the
  patches of the row's M pictures, or nothing where there are none.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mmjax.config import ConfigError
from mmjax.data.source import Example
from mmjax.evaluation.base import Ask, Context, Evaluator, draw
from mmjax.evaluation.drawing import answer_sheet, attention_sheet
from mmjax.evaluation.gather import Rows


@dataclasses.dataclass(frozen=True)
class Texts(Evaluator):
    predict: str = "generate"  # the task's predict function
    text: str = "text"  # key of the predicted ids, which is the processor's field that they are of
    reference: str = "text"  # column, or field, of what should be said
    questions: str = ""  # column, or field, that is shown beside the texts; "": none
    attention: int = 4  # rows of which people see where the model looked; 0: none

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

    def shown(
        self,
        rows: Rows,
        context: Context,
        predictions: Sequence[str],
        references: Sequence[str],
        right: Shaped[np.ndarray, " R"],
        notes: Sequence[str] = (),
    ) -> Any:
        """What people see of `keep` rows: a sheet of their pictures, or else a text.

        Args:
          right: of each row, whether what was said counts as right.
          notes: of each row, a number that is written below; (): none.
        """
        right = np.asarray(right).astype(bool)
        chosen = answer_sheet.chosen(right, self.keep)
        examples = [context.decode(int(rows["index"][row])) for row in chosen]
        if not any(_pictures(example) for example in examples):
            few = draw(len(predictions), self.keep).tolist()
            return "\n\n".join(f"{references[row]}\n{predictions[row]}" for row in few)
        cells = []
        for row, example in zip(chosen.tolist(), examples, strict=True):
            asked = self.question(example, int(rows["index"][row]), context)
            note = notes[row] if notes else ""
            pictures = _pictures(example)
            said = (references[row], predictions[row], bool(right[row]))
            cells.append(answer_sheet.Row(pictures, asked, *said, note))
        wrong = int((~right[chosen]).sum())
        title = (
            f"{right.mean():.1%} of {len(right):,} right; here {wrong} wrong and "
            f"{len(chosen) - wrong} right ones"
        )
        return answer_sheet.draw(cells, title)

    def illustrate(self, rows: Rows, context: Context, ask: Ask) -> dict[str, Any]:
        """Where the model looked for each word, in rows that are always the same."""
        order = draw(len(rows["index"]), self.attention)
        said = rows[self.text][order]
        mask = rows.get(f"{self.text}_mask", np.ones_like(rows[self.text], bool))[order]
        part, slash, _ = self.predict.rpartition("/")
        name = f"{part}{slash}attention"
        found = ask(name, rows["index"][order], {"said": said, "said_mask": mask})
        if found is None or "attention" not in found:
            return {}
        looked = []
        for row, index in enumerate(found["index"].tolist()):
            one = self._looked(found, row, context)
            if one is not None:
                question = self.question(context.decode(index), index, context)
                looked.append(one._replace(question=question))
        if not looked:
            return {}
        title = "Where the model looked for each word, and how much of its attention was there"
        return {"attention": attention_sheet.draw(looked, title)}

    def _looked(self, found: Rows, row: int, context: Context) -> attention_sheet.Looked | None:
        """Of one row; None where it has no picture, or nothing was said."""
        picture = context.show(found, row).get("image")
        real = found["said"][row][found["said_mask"][row].astype(bool)]
        pictures = found["attention"].shape[2]
        if "image_mask" in found:
            pictures = int(found["image_mask"][row].sum())
        if picture is None or not len(real) or not pictures:
            return None

        def text(count: int) -> str:
            said = {self.text: real[None, :count], f"{self.text}_mask": np.ones((1, count), bool)}
            return context.show(said, 0)[self.text]

        of_tokens = found["attention"][row, :, :pictures]
        words, maps = attention_sheet.by_word(of_tokens, len(real), text)
        return attention_sheet.Looked(picture, maps, words) if words else None

    def question(self, example: Example, index: int, context: Context) -> str:
        """What was asked in a row; "" where nothing was."""
        asked = example.get(self.questions)
        if asked is None and self.questions:
            column = context.source.column(self.questions)
            asked = None if column is None else column[index]
        return asked if isinstance(asked, str) else ""


def _pictures(example: Example) -> tuple[np.ndarray, ...]:
    """Of a decoded row: none, one or several."""
    pictures = example.get("image", ())
    return tuple(pictures) if isinstance(pictures, list | tuple) else (pictures,)


def normalised(text: str) -> str:
    """Lower case, compatibility characters resolved, punctuation but apostrophes as spaces."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(re.sub(r"[^\w\s']|_", " ", text).split())
