"""Examples whose images are files: what manifests and folders have in common.

* `Files` is a source over a table of rows; a row that cannot be used keeps its place and says why
  when it is read.
* Groups: by the group column, else rows with the same captions are one group (they are right
  answers to each other, not negatives).
* Splits by hash of the group or the image path: adding rows moves none of the others.
"""

import hashlib
import os
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mmjax.data.source import CorruptExample, DataError, Example, objects
from mmjax.data.text import captions, decode_utf8

SPLITS = ("train", "validation", "test", "all")


class Row(NamedTuple):
    """One example before its image is read; None where it has no such field."""

    where: str  # "line 17"
    id: str
    image: str | None  # path
    text: str | tuple[str, ...] | None = None
    label: str | int | None = None  # class name or number
    group: str | None = None
    problem: str = ""  # why the row cannot be used


class Files:
    """A source over rows. class_names: of the labels, () where the labels are numbers."""

    def __init__(
        self,
        name: str,
        rows: Sequence[Row],
        kept: Sequence[bool],  # is a row in the split
        *,
        class_names: tuple[str, ...] = (),
        fingerprint: str,
    ):
        self.name = name
        self.fingerprint = fingerprint
        has = {field: any(getattr(row, field) is not None for row in rows)
               for field in ("image", "text", "label", "group")}  # fmt: skip
        several = any(isinstance(row.text, tuple) for row in rows)
        rows = [_checked(row, has, several) for row in rows]
        # Class and group numbers are given before the split: they agree between splits.
        rows, self.class_names = _with_numbers(rows, class_names)
        groups = _numbered(
            (row.group if has["group"] else row.text) or ("", row.id) for row in rows
        )
        self._rows = [row for row, inside in zip(rows, kept, strict=True) if inside]
        self._groups = groups[np.asarray(kept, bool)]
        self._labels = None
        if has["label"]:
            self._labels = np.asarray([row.label or 0 for row in self._rows], np.int32)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        row = self._rows[index]
        if row.problem:
            raise CorruptExample(row.problem)
        example: Example = {"id": row.id, "group": int(self._groups[index])}
        if row.text is not None:
            captions({"text": row.text})  # an empty one is named here, whatever comes after
            example["text"] = row.text
        if self._labels is not None:
            example["label"] = int(self._labels[index])
        if row.image is not None:
            example["image"] = read(row.image)
        return example

    def column(self, name: str) -> np.ndarray | None:
        if name == "group":
            return self._groups
        if name == "label":
            return self._labels
        if name == "text" and any(row.text is not None for row in self._rows):
            return objects([row.text for row in self._rows])
        return None

    def locate(self, index: int) -> str:
        row = self._rows[index]
        return f"{self.name}, {row.where}" + (f" ({row.id})" if row.id not in row.where else "")


def read(path: str) -> bytes:
    """A file's bytes. Raises CorruptExample when there is none; other faults of a disk are not."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise CorruptExample(f"no such file: {path}") from error
    except (IsADirectoryError, NotADirectoryError, PermissionError, ValueError) as error:
        raise CorruptExample(f"cannot read {path}: {error}") from error


def checked_text(value: str) -> str:
    """Text that was decoded with "surrogateescape". Raises CorruptExample where it is no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        try:
            return decode_utf8(value.encode(errors="surrogateescape"))
        except UnicodeEncodeError:
            raise CorruptExample(f"half a surrogate pair at character {error.start}") from error
    return value


def in_split(key: str, split: str, validation: float, test: float) -> bool:
    """Whether the rows of this key belong to the split; the key alone decides."""
    digest = hashlib.blake2b(os.fsencode(key), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < test:
        return split in ("test", "all")
    return split in ("validation" if place < test + validation else "train", "all")


def check_split(split: str, validation: float, test: float) -> None:
    """Raises DataError for an unknown split, or shares that leave nothing to train on."""
    if split not in SPLITS:
        raise DataError(f"split {split!r} is none of {', '.join(SPLITS)}")
    if validation < 0 or test < 0 or validation + test >= 1:
        raise DataError(f"validation={validation} and test={test} are shares of the rows, below 1")


def captions_from(name: str, templates: Sequence[str]) -> str | tuple[str, ...]:
    """Captions of a class, one per template: "a photo of a {}." and "night_sky"."""
    texts = tuple(template.replace("{}", name.replace("_", " ")) for template in templates)
    return texts[0] if len(texts) == 1 else texts


def some(names: Iterable[object], most: int = 5) -> str:
    """The first few, and how many more: for messages."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more


def _checked(row: Row, has: dict[str, bool], several: bool) -> Row:
    missing = [field for field, there in has.items() if there and getattr(row, field) is None]
    if missing and not row.problem:
        row = row._replace(problem=f"no {missing[0]}")
    if several and isinstance(row.text, str):  # a tuple in all rows or in none
        row = row._replace(text=(row.text,))
    return row


def _with_numbers(
    rows: Sequence[Row], class_names: tuple[str, ...]
) -> tuple[list[Row], tuple[str, ...]]:
    """Labels as numbers, and the names of the classes: () where the labels were numbers."""
    labels = [row.label for row in rows if row.label is not None]
    if all(isinstance(label, int) for label in labels):
        known = set(range(len(class_names))) if class_names else set(labels)
        number = {label: label for label in known}
    else:
        class_names = class_names or tuple(sorted({str(label) for label in labels}))
        number = {name: at for at, name in enumerate(class_names)}
        rows = [
            row._replace(label=str(row.label)) if row.label is not None else row for row in rows
        ]
    names = some(class_names or sorted(number))
    return [
        row._replace(label=number.get(row.label))
        if row.label is None or row.label in number
        else row._replace(label=None, problem=f"label {row.label!r} is no class; they are {names}")
        for row in rows
    ], class_names


def _numbered(values: Iterable[Hashable]) -> np.ndarray:
    """int32 [rows]: equal values get equal numbers, counted in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return np.asarray([numbers.setdefault(value, len(numbers)) for value in values], np.int32)
