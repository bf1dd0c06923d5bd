"""Examples of a user's own data: what manifests, folders, tars and record files have in common.

* `Files` is a source over a `Table` of rows and an `Origin` that knows where their images are. A
  row that cannot be used keeps its place and says why when it is read.
* Groups: by the group column, else rows of one picture and pictures with the same captions are one
  group (they are right answers to each other, not negatives), else those of one class.
* Splits by hash of the group, the image path or the id: adding rows moves none of the others.
* Files with the same bytes are one picture, whatever their names: all of its rows are in one split.
"""

import dataclasses
import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mmjax.data.captions import captions
from mmjax.data.source import CorruptExample, DataError, Example, objects
from mmjax.data.storage import UNREACHABLE, note
from mmjax.readers.columns import Declared, media
from mmjax.readers.table import Row, Table
from mmjax.readers.values import checked_text, number_or_name

SPLITS = ("train", "validation", "test", "all")
MEDIA = ("image", "audio", "video")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """Which rows of a set are read, and what its classes are called: fields of every Config."""

    split: str = "all"  # "train", "validation", "test", "all"; by hash, so that rows never move
    validation: float = 0.1  # share of the groups (or images) that are for validation
    test: float = 0.1  # share that is for testing
    # captions of a class, where text is ""; (): no captions at all
    templates: tuple[str, ...] = ("a photo of a {}.",)
    class_names: tuple[str, ...] = ()  # in the order of their numbers; (): those found, sorted


@runtime_checkable
class Origin(Protocol):
    """Where the rows of a table come from. Sent to worker processes with the source."""

    def where(self, number: int) -> str:
        """Row `number` of the table, for messages: "line 17"."""

    def load(self, number: int, row: Row) -> Example:
        """The fields that are not in the table: bytes, encoded. Raises CorruptExample."""


