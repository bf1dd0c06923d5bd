"""WebDataset tars, read at random: an index of offsets is made once, nothing is extracted.

    data.train = dict(cc3m=dict(name="webdataset", path="cc3m/{00000..00331}.tar"))

* A sample is the members of one tar whose names are equal up to the first dot of the file's name,
  side by side or not: 000012.jpg, 000012.txt, 000012.json, as img2dataset writes them.
* Sounds, videos and further texts are declared by `columns`: audio=dict(name="wav;flac").
* The index holds captions and labels, and lies in the data folder ($MMJAX_DATA).
* Refused at once: compressed tars, tars that are cut off (`truncated="keep"` takes what is whole).
  Counted as corrupt when met: samples without image or caption, broken JSON, a tar that changed.
* Keys that occur twice are said once and kept.
"""

import bisect
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.data.source import CorruptExample, DataError, Example
from mmjax.data.storage import Stamp, note
from mmjax.readers import members, shards, tar
from mmjax.readers.columns import Column, Declared, declared, extras, media
from mmjax.readers.equal_files import MOST, EqualFiles, Span
from mmjax.readers.files import (
    Choice,
    Files,
    check_classes,
    check_split,
    tell_copies,
    tell_repeated,
)
from mmjax.readers.index import indexed
from mmjax.readers.rows import Chunk
from mmjax.readers.table import Row, Table

ROWS = 8192  # in a chunk


@dataclasses.dataclass(frozen=True)
class Config(Choice):
    path: str  # a tar, a folder of tars, a glob, or with braces: "cc3m/{00000..00331}.tar"
    # endings of images, the first that a sample has; "": there are no images
    image: str = members.ENDINGS["image"]
    # ending of the caption, or "json.caption", a field of the .json (img2dataset writes both); "":
    # from class names
    text: str = "txt"
    label: str = "cls"  # ending of the class, or "json.label"; may be missing; "": none
    group: str = ""  # ending or field of the group ("json.url", say); "": equal captions
    # further fields: dict(audio=dict(name="wav;flac"), answer=dict(name="json.answer")), see
    # columns.py
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    truncated: Literal["refuse", "keep"] = "refuse"  # of a tar that is cut off: keep what is whole
    # images that are compared, at most, so that copies under other keys count as one; 0: none
    compare_files: int = MOST


def open(config: Config) -> Files:
    """The samples of a split. Raises DataError for what is wrong with the set as a whole."""
    check_split(config.split, config.validation, config.test)
    files = shards.find(config.path, ("*.tar",), "tar")
    stamps = tuple(Stamp.of(path) for path in files)
    name = Path(config.path).name
    columns = declared(config)
    table = indexed(
        name,
        files,
        columns,
        functools.partial(_chunks, files, columns, EqualFiles(config.compare_files)),
        places=config.split != "all",
        identity=str(config.compare_files),
    )
    _check(config, table, columns)
    tell_repeated(name, table, "key")
    tell_copies(name, table)
    others = table.about["others"]
    if others:
        count = table.about["other_count"]
        note(f"{name}: {count} members belong to no sample: {', '.join(others)}")
    fields = tuple(field for field in media(columns) if table.about["media"].get(field))
    origin = Members(table, stamps, fields)
    return Files(name, table, origin, config, columns=columns, rows="samples")


@dataclasses.dataclass(frozen=True)
class Members:
    """Samples in tars; the table has offset and size of each image or other bytes."""

    table: Table
    stamps: tuple[Stamp, ...]  # of the tars
    fields: tuple[str, ...]  # of bytes, "image"

    def _tar(self, number: int) -> Stamp:
        return self.stamps[bisect.bisect_right(self.table.about["starts"], number) - 1]

    def where(self, number: int) -> str:
        """The key, after its tar where there are several."""
        key = self.table[number].id or ""
        return key if len(self.stamps) == 1 else f"{Path(self._tar(number).path).name}, {key}"

    def load(self, number: int, row: Row) -> Example:
        return {field: self._bytes(field, number, row) for field in self.fields}

    def _bytes(self, field: str, number: int, row: Row) -> bytes:
        offset, size = (int(self.table.numbers[name][number]) for name in _places(field))
        if not offset:
            raise CorruptExample(f"no {field} in the sample")
        return tar.content(self._tar(number), tar.Member(row.id or "", offset, size))


def _places(field: str) -> tuple[str, str]:
    """The table's names for offset and size of a field."""
    more = "" if field == "image" else f".{field}"
    return f"offset{more}", f"size{more}"


def _check(config: Config, table: Table, columns: Mapping[str, Declared]) -> None:
    cut = table.about["cut"]
    reasons = "; ".join(f"{name}: {reason}" for name, reason in cut[:5])
    if cut and config.truncated == "refuse":
        raise DataError(
            f"{len(cut)} of {len(table.about['starts'])} tars cannot be used as they are: "
            f"{reasons}. Copy or download them again; truncated=\"keep\" takes the samples before "
            "the end"
        )
    if cut:
        note(f"{config.path}: {reasons}")
    if not len(table):
        raise DataError(f"{config.path} has no samples: names like 000012.jpg and 000012.txt")
    have = table.about["endings"]
    listed = ", ".join(f".{ending} ({count})" for ending, count in have.items())
    for field, column in media(columns).items():
        if column.needed and not table.about["media"][field]:
            what = "an image" if field == "image" else f"its {field}"
            raise DataError(
                f"{config.path}: no sample has {what} ({field}={column.name!r}); {listed}"
            )
    counts = table.about["counts"]
    if "text" not in columns:
        if config.templates:
            label = columns["label"].name if "label" in columns else ""
            check_classes(config.path, table, label, config.class_names)
    elif columns["text"].needed and not counts["text"]:
        raise DataError(
            f"{config.path}: no sample has a caption in text={columns['text'].name!r}; members: "
            f"{listed}; a field of a .json is text=\"json.caption\", text='' makes captions from "
            "class names"
        )
    for field, column in columns.items():
        if field in table.about["empty"]:
            raise DataError(
                f"{config.path}: no sample has {field} in {field}={column.name!r}; members: "
                f"{listed}"
            )


