"""Samples that lie in several files of one name: members of a tar, files of a folder.

* A column is an ending ("txt", "wav", "answer.txt"), or a field of the .json: "json.caption",
  "json.meta.tags".
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmjax.data.source import CorruptExample
from mmjax.readers import json_text

# Endings of files of bytes, the first that a sample has.
ENDINGS = {
    "image": "jpg;jpeg;png;webp;gif;bmp;tif;tiff;avif",
    "audio": "wav;flac;ogg;mp3;opus",
    "video": "mp4;webm;mkv;mov;avi;gif;webp",
}


def chosen(field: str, name: str, have: Iterable[str]) -> str:
    """The ending that a sample has of those that a column of bytes names, "jpg;png".

    Raises CorruptExample when it has none.
    """
    have = list(have)
    for ending in endings(field, name):
        if ending in have:
            return ending
    listed = " ".join(f".{ending}" for ending in have)
    raise CorruptExample(f"no {field} in the sample; it has {listed}")


def endings(field: str, name: str) -> tuple[str, ...]:
    """Lower case, without a dot. A column that is called like its field has the usual ones."""
    return tuple((ENDINGS.get(field, name) if name == field else name).lower().split(";"))


def values(
    name: str, read: Callable[[str], bytes | None], wanted: Mapping[str, str]
) -> dict[str, Any]:
    """The values of a sample by field; None where it has none.

    Args:
      name: of the sample, for messages.
      read: ending -> the content of that file, None where there is none. May raise CorruptExample.
      wanted: field -> ending, or field of the .json.

    Raises:
      CorruptExample: the .json is broken.
    """
    found: dict[str, Any] = {}
    record: Any = None
    for field, where in wanted.items():
        ending, *keys = where.split(".") if where.startswith("json.") else (where,)
        if keys and record is not None:
            found[field] = _inside(record, keys)
            continue
        data = read(ending)
        if data is None:
            found[field] = None
        elif keys:
            record = _json(name, data)
            found[field] = _inside(record, keys)
        else:
            text = data.decode("utf-8", "surrogateescape")
            found[field] = text.removeprefix("\ufeff").strip()
    return found


def _inside(record: Any, keys: list[str]) -> Any:
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _json(name: str, data: bytes) -> Any:
    try:
        return json_text.strict(data)
    except json_text.BROKEN as error:
        raise CorruptExample(f"{name}.json: broken JSON: {error}") from error