class Files:
    """A source over a table. class_names: of the labels, () where the labels are numbers."""

    def __init__(
        self,
        name: str,
        table: Table,
        origin: Origin,
        choice: Choice,
        *,
        split_column: str = "",  # whose value is the split of a row; "": by hash
        columns: Mapping[str, Declared],  # no "text": captions from class names
        rows: str = "rows",  # what the rows are, for messages
        numbers: bool = True,  # labels that look like numbers are numbers
    ):
        """Raises DataError when the split is empty."""
        self.name = name
        self.table = table
        self.origin = origin
        self._called = {field: column.name for field, column in columns.items()}
        counts = table.about["counts"]
        by_class = "text" not in columns and counts["label"]
        self._captioned = "text" in columns and (columns["text"].needed or counts["text"] > 0)
        self._templates = choice.templates if by_class else ()  # captions of the class names
        chosen = _chosen(name, table, choice, split_column, rows)
        self._rows = None if len(chosen) == len(table) else chosen
        self._groups = self._part("group")
        self._media = next(iter(media(columns)), "")  # the field that tells rows of one picture
        # Numbers are given before the split: they agree between splits.
        self._numbers, self.class_names = _numbered(
            table.about["label"], choice.class_names, numbers
        )
        self._labels = None
        if counts["label"]:
            known = [0 if isinstance(number, str) else number for number in self._numbers]
            # A row without a label has the code -1, which is the last of these.
            self._labels = np.asarray([*known, 0], np.int32)[self._part("label")]
        options = [getattr(choice, field.name) for field in dataclasses.fields(Choice)]
        identity = repr((table.about["digest"], options, split_column, bool(by_class)))
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()

    def _part(self, name: str) -> np.ndarray:
        values = self.table.numbers[name]
        return values if self._rows is None else values[self._rows]

    def _number(self, index: int) -> int:
        """The row of the table."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return int(index if self._rows is None else self._rows[index])

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> Example:
        number = self._number(index)
        row = self.table[number]
        if row.problem:
            raise CorruptExample(row.problem)
        example: Example = {"id": self._id(number, row), "group": int(self._groups[index])}
        if self._labels is not None:
            example["label"] = self._label(number)
        text = self._text(number, row.text)
        if text is not None:
            example["text"] = text
        return {**example, **row.values, **self.origin.load(number, row)}

    def _id(self, number: int, row: Row) -> str:
        return row.id or row.path or self.origin.where(number)

    def _label(self, number: int) -> int:
        code = int(self.table.numbers["label"][number])
        if code < 0:
            raise CorruptExample(f"nothing in {self._called['label']!r}")
        if isinstance(self._numbers[code], str):
            raise CorruptExample(self._numbers[code])
        return self._numbers[code]

    def _text(
        self, number: int, text: str | tuple[str, ...] | None
    ) -> str | tuple[str, ...] | None:
        """The captions of a row. Raises CorruptExample where they cannot be used."""
        if self._templates:
            return self._from_class(int(self.table.numbers["label"][number]))
        if not self._captioned:
            return None
        if text is None:
            raise CorruptExample(f"nothing in {self._called['text']!r}")
        texts = captions({"text": text})  # an empty one is named here, whatever comes after
        texts = tuple(map(checked_text, texts))
        # Tuples in all rows or in none.
        return texts if self.table.about["several"] else texts[0]

    def _from_class(self, code: int) -> str | tuple[str, ...]:
        if code < 0 or isinstance(self._numbers[code], str):
            raise CorruptExample(f"nothing in {self._called['label']!r}")
        name = self.class_names[self._numbers[code]]
        return captions_from(name, self._templates)

    def column(self, name: str) -> np.ndarray | None:
        """As every source has it; also declared fields of numbers (int32 or int64, float32), and of
        text, JSON and lists of files, the last as paths (objects; None where a row cannot be used);
        and "image_id" (or "audio_id", ...), equal in rows of one picture, where some picture has
        several rows."""
        if name == "group":
            return self._groups
        if name == "label":
            return self._labels
        if name == f"{self._media}_id" and "picture" in self.table.numbers:
            return self._part("picture")
        if name == "text":
            return self._texts() if self._templates or self._captioned else None
        kind = self.table.about["kinds"].get(name)
        if kind == "int":
            return _narrow(self._part(f"value.{name}"))
        if kind == "float":
            return self._part(f"value.{name}").astype(np.float32)
        if kind in ("text", "texts", "json", "files"):
            return objects(list(self._inside(self.table.values(name))))
        return None

    def _texts(self) -> np.ndarray:
        texts = self._inside(enumerate(self.table.texts()))
        return objects([self._usable(number, text) for number, text in texts])

    def _inside(self, values: Iterable[Any]) -> Iterable[Any]:
        """Those of the split, of one for each row of the table."""
        if self._rows is None:
            return values
        inside = np.zeros(len(self.table), bool)
        inside[self._rows] = True
        return itertools.compress(values, inside)

    def _usable(
        self, number: int, text: str | tuple[str, ...] | None
    ) -> str | tuple[str, ...] | None:
        try:
            return self._text(number, text)
        except CorruptExample:
            return None

    def locate(self, index: int) -> str:
        number = self._number(index)
        where = self.origin.where(number)
        name = self._id(number, self.table[number])
        return f"{self.name}, {where}" + (f" ({name})" if name not in where else "")


def _narrow(values: np.ndarray) -> np.ndarray:
    """int32 where that holds all of them."""
    return values.astype(np.int32) if np.array_equal(values, values.astype(np.int32)) else values


def check_classes(name: str, table: Table, column: str, class_names: Sequence[str]) -> None:
    """Captions are to be made of class names. Raises DataError where there are none."""
    if not table.about["counts"]["label"]:
        raise DataError(
            f"{name}: text='' makes captions from class names, but no row has label={column!r}"
        )
    if not class_names and all(str(label).isdecimal() for label in table.about["label"]):
        raise DataError(f"{name}: the labels are numbers; class_names must name them in order")


def tell_repeated(name: str, table: Table, what: str) -> None:
    """Says once how many rows have the name of an earlier one, and which; they are kept.

    Not of rows without names that have further fields: several questions are asked of one image,
    several cuts are of one recording.
    """
    again = table.about["again"]
    if not again["count"] or (table.about["kinds"] and not table.about["counts"]["id"]):
        return
    names = [str(table[row].id or table[row].path) for row in again["rows"]]
    more = f" and {again['count'] - 5} more" if again["count"] > 5 else ""
    kept = "kept"
    if what in MEDIA and table.about["counts"]["text"]:
        kept = f"kept as further captions of one {what}"
    note(
        f"{name}: {again['count']} rows have the {what} of an earlier row, and are {kept}: "
        f"{', '.join(names)}{more}"
    )


def tell_copies(name: str, table: Table) -> None:
    """Says once how many rows have the bytes of an earlier one under another name, and which."""
    copies = table.about["same_bytes"]
    if not copies["count"]:
        return
    pairs = [
        f"{_called(table, row)} = {_called(table, earlier)}" for row, earlier in copies["rows"]
    ]
    more = f" and {copies['count'] - 5} more" if copies["count"] > 5 else ""
    kept = "are kept as the same picture, on one side of a split"
    if table.about["counts"]["group"]:
        kept = "are kept in the groups that the data gives them, so a split may part them"
    note(
        f"{name}: of {copies['count']} rows the file has the bytes of an earlier one under another "
        f"name; they {kept}: {', '.join(pairs)}{more}"
    )


def _called(table: Table, number: int) -> str:
    row = table[number]
    return row.path or row.id or f"row {number}"


def read(path: str) -> bytes:
    """A file's bytes. Only plain files are opened: a pipe would be waited for, for ever.

    Raises CorruptExample where the path leads to none that can be read; other faults of a disk are
    not.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CorruptExample(f"cannot read {path}: it is {_kind(path)}, no plain file")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        link = f", to which {path} links" if os.path.islink(path) else ""
        where = os.path.realpath(path) if link else path
        raise CorruptExample(f"no such file: {where}{link}") from error
    except OSError as error:
        if error.errno not in UNREACHABLE:
            raise
        raise CorruptExample(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, CorruptExample):
            raise
        raise CorruptExample(f"cannot read {path!r}: {error}") from error


