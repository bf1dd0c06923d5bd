"""The two forms of a record: tf.train.Example, read without TensorFlow, and a map of MessagePack.

* The first byte tells them apart: an Example begins with its one field, a map with its size.
* An Example gives lists: of bytes, of int, of float. A map gives what was put into it.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from mmjax.data.source import CorruptExample

# wire types of protocol buffers
_VARINT = 0
_FIXED64 = 1
_LENGTH = 2
_FIXED32 = 5


def decode(record: bytes) -> dict[str, Any]:
    """The fields of a record. Raises CorruptExample where it is of neither form, or damaged."""
    if not record:
        raise CorruptExample("the record is empty")
    first = record[0]
    if first != 0x0A and first & 0xF0 != 0x80 and first not in (0xDE, 0xDF):
        raise CorruptExample(
            f"the record begins {record[:16]!r}: neither a tf.train.Example nor a MessagePack map"
        )
    try:
        found = _example(record) if first == 0x0A else msgspec.msgpack.decode(record)
    except (msgspec.MsgspecError, ValueError, TypeError, IndexError, struct.error) as error:
        raise CorruptExample(f"the record cannot be decoded: {error}") from error
    if not all(isinstance(key, str) for key in found):
        raise CorruptExample(f"the keys of the record are {list(found)[:5]}, not names of fields")
    return found


def encode(fields: dict[str, Any]) -> bytes:
    """A map of MessagePack. Raises TypeError for a value that it cannot hold."""
    return msgspec.msgpack.encode(fields)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a message: bytes for what has a length, else int or 4 or 8 bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is none that an Example has")
        if at + size > len(data):
            raise ValueError(f"{at + size - len(data)} bytes are missing at its end")
        yield key >> 3, data[at : at + size]
        at += size


def _example(record: bytes) -> dict[str, list]:
    """Example {features = 1 {feature = 1 (map) {key = 1, value = 2 {a list}}}}."""
    found = {}
    for features in _all(record, 1):
        for entry in _all(features, 1):
            parts = dict(_fields(entry))
            name = parts.get(1, b"").decode()
            found[name] = _feature(parts.get(2, b""))
    return found


def _all(message: bytes, number: int) -> list[Any]:
    """Every value of one field of a message."""
    return [value for field, value in _fields(message) if field == number]


def _feature(data: bytes) -> list:
    """Feature {bytes_list = 1 | float_list = 2 | int64_list = 3}, each {value = 1}."""
    for kind, values in _fields(data):
        parts = _all(values, 1)
        if kind == 1:
            return parts
        if kind == 2:
            packed = b"".join(parts)
            return list(struct.unpack(f"<{len(packed) // 4}f", packed))
        if kind == 3:
            numbers = [number for part in parts for number in _integers(part)]
            return [number - (1 << 64) if number >> 63 else number for number in numbers]
    return []


def _integers(part: Any) -> Iterator[int]:
    if isinstance(part, int):
        yield part
        return
    at = 0
    while at < len(part):
        value, at = _varint(part, at)
        yield value
