"""Values of declared columns, checked and packed: one MessagePack value a row, or one number.

* A text that comes where a number, a list or JSON is declared is parsed: a CSV, a member of a tar
  and a file have nothing but text.
* A value that cannot be used makes a problem of its row. A row without a value has one as well: all
  rows of a source have the same fields.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from mmjax.data.captions import decode_utf8
from mmjax.data.source import CorruptExample
from mmjax.readers import json_text
from mmjax.readers.columns import Declared

Problems = dict[int, str]  # row of a chunk -> reason

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


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


def packed(column: Declared, values: Sequence[Any], problems: Problems) -> list[bytes | None]:
    """Each value encoded; None where there is a problem. Not for numbers."""
    if column.kind == "text" and set(map(type, values)) == {str} and all(map(str.strip, values)):
        try:  # what is usual is judged as a whole: five million rows pass within seconds
            return list(map(_pack, values))
        except UnicodeEncodeError:
            pass  # it is told below in which row
    check = _CHECKS[column.kind]
    out: list[bytes | None] = []
    for row, value in enumerate(values):
        try:
            out.append(_pack(_checked(check, column, value)))
        except (CorruptExample, OverflowError, TypeError, ValueError) as error:
            problems.setdefault(row, _reason(column, error))
            out.append(None)
    return out


def numbers(column: Declared, values: Sequence[Any], problems: Problems) -> np.ndarray:
    """int64 or float64 [rows]; 0 where there is a problem."""
    plain = {int} if column.kind == "int" else {int, float}
    out = np.zeros(len(values), np.int64 if column.kind == "int" else np.float64)
    if set(map(type, values)) <= plain:
        try:
            out[:] = values
        except OverflowError:
            pass  # it is told below in which row
        else:
            if np.isfinite(out).all():
                return out
    check = _CHECKS[column.kind]
    for row, value in enumerate(values):
        try:
            out[row] = _checked(check, column, value)
        except (CorruptExample, OverflowError) as error:
            problems.setdefault(row, _reason(column, error))
    return out


def unpacked(data: bytes | None, kind: str, several: bool) -> Any:
    """What `packed` was given; several: some row of this column of text has more than one."""
    if data is None:
        return None
    value = _unpack(data)
    if kind == "json" or (kind == "text" and not several):
        return value
    return tuple(value) if isinstance(value, list) else (value,)


def is_several(data: bytes) -> bool:
    """Whether a packed text is a list of them: MessagePack's arrays begin 0x9., 0xdc or 0xdd."""
    return data[0] & 0xF0 == 0x90 or data[0] in (0xDC, 0xDD)


def _reason(column: Declared, error: Exception) -> str:
    if isinstance(error, CorruptExample):
        return str(error)
    return f"{column.name!r} holds what cannot be kept: {error}"


def _checked(check: Callable[[Any], Any], column: Declared, value: Any) -> Any:
    if value is None or (isinstance(value, (str, list, tuple)) and not value):
        if column.kind == "files":
            return []
        raise CorruptExample(f"nothing in {column.name!r}")
    try:
        return check(value)
    except CorruptExample as error:
        raise CorruptExample(f"{column.name!r} is {_shown(value)}: {error}") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_path(field: str, value: Any) -> None:
    """Raises CorruptExample for what is no path of a file."""
    if not value:
        raise CorruptExample(f"no {field} path")
    if not isinstance(value, str) or not value.strip():
        raise CorruptExample(f"the {field} path is {value!r}")
    if "://" in value:
        raise CorruptExample(f"the {field} is an address, {value}; download it and give its path")


def _files(value: Any) -> list[str]:
    """Paths; a list may be written as JSON, where all is text."""
    if isinstance(value, str) and value.startswith("["):
        value = _json(value)
    paths = list(value) if isinstance(value, (list, tuple)) else [value]
    for path in paths:
        check_path("file", path)
    return paths


def _text(value: Any) -> str | list[str]:
    """One text, or a list where there is more than one."""
    texts = _checked_texts(value if isinstance(value, (list, tuple)) else [value])
    return texts[0] if len(texts) == 1 else texts


def _texts(value: Any) -> list[str]:
    if isinstance(value, str) and value.startswith("["):  # a list, where all is text
        try:
            value = _json(value)
        except CorruptExample:
            pass  # a text that begins with a bracket
    return _checked_texts(value if isinstance(value, (list, tuple)) else [value])


def _checked_texts(several: Sequence[Any]) -> list[str]:
    if not all(isinstance(text, str) for text in several):
        raise CorruptExample("neither text nor a list of texts")
    texts = [checked_text(text) for text in several]
    if not all(text.strip() for text in texts):
        raise CorruptExample("an empty text")
    return texts


def _int(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise CorruptExample("no whole number")
    return int(number)


def _float(value: Any) -> float:
    return float(_number(value))


def _number(value: Any) -> int | float:
    if isinstance(value, str):
        value = _parsed_number(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CorruptExample("no number")
    if not math.isfinite(value):
        raise CorruptExample("no finite number")
    return value


def _parsed_number(text: str) -> int | float:
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    raise CorruptExample("no number")


def _ints(value: Any) -> list[int]:
    return [_int(element) for element in _list(value)]


def _floats(value: Any) -> list[float]:
    return [_float(element) for element in _list(value)]


def _list(value: Any) -> list[Any]:
    value = _json(value)
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = checked_text(value)
    try:
        return json_text.lenient(value)
    except json_text.BROKEN as error:
        raise CorruptExample(f"broken JSON: {error}") from error


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "files": _files,
    "text": _text,
    "texts": _texts,
    "int": _int,
    "float": _float,
    "ints": _ints,
    "floats": _floats,
    "json": _json,
}
