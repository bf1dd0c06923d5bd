"""Random access to raw examples: the contract that every data set of mmjax fulfils.

* A source is a list: `len(source)` rows, `source[index]` the raw example of one row. It has no
  iteration state, so any host, thread or worker reads any row, and a run continues at any step.
* A raw example is a plain dict, with the same fields in every row of a source. Known fields:

      image               encoded bytes, or uint8 [H, W, 3]
      audio               encoded bytes of a sound file
      video               encoded bytes, or uint8 [T, H, W, 3]
      text                str, or a tuple of str: several captions
      question, answer    str, or a tuple of str
      conversation        what JSON holds, such as a list of messages
      start, end          float, seconds: the part of the recording or clip that is meant
      label               int, from 0: the class
      group               int; rows of one group are not each other's negatives
      id                  str, for people
      length, difficulty  int and float, stored columns that a plan reads

  Any other field may be there under a name of its own (readers/columns.py).
* Bad data (a truncated file, an empty caption) raises `CorruptExample` with the reason: the
  pipeline counts and names the row and goes on. Every other exception is a bug and stops the run.
* What a plan must know without decoding (length bound, group, difficulty) is a stored column.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mmjax.errors import UserError

Example = dict[str, Any]


class CorruptExample(UserError, ValueError):
    """The data of one row is bad. The message is the reason; `Source.locate` says where."""


class DataError(UserError, ValueError):
    """A data set cannot be used as it is; said before training, with what would be right."""


@runtime_checkable
class Source(Protocol):
    """Random access to raw examples."""

    fingerprint: str  # identity of contents and order: a resumed run compares it

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """The raw example of row `index`, 0 <= index < len(self). Raises CorruptExample."""

    def column(self, name: str) -> np.ndarray | None:
        """One value per row, known without decoding; None where there is no such column.

        "group", "label", "length": int32; "difficulty": float32; "text": objects, str or tuple
        of str; "image_id" (or "audio_id", ...): equal in rows of one picture, where some picture
        has several rows.
        """

    def locate(self, index: int) -> str:
        """Where row `index` comes from, for messages: "photos.jsonl, line 17 (images/a.jpg)"."""


class Subset:
    """Rows `rows` of another source, in that order; the subset's row numbers are its own."""

    def __init__(self, source: Source, rows: Sequence[int] | np.ndarray):
        """Raises ValueError when a row is outside the source."""
        self.source = source
        self.rows = np.asarray(rows, np.int64)
        outside = self.rows[(self.rows < 0) | (self.rows >= len(source))]
        if outside.size:
            raise ValueError(f"row {outside[0]} is outside the source of {len(source)} rows")
        digest = hashlib.sha256(source.fingerprint.encode() + self.rows.tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.rows[index])]

    def column(self, name: str) -> np.ndarray | None:
        column = self.source.column(name)
        return None if column is None else column[self.rows]

    def locate(self, index: int) -> str:
        return self.source.locate(int(self.rows[index]))


class InMemory:
    """A list of raw examples that is in memory already; for small sets, notebooks and tests.

    columns: name -> one value per row. "text", "label" and "group" are read from the examples.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        name: str = "memory",
        columns: Mapping[str, Any] | None = None,
    ):
        self.examples = list(examples)
        self.name = name
        self.columns = {key: np.asarray(value) for key, value in (columns or {}).items()}
        for key, value in self.columns.items():
            if len(value) != len(self):
                raise ValueError(f"column {key!r} has {len(value)} values for {len(self)} rows")
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()
        for example in self.examples:
            self.fingerprint = _chained(self.fingerprint, example)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return dict(self.examples[index])

    def column(self, name: str) -> np.ndarray | None:
        if name in self.columns:
            return self.columns[name]
        if name not in ("text", "label", "group") or any(name not in one for one in self.examples):
            return None
        values = [example[name] for example in self.examples]
        return objects(values) if name == "text" else np.asarray(values, np.int32)

    def locate(self, index: int) -> str:
        name = self.examples[index].get("id")
        return f"{self.name}, row {index}" + ("" if name is None else f" ({name})")


def objects(values: Sequence[Any]) -> np.ndarray:
    """One-dimensional array of Python objects, whatever their lengths."""
    column = np.empty(len(values), object)
    for place, value in enumerate(values):  # at once, equally long ones would be a matrix
        column[place] = value
    return column


def _chained(before: str, example: Example) -> str:
    digest = hashlib.sha256(before.encode())
    for key in sorted(example):
        value = example[key]
        digest.update(key.encode())
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        else:
            digest.update(value if isinstance(value, bytes) else repr(value).encode())
    return digest.hexdigest()
