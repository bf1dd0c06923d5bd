"""The captions of a raw example, checked: text that is there, is text, and is not empty."""

from mmjax.data.source import CorruptExample, Example


def captions(example: Example, field: str = "text") -> tuple[str, ...]:
    """All captions. Raises CorruptExample when there is none, or one is empty or not text."""
    value = example.get(field)
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not values or values == (None,):
        raise CorruptExample(f"no caption in {field!r}")
    return tuple(_caption(one, field) for one in values)


def _caption(value: object, field: str) -> str:
    if isinstance(value, bytes):
        value = decode_utf8(value)
    if not isinstance(value, str):
        raise CorruptExample(f"the caption in {field!r} is {type(value).__name__}, not text")
    if not value.strip():
        raise CorruptExample(f"empty caption in {field!r}")
    return value


def decode_utf8(data: bytes) -> str:
    """Raises CorruptExample with the place of the first bad byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start
        around = data[max(0, at - 10) : at + 10]
        message = f"invalid UTF-8: byte 0x{data[at]:02x} at position {at}, near {around!r}"
        raise CorruptExample(message) from error
