"""Raw values as people hold them -> as a data set gives them: bytes, arrays, texts.

* A picture, a sound or a video may be the path of a file. In any other field a `str` is a text.
* A list or a plain tuple holds several values; anything else is one, a `Sound` too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FILES = ("image", "audio", "video")  # fields in which a str is the path of a file


def raw(field: str, value: Any) -> Any:
    """A value with its file read, where it is the path of one.

    Raises:
      OSError: a file that cannot be read.
    """
    if isinstance(value, Path) or (isinstance(value, str) and field in FILES):
        return Path(value).expanduser().read_bytes()
    return value


def several(values: Any) -> list[Any]:
    """One value or several -> a list of them."""
    return list(values) if type(values) in (list, tuple) else [values]
