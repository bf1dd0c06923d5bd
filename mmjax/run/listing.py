"""All pictures, sounds or texts of a folder, a manifest, a text file or a set by its name.

* For what is embedded and searched, not trained on: no splits, no classes, no captions needed.
* A row is read when it is asked for; one that cannot be raises `CorruptExample`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from mmjax import registry
from mmjax.config import ConfigError, build
from mmjax.data.captions import captions
from mmjax.data.source import CorruptExample, DataError
from mmjax.data.storage import Stamp, reaching
from mmjax.datasets import emoji
from mmjax.readers import folder, manifest, shards
from mmjax.readers.files import read, some
from mmjax.readers.values import checked_text

Kind = Literal["images", "sounds", "texts"]
FIELDS = {"images": "image", "sounds": "audio", "texts": "text"}  # of examples
NOUNS = {"images": "picture", "sounds": "sound", "texts": "text"}
LISTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclasses.dataclass(frozen=True)
class Listing:
    """Rows that are read by their number: a folder, a list or a data set, each the same way."""

    count: int  # of rows
    get: Callable[[int], Any]  # a row: encoded bytes, uint8 [H, W, 3], samples, or a text
    name: Callable[[int], str]  # of a row, for people
    fingerprint: str  # identity of what there is

    def __len__(self) -> int:
        return self.count


def open(data: str, kind: Kind = "images", column: str = "") -> Listing:
    """The rows of a kind.

    Args:
      data: a folder of pictures or sounds, a manifest (.jsonl, .csv, .tsv, .parquet), a .txt file
        of one text a line; "emoji", every thing that is drawn; or another set of mmjax.datasets,
        "tabler", "easy_vqa:test" with a split.
      column: of a manifest; "": "image", "audio" or "text".

    Raises:
      DataError, ConfigError, FileNotFoundError: there is no such thing, or it has no such rows.
    """
    with reaching(f"--data={data}"):
        return _opened(data, Path(data).expanduser(), kind, column)


def _opened(data: str, path: Path, kind: Kind, column: str) -> Listing:
    if path.is_dir():
        if kind == "texts":
            raise DataError(f"{data}: texts are read from a manifest, or from a .txt of lines")
        return _folder(path, kind)
    if path.suffix == ".txt" and kind == "texts":
        return _lines(path)
    if path.suffix in LISTS:
        return _manifest(str(path), kind, column)
    if path.exists():
        suffixes = ", ".join(LISTS)
        raise DataError(f"{data} is no folder of files, and no {suffixes} (or .txt of texts)")
    return _named(data, kind)


def files_in(path: Path, kind: Kind = "images") -> list[str]:
    """Names of the pictures or sounds below a folder, with "/", sorted. Raises DataError: there are
    none."""
    suffixes = folder.MEDIA[FIELDS[kind]]
    names = sorted(name for name in folder.below(path) if name.lower().endswith(suffixes))
    if not names:
        found = sorted(one.name for one in path.iterdir())
        have = some(found) if found else "nothing"
        raise DataError(f"no {NOUNS[kind]} in {path}; it has {have}")
    return names


def _folder(path: Path, kind: Kind) -> Listing:
    names = files_in(path, kind)
    return Listing(
        len(names),
        lambda row: read(os.path.join(path, names[row])),
        lambda row: printable(names[row]),
        identity(path, names),
    )


def identity(path: Path, names: list[str]) -> str:
    """Of files of a folder, as they are now."""
    return _digest([(name, *_state(path / name)) for name in names])


def _state(path: Path) -> tuple[int, ...]:
    """Size and time of a file; () of one that cannot be reached."""
    try:
        return Stamp.of(path)[1:]
    except OSError:  # its row says why, when it is read
        return ()


def _lines(path: Path) -> Listing:
    if not path.is_file():
        raise DataError(shards.absent(path, ("*.txt",), "list of texts"))
    content = path.read_bytes().decode("utf-8", "surrogateescape")
    texts = [line.strip() for line in content.removeprefix("\ufeff").splitlines()]
    texts = [text for text in texts if text]
    if not texts:
        raise DataError(f"{path} has no text in it")
    return Listing(
        len(texts),
        lambda row: checked_text(texts[row]),
        lambda row: printable(texts[row]),
        _digest(texts),
    )


def printable(text: str) -> str:
    """With a mark in the place of bytes that are no UTF-8, which no file of text can hold."""
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def _manifest(path: str, kind: Kind, column: str) -> Listing:
    field = FIELDS[kind]
    listed = manifest.listed(path, field, column or field)
    table = listed.table

    def get(row: int) -> Any:
        found = table[row]
        if found.problem:
            raise CorruptExample(found.problem)
        if kind != "texts":
            return listed.load(row, found)[field]
        return checked_text(captions({"text": found.text})[0])

    def name(row: int) -> str:
        found = table[row]
        called = found.text if kind == "texts" else found.path
        if isinstance(called, tuple):
            called = called[0]
        return printable(called) if called else listed.where(row)

    if not len(table):
        raise DataError(f"{path} has no rows")
    return Listing(len(table), get, name, f"{table.about['digest']} {field}")


def _named(data: str, kind: Kind) -> Listing:
    if data == "emoji":
        source: Any = emoji.catalogue()
    else:
        name, _, split = data.partition(":")
        try:
            module = registry.find(registry.SOURCES, name, where="--data")
            config = build(module.Config, {"split": split} if split else {}, where="--data")
        except (ConfigError, AttributeError) as error:
            raise FileNotFoundError(
                f"--data={data}: there is no such folder or file, and no data set of that name"
            ) from error
        source = module.open(config)
        if FIELDS[kind] not in source[0]:
            raise DataError(f"--data={data} has no {kind}; its fields: {', '.join(source[0])}")

    def get(row: int) -> Any:
        example = source[row]
        return captions(example)[0] if kind == "texts" else example[FIELDS[kind]]

    def name_of(row: int) -> str:
        texts = source.column("text")
        if texts is None:
            return source.locate(row)
        return texts[row] if isinstance(texts[row], str) else texts[row][0]

    return Listing(len(source), get, name_of, source.fingerprint)


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