def _chunks(
    files: Sequence[Path],
    columns: Mapping[str, Declared],
    equal: EqualFiles,
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    """The samples of the tars.

    about gets "starts" (first row of each tar), "endings" of members, "others" and "other_count"
    (members of no sample), "cut" (tars that end early), "media" (samples that have each field of
    bytes), "empty" (declared fields that no sample has).
    """
    endings: Counter[str] = Counter()
    about |= {"starts": [], "others": [], "other_count": 0, "cut": []}
    about["media"] = dict.fromkeys(media(columns), 0)
    empty = set(extras(columns))
    first = 0
    for path in files:
        about["starts"].append(first)
        samples = _samples(path, advance, about)
        for sample in samples:
            endings.update(sample.members.keys())
        stamp = Stamp.of(path)
        for start in range(0, len(samples), ROWS):
            chunk = _compared(stamp, _chunk(stamp, samples[start : start + ROWS], columns), equal)
            for field in about["media"]:
                about["media"][field] += int((chunk.numbers[_places(field)[0]] > 0).sum())
            for field in [*empty]:
                if chunk.columns[field].count(None) < chunk.size:
                    empty.remove(field)
            yield chunk
        first += len(samples)
    about["endings"] = dict(endings.most_common(20))
    about["empty"] = sorted(empty)


@dataclasses.dataclass
class _Sample:
    key: str
    members: dict[str, tar.Member]  # by ending
    problem: str = ""


def _samples(path: Path, advance: Callable[[int], None], about: dict[str, Any]) -> list[_Sample]:
    """The samples of a tar, in the order of their first members."""
    found: list[_Sample] = []
    by_key: dict[str, _Sample] = {}

    def sample(name: str, ending: str = "") -> _Sample:
        known = by_key.get(name)
        if known is None or ending in known.members:  # the same key again is another sample
            known = _Sample(name, {})
            by_key[name] = known
            found.append(known)
        return known

    try:
        for member in tar.members(path, advance):
            key, ending = _parted(member.name)
            if ending:
                sample(key, ending).members[ending] = member
            else:
                about["other_count"] += 1
                if len(about["others"]) < 5:
                    about["others"].append(f"{path.name}: {member.name}")
    except tar.Cut as cut:
        about["cut"].append((path.name, str(cut)))
        if _parted(cut.name)[1]:
            sample(_parted(cut.name)[0]).problem = f"{path.name}: {cut}"
    return found


def _parted(name: str) -> tuple[str, str]:
    """(key, ending): "a/b.seg.png" -> ("a/b", "seg.png"); no ending: it belongs to no sample."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return (f"{folder}{slash}{stem}", ending.lower()) if stem else (name, "")


def _chunk(stamp: Stamp, samples: list[_Sample], columns: Mapping[str, Declared]) -> Chunk:
    encoded = media(columns)
    wanted = {
        field: column.name for field, column in columns.items() if field not in encoded
    }
    raw: dict[str, list] = {"id": [sample.key for sample in samples]}
    raw |= {field: [] for field in wanted}
    places = {field: np.zeros((len(samples), 2), np.int64) for field in encoded}
    problems: dict[int, str] = {}
    for row, sample in enumerate(samples):
        values: dict[str, Any] = dict.fromkeys(wanted)
        try:
            if sample.problem:
                raise CorruptExample(sample.problem)
            for field, column in encoded.items():
                places[field][row] = _place(sample, field, column)
            read = functools.partial(_content, stamp, sample)
            values = members.values(sample.key, read, wanted)
        except CorruptExample as error:
            problems[row] = str(error)
        for field, value in values.items():
            raw[field].append(value)
    numbers = {}
    for field, found in places.items():
        offset, size = _places(field)
        numbers[offset] = found[:, 0]
        numbers[size] = found[:, 1]
    return Chunk(len(samples), raw, numbers, problems)


def _compared(stamp: Stamp, chunk: Chunk, equal: EqualFiles) -> Chunk:
    """With the place of the first image that has the same bytes, for each row that has one."""
    field = next((field for field in members.ENDINGS if _places(field)[0] in chunk.numbers), "")
    if not field:
        return chunk
    contents: list[Any] = []
    offsets, sizes = (chunk.numbers[name].tolist() for name in _places(field))
    for offset, size in zip(offsets, sizes, strict=True):
        span = Span(stamp.path, offset, size)
        contents.append(equal.first(span, lambda span=span: span) if size > 0 else None)
    return dataclasses.replace(chunk, contents=contents)


def _place(sample: _Sample, field: str, column: Declared) -> tuple[int, int]:
    """(offset, size); (0, 0) where it may be missing."""
    try:
        member = sample.members[members.chosen(field, column.name, sample.members)]
    except CorruptExample:
        if column.needed:
            raise
        return 0, 0
    return member.offset, member.size


def _content(stamp: Stamp, sample: _Sample, ending: str) -> bytes | None:
    member = sample.members.get(ending)
    return None if member is None else tar.content(stamp, member)
