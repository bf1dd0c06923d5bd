"""What a user's data says of its rows, checked column by column: paths, captions, labels, names.

* Readers hand over `Chunk`s of raw values; `checked` makes them what an example needs. A value that
  cannot be used makes a problem of its row, which keeps its place and says so when it is read.
* A column of one kind is judged as a whole: five million rows pass within seconds.
* Equal captions and equal groups are found by 64-bit hashes (two different ones among five million
  are taken for equal once in a million sets).
"""

import dataclasses
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from mmjax.data.captions import decode_utf8
from mmjax.data.source import CorruptExample

COLUMNS = ("image", "id", "text", "label", "group", "split")
_Problems = dict[int, str]


@dataclasses.dataclass
class Chunk:
    """Some rows. A column that the data lacks is left out; a value that a row lacks is None."""

    size: int
    columns: dict[str, list]  # raw values of COLUMNS: paths, names, one or more captions, ...
    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # "line", "offset"
    problems: _Problems = dataclasses.field(default_factory=dict)  # row of the chunk -> reason
    data: list[bytes | None] | None = None  # encoded images, where they are copied


def checked(chunk: Chunk) -> Chunk:
    """The same rows: str or None; text also a tuple of str; label also int. No caption is left of
    a row that has a problem."""
    problems = dict(chunk.problems)
    columns = dict(chunk.columns)
    if "image" in columns:
        columns["image"] = _images(columns["image"], chunk.data, problems)
    for name, check in _CHECKS.items():
        if name in columns:
            columns[name] = check(columns[name], problems)
    if problems and "text" in columns:
        columns["text"] = [
            None if row in problems else text for row, text in enumerate(columns["text"])
        ]
    return dataclasses.replace(chunk, columns=columns, problems=problems)


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


def number_or_name(value: str | int) -> str | int:
    """A class: 3 for 3 and for "3", else its name. Raises CorruptExample where it is no UTF-8."""
    return int(value) if str(value).isdecimal() else checked_text(str(value))


def hashes(values: Sequence[Any]) -> np.ndarray:
    """int64 [len(values)]: the same for "a" and ("a",). They differ between processes."""
    if tuple in _kinds(values):
        values = [one[0] if type(one) is tuple and len(one) == 1 else one for one in values]
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


def _kinds(values: Sequence[Any]) -> set[type]:
    return set(map(type, values))


def _each(check: Callable[[Any], Any], values: list, problems: _Problems) -> list:
    out = []
    for row, value in enumerate(values):
        try:
            out.append(check(value))
        except CorruptExample as error:
            problems.setdefault(row, str(error))
            out.append(None)
    return out


def _images(values: list, data: list | None, problems: _Problems) -> list:
    """Where data has the image itself, its path is but a name, and so is an address."""
    if data is None and _kinds(values) == {str} and all(values) and "://" not in "\n".join(values):
        return values
    for row, value in enumerate(values):
        try:
            if data is None or data[row] is None:
                _check_path(value)
        except CorruptExample as error:
            problems.setdefault(row, str(error))
    return [one if isinstance(one, str) and one.strip() else None for one in values]


def _check_path(value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise CorruptExample("no image path" if not value else f"the image path is {value!r}")
    if "://" in value:
        raise CorruptExample(f"the image is an address, {value}; download it and give its path")


def _texts(values: list, problems: _Problems) -> list:
    if _kinds(values) <= {str, type(None)}:
        return values if all(values) else [one or None for one in values]
    return _each(_text, values, problems)


def _text(value: Any) -> str | tuple[str, ...] | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return tuple(value) or None
    raise CorruptExample(f"the captions are {value!r}, neither text nor a list of texts")


def _labels(values: list, problems: _Problems) -> list:
    if _kinds(values) <= {str, int, type(None)}:
        return [None if one == "" else one for one in values]
    return _each(_label, values, problems)


def _label(value: Any) -> str | int | None:
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise CorruptExample(f"the label is {value!r}, neither a number nor a name")
    return value


def _names(values: list, problems: _Problems) -> list:
    if _kinds(values) == {str} and all(values):
        return values
    return [None if one is None or one == "" or one == [] else str(one) for one in values]


def _splits(values: list, problems: _Problems) -> list:
    return [str(one).strip() for one in values]


_CHECKS: dict[str, Callable[[list, _Problems], list]] = {
    "id": _names,
    "text": _texts,
    "label": _labels,
    "group": _names,
    "split": _splits,
}