def _kind(path: str) -> str:
    """What there is in the place of a plain file."""
    mode = os.stat(path).st_mode
    names = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(stat.S_IFMT(mode), "something else")


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


def _chosen(name: str, table: Table, choice: Choice, split_column: str, what: str) -> np.ndarray:
    """The rows of the split, int32. Raises DataError when there is none."""
    if split_column:
        splits = table.about["split"]
        code = splits.index(choice.split) if choice.split in splits else -1
        inside = table.numbers["split"] == code if choice.split != "all" else None
        why = f"no row has {split_column}={choice.split!r}; it has: {some(sorted(splits))}"
    else:
        inside = None
        if choice.split != "all":
            place = table.numbers["place"].astype(np.float64) / 2**64
            edges = np.asarray([choice.test, choice.test + choice.validation])
            order = ("test", "validation", "train")
            inside = np.searchsorted(edges, place, side="right") == order.index(choice.split)
        why = (
            f"none of its {len(table)} {what} is in split {choice.split!r} "
            f"(validation={choice.validation}, test={choice.test}){_way_on(choice.split, what)}"
        )
    if inside is None:
        return np.arange(len(table), dtype=np.int32)
    if not inside.any():
        raise DataError(f"{name}: {why}")
    return np.flatnonzero(inside).astype(np.int32)


def _way_on(split: str, what: str) -> str:
    """What to do about a split by hash that nothing fell into."""
    if split == "train":
        return f": lower validation and test, add {what}, or train on split='all'"
    return (
        f": a small share of few {what} may be none. Make it larger where the training set is "
        f"named ({split}=0.3), add {what}, or leave it out (--config.{split}={{}}, and "
        "checkpoint.metric='' where it chose the checkpoint)"
    )


def _numbered(
    raw: Sequence[str | int], class_names: tuple[str, ...], numbers: bool
) -> tuple[list[int | str], tuple[str, ...]]:
    """(the number of each label, or why it has none; the names of the classes: () where the labels
    were numbers)."""
    reasons: dict[int, str] = {}
    labels: list[str | int | None] = []
    for code, value in enumerate(raw):
        try:
            labels.append(number_or_name(value) if numbers else checked_text(str(value)))
        except CorruptExample as error:
            labels.append(None)
            reasons[code] = str(error)
    good = [label for label in labels if label is not None]
    if all(isinstance(label, int) for label in good) and numbers:
        known = set(range(len(class_names))) if class_names else set(good)
        number_of = {label: label for label in known}
        listed = some(class_names or sorted(number_of))
    else:
        labels = [label if label is None else str(label) for label in labels]
        if not class_names:
            class_names = tuple(sorted({label for label in labels if label is not None}))
        number_of = {name: number for number, name in enumerate(class_names)}
        listed = some(class_names)
    result: list[int | str] = []
    for code, label in enumerate(labels):
        unknown = f"label {label!r} is no class; they are {listed}"
        result.append(number_of.get(label, reasons.get(code, unknown)))
    for number in result:
        if isinstance(number, int) and not -(2**31) <= number < 2**31:
            raise DataError(f"label {number} needs more than 32 bits; give classes smaller numbers")
    return result, class_names
