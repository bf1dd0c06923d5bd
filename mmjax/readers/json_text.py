"""JSON as the readers of a user's data take it: quickly where it is as the standard has it.

* `strict` is msgspec. `lenient` also takes what Python's json takes (NaN, numbers of any size) and
  bytes that are no UTF-8, which are kept escaped and named where the text is used.
"""

import json
from typing import Any

import msgspec

BROKEN = (msgspec.MsgspecError, ValueError, RecursionError)  # what both raise

strict = msgspec.json.Decoder().decode


def lenient(data: bytes | str) -> Any:
    """The value. Raises BROKEN."""
    try:
        return strict(data)
    except BROKEN:
        text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
        return json.loads(text)
