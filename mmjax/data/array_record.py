"""ArrayRecord files: records of tf.train.Example, or maps of MessagePack as `write` writes them.

    data.train = dict(own=dict(name="array_record", path="data/train-*.array_record"))

    array_record.write("data/train.array_record", [{"image": jpeg, "text": "a dog"}, ...])

* No TensorFlow: `wire` reads both forms. Fields are found by name: image="image/encoded",
  text="caption".
* Refused at once: what is no ArrayRecord or is cut off, with its name. Counted as corrupt when met:
  records that are damaged, a file that changed while it was being read.
* Files with more than one record in a group (`group_size`) are read, but slowly.
"""

import bisect
import dataclasses
import functools
import io
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module
from PIL import Image

from mmjax.data import records, shards, wire
from mmjax.data.files import Choice, Files, check_split, tell_repeated
from mmjax.data.index import indexed
from mmjax.data.source import CorruptExample, DataError, Example
from mmjax.data.storage import Stamp

_FILES = ("*.array_record*", "*.arrayrecord*")


@dataclasses.dataclass(frozen=True)
class Config(Choice):
    path: str  # a file, a folder, a glob, or with braces: "data/{00000..00015}.array_record"
    image: str = "image"  # field of the encoded image ("image/encoded" in many sets); "": none
    text: str = "text"  # field of the captions, one or several; "": from class names
    label: str = "label"  # field of the class; may be missing
    group: str = "group"  # field; one group's records are no negatives; may be missing
    id: str = "id"  # field of names for messages; may be missing: the number of the record
    more: tuple[str, ...] = ()  # further fields that examples keep as they are


def open(config: Config) -> Files:
    """The records of a split. Raises DataError for what is wrong with the set as a whole."""
    check_split(config.split, config.validation, config.test)
    files = shards.find(config.path, _FILES, "ArrayRecord file")
    found = Shards.of(files)
    fields = {name: getattr(config, name) for name in ("image", "text", "label", "group", "id")}
    wanted = {name: field for name, field in fields.items() if field}
    name = Path(config.path).name
    table = indexed(
        name,
        files,
        repr(sorted(wanted.items())),
        functools.partial(records.chunks, found, wanted),
        places=config.split != "all",
    )
    records.check(config.path, table, wanted, config.class_names)
    tell_repeated(name, table, "id")
    origin = records.Recorded(found, config.image, config.more)
    return Files(name, table, origin, config, columns=wanted, rows="records")


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
            writer.write(wire.encode({name: _plain(name, one) for name, one in example.items()}))
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
        return [_plain(name, one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (str, bytes, int, float)):
        raise TypeError(f"{name!r} is {type(value).__name__}; a record holds text, bytes, numbers")
    return value


@dataclasses.dataclass(frozen=True)
class Shards:
    """The records of some files, in order."""

    stamps: tuple[Stamp, ...]
    starts: tuple[int, ...]  # number of the first record of each file, and of all records

    @classmethod
    def of(cls, files: Sequence[Path]) -> "Shards":
        """Raises DataError for a file that is no whole ArrayRecord."""
        stamps = tuple(Stamp.of(path) for path in files)
        counts = []
        for stamp in stamps:
            reader = _reader(stamp)
            if not reader.ok():
                raise DataError(
                    f"{stamp.path} is no ArrayRecord file, or is cut off ({stamp.size} bytes); "
                    "copy or write it again"
                )
            counts.append(reader.num_records())
        return cls(stamps, tuple(itertools.accumulate(counts, initial=0)))

    def __len__(self) -> int:
        return self.starts[-1]

    def _place(self, number: int) -> tuple[Stamp, int]:
        file = bisect.bisect_right(self.starts, number) - 1
        return self.stamps[file], number - self.starts[file]

    def read(self, number: int) -> bytes:
        stamp, place = self._place(number)
        try:
            stamp.check(os.stat(stamp.path))  # the reader gives nothing for what was cut off
            return _reader(stamp).read([place])[0]
        except (OSError, RuntimeError, IndexError) as error:
            raise CorruptExample(f"cannot read record {place} of {stamp.path}: {error}") from error

    def where(self, number: int) -> str:
        stamp, place = self._place(number)
        file = f"{Path(stamp.path).name}, " if len(self.stamps) > 1 else ""
        return f"{file}record {place}"


@functools.lru_cache(maxsize=256)
def _reader(stamp: Stamp) -> Any:
    """Safe to use from several threads; without read-ahead, since rows are asked for at random."""
    return array_record_module.ArrayRecordReader(
        stamp.path, options="readahead_buffer_size:0", file_reader_buffer_size=32768
    )
