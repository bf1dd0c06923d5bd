"""What a user's data says of its rows, checked column by column: paths, captions, labels, names.

* Readers hand over `Chunk`s of raw values; `checked` makes them what an example needs. A value that
  cannot be used makes a problem of its row, which keeps its place and says so when it is read.
* A column of one kind is judged as a whole: five million rows pass within seconds.
* Equal captions and equal groups are found by 64-bit hashes (two different ones among five million
  are taken for equal once in a million sets).
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from mmjax.data.source import CorruptExample
from mmjax.readers import values as declared_values
from mmjax.readers.columns import NUMBERS, Declared, extras, media
from mmjax.readers.values import Problems


@dataclasses.dataclass
class Chunk:
    """Some rows. A column that the data lacks is left out; a value that a row lacks is None."""

    size: int
    columns: dict[str, list]  # raw values by field: paths, names, one or more captions, ...
    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # "line", "offset"
    problems: Problems = dataclasses.field(default_factory=dict)  # row of the chunk -> reason
    # encoded images and other bytes by field, where they are copied
    data: dict[str, list[bytes | None]] = dataclasses.field(default_factory=dict)
    # for each row something that is equal where its bytes are; None: its path says what it is
    contents: list[Hashable | None] | None = None


def checked(chunk: Chunk, declared: Mapping[str, Declared]) -> Chunk:
    """The same rows as an example needs them.

    Paths and names become str or None, text also a tuple of str, a label also int. Of declared
    fields, numbers are among the chunk's numbers as "value.<field>" and the others are packed. No
    caption is left of a row that has a problem.
    """
    problems = dict(chunk.problems)
    columns = dict(chunk.columns)
    numbers = dict(chunk.numbers)
    for field in media(declared):
        if field in columns:
            columns[field] = _paths(field, columns[field], chunk.data.get(field), problems)
    for field, check in _CHECKS.items():
        if field in columns:
            columns[field] = check(columns[field], problems)
    for field, column in extras(declared).items():
        values = columns.pop(field, [None] * chunk.size)
        if column.kind in NUMBERS:
            numbers[f"value.{field}"] = declared_values.numbers(column, values, problems)
        else:
            columns[field] = declared_values.packed(column, values, problems)
    if problems and "text" in columns:
        columns["text"] = [
            None if row in problems else text for row, text in enumerate(columns["text"])
        ]
    return dataclasses.replace(chunk, columns=columns, numbers=numbers, problems=problems)


def hashes(values: Sequence[Any]) -> np.ndarray:
    """int64 [len(values)]: the same for "a" and ("a",). They differ between processes."""
    if tuple in _types(values):
        values = [text[0] if type(text) is tuple and len(text) == 1 else text for text in values]
    return np.fromiter(map(hash, values), np.int64, len(values))


def places(keys: Sequence[str]) -> np.ndarray:
    """uint64 [len(keys)]: where a key falls in 0 .. 2**64; the same for ever."""
    try:
        encoded = [key.encode() for key in keys]
    except UnicodeEncodeError:
        encoded = [_encoded(key) for key in keys]
    digests = b"".join([blake2b(key, digest_size=8).digest() for key in encoded])
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def in_order(keys: np.ndarray) -> np.ndarray:
    """int32 [rows]: equal keys get equal numbers, counted in order of appearance."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[inverse]


def repeated(keys: np.ndarray) -> np.ndarray:
    """The rows, in order, whose key an earlier row has as well."""
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return np.zeros(0, np.int64)
    order = np.argsort(keys, kind="stable")
    return np.sort(order[1:][keys[order][1:] == keys[order][:-1]])


def _encoded(key: str) -> bytes:
    try:
        return key.encode("utf-8", "surrogateescape")  # a file's name as the disk has it
    except UnicodeEncodeError:
        return key.encode("utf-8", "surrogatepass")


# One column each. What is of the usual kind throughout is returned as it is.


def _types(values: Sequence[Any]) -> set[type]:
    return set(map(type, values))


def _each(check: Callable[[Any], Any], values: list, problems: Problems) -> list:
    out = []
    for row, value in enumerate(values):
        try:
            out.append(check(value))
        except CorruptExample as error:
            problems.setdefault(row, str(error))
            out.append(None)
    return out


def _paths(field: str, values: list, data: list | None, problems: Problems) -> list:
    """Where data has the bytes themselves, their path is but a name, and so is an address."""
    if data is None and _types(values) == {str} and all(values) and "://" not in "\n".join(values):
        return values
    for row, value in enumerate(values):
        try:
            if data is None or data[row] is None:
                declared_values.check_path(field, value)
        except CorruptExample as error:
            problems.setdefault(row, str(error))
    return [value if isinstance(value, str) and value.strip() else None for value in values]


def _texts(values: list, problems: Problems) -> list:
    if _types(values) <= {str, type(None)}:
        return values if all(values) else [text or None for text in values]
    return _each(_text, values, problems)


def _text(value: Any) -> str | tuple[str, ...] | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return tuple(value) or None
    raise CorruptExample(f"the captions are {value!r}, neither text nor a list of texts")


def _labels(values: list, problems: Problems) -> list:
    if _types(values) <= {str, int, type(None)}:
        return [None if label == "" else label for label in values]
    return _each(_label, values, problems)


def _label(value: Any) -> str | int | None:
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise CorruptExample(f"the label is {value!r}, neither a number nor a name")
    return value


def _names(values: list, problems: Problems) -> list:
    if _types(values) == {str} and all(values):
        return values
    return [None if name is None or name == "" or name == [] else str(name) for name in values]


def _splits(values: list, problems: Problems) -> list:
    return [str(name).strip() for name in values]


_CHECKS: dict[str, Callable[[list, Problems], list]] = {
    "id": _names,
    "text": _texts,
    "label": _labels,
    "group": _names,
    "split": _splits,
}
