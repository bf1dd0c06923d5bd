"""ArrayRecord files: records of tf.train.Example, or maps of MessagePack as `write` writes them.

    data.train = dict(own=dict(name="array_record", path="data/train-*.array_record"))

    array_record.write("data/train.array_record", [{"image": jpeg, "text": "a dog"}, ...])

* No TensorFlow: `wire` reads both forms. Fields are found by name: image="image/encoded",
  text="caption".
* Refused at once: what is no ArrayRecord or is cut off, with its name. Counted as corrupt when met:
  records that are damaged, a file that changed while it was being read.
* Files with more than one record in a group (`group_size`) are read, but slowly.
"""

import dataclasses
import functools
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module
from PIL import Image

from mmjax.data.source import DataError, Example
from mmjax.data.storage import Stamp
from mmjax.readers import records, shards, wire
from mmjax.readers.columns import Column, declared
from mmjax.readers.files import Choice, Files, check_split, tell_copies, tell_repeated
from mmjax.readers.index import indexed

_FILES = ("*.array_record*", "*.arrayrecord*")


@dataclasses.dataclass(frozen=True)
class Config(Choice):
    path: str  # a file, a folder, a glob, or with braces: "data/{00000..00015}.array_record"
    image: str = "image"  # field of the encoded image ("image/encoded" in many sets); "": none
    text: str = "text"  # field of the captions, one or several; "": from class names
    label: str = "label"  # field of the class; may be missing
    group: str = "group"  # field; one group's records are no negatives; may be missing
    id: str = "id"  # field of names for messages; may be missing: the number of the record
    # further fields: dict(audio=dict(), tags=dict(kind="texts")), see columns.py
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)


def open(config: Config) -> Files:
    """The records of a split. Raises DataError for what is wrong with the set as a whole."""
    check_split(config.split, config.validation, config.test)
    files = shards.find(config.path, _FILES, "ArrayRecord file")
    stamps = [Stamp.of(path) for path in files]
    found = records.Shards.of([(stamp, 0, count(stamp)) for stamp in stamps], record)
    columns = declared(config)
    name = Path(config.path).name
    table = indexed(
        name,
        files,
        columns,
        functools.partial(records.chunks, found, columns),
        places=config.split != "all",
    )
    records.check(config.path, table, columns, config.class_names, config.templates)
    tell_repeated(name, table, "id")
    tell_copies(name, table)
    origin = records.Recorded.of(found, table, columns)
    return Files(name, table, origin, config, columns=columns, rows="records")


def write(path: str | Path, examples: Iterable[Example]) -> int:
    """Writes examples as maps of MessagePack; returns how many.

    Args:
      path: appears when all is written.
      examples: of str, int, float, bytes, and tuples of them; `image` may be uint8 [H, W, 3], which
        becomes a PNG.

    Raises:
      TypeError: a value that a record cannot hold, with its field.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    count = 0
    writer = array_record_module.ArrayRecordWriter(str(part), "group_size:1")
    try:
        for example in examples:
            fields = {name: _plain(name, value) for name, value in example.items()}
            writer.write(wire.encode(fields))
            count += 1
        writer.close()
        part.replace(path)
    finally:
        if writer.is_open():
            writer.close()
        part.unlink(missing_ok=True)
    return count


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and name == "image":
        file = io.BytesIO()
        Image.fromarray(value).save(file, "png")
        return file.getvalue()
    if isinstance(value, (tuple, list)):
        return [_plain(name, element) for element in value]
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (str, bytes, int, float)):
        raise TypeError(f"{name!r} is {type(value).__name__}; a record holds text, bytes, numbers")
    return value


def count(stamp: Stamp) -> int:
    """Records of a file. Raises DataError for one that is no whole ArrayRecord."""
    reader = _reader(stamp)
    if not reader.ok():
        raise DataError(
            f"{stamp.path} is no ArrayRecord file, or is cut off ({stamp.size} bytes); "
            "copy or write it again"
        )
    return reader.num_records()


def record(stamp: Stamp, place: int) -> bytes:
    """One of a file's. Raises RuntimeError or IndexError where it is damaged."""
    return _reader(stamp).read([place])[0]


@functools.lru_cache(maxsize=256)
def _reader(stamp: Stamp) -> Any:
    """Safe to use from several threads; without read-ahead, since rows are asked for at random."""
    return array_record_module.ArrayRecordReader(
        stamp.path, options="readahead_buffer_size:0", file_reader_buffer_size=32768
    )
