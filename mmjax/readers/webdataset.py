"""WebDataset tars, read at random: an index of offsets is made once, nothing is extracted.

    data.train = dict(cc3m=dict(name="webdataset", path="cc3m/{00000..00331}.tar"))

* A sample is the members of one tar whose names are equal up to the first dot of the file's name,
  side by side or not: 000012.jpg, 000012.txt, 000012.json, as img2dataset writes them.
* The index holds captions and labels, and lies in the data folder ($MMJAX_DATA).
* Refused at once: compressed tars, tars that are cut off (`truncated="keep"` takes what is whole).
  Counted as corrupt when met: samples without image or caption, broken JSON, a tar that changed.
* Keys that occur twice are said once and kept.
"""

import bisect
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from mmjax.data.source import CorruptExample, DataError, Example
from mmjax.data.storage import Stamp, note
from mmjax.readers import shards, tar
from mmjax.readers.files import Choice, Files, check_classes, check_split, tell_repeated
from mmjax.readers.index import indexed
from mmjax.readers.rows import Chunk
from mmjax.readers.table import Row, Table

ROWS = 8192  # in a chunk


@dataclasses.dataclass(frozen=True)
class Config(Choice):
    path: str  # a tar, a folder of tars, a glob, or with braces: "cc3m/{00000..00331}.tar"
    # endings of images, the first that a sample has; "": there are no images
    image: str = "jpg;jpeg;png;webp;gif;bmp;tif;tiff;avif"
    # ending of the caption, or "json.caption", a field of the .json (img2dataset writes both); "":
    # from class names
    text: str = "txt"
    label: str = "cls"  # ending of the class, or "json.label"; may be missing; "": none
    group: str = ""  # ending or field of the group ("json.url", say); "": equal captions
    truncated: Literal["refuse", "keep"] = "refuse"  # of a tar that is cut off: keep what is whole


def open(config: Config) -> Files:
    """The samples of a split. Raises DataError for what is wrong with the set as a whole."""
    check_split(config.split, config.validation, config.test)
    files = shards.find(config.path, ("*.tar",), "tar")
    stamps = tuple(Stamp.of(path) for path in files)
    name = Path(config.path).name
    fields = (config.image, config.text, config.label, config.group)
    table = indexed(
        name,
        files,
        repr(fields),
        functools.partial(_chunks, files, *fields),
        places=config.split != "all",
    )
    _check(config, table)
    tell_repeated(name, table, "key")
    others = table.about["others"]
    if others:
        count = table.about["other_count"]
        note(f"{name}: {count} members belong to no sample: {', '.join(others)}")
    columns = {"label": config.label, **({"text": config.text} if config.text else {})}
    origin = Members(table, stamps, bool(config.image))
    return Files(name, table, origin, config, columns=columns, rows="samples")


@dataclasses.dataclass(frozen=True)
class Members:
    """Samples in tars; the table has tar, offset and size of each image."""

    table: Table
    stamps: tuple[Stamp, ...]  # of the tars
    images: bool

    def _tar(self, number: int) -> Stamp:
        return self.stamps[bisect.bisect_right(self.table.about["starts"], number) - 1]

    def where(self, number: int) -> str:
        """The key, after its tar where there are several."""
        key = self.table[number].id or ""
        return key if len(self.stamps) == 1 else f"{Path(self._tar(number).path).name}, {key}"

    def load(self, number: int, row: Row) -> Example:
        if not self.images:
            return {}
        numbers = self.table.numbers
        place = int(numbers["offset"][number]), int(numbers["size"][number])
        return {"image": tar.content(self._tar(number), tar.Member(row.id or "", *place))}


def _check(config: Config, table: Table) -> None:
    cut = table.about["cut"]
    if cut and config.truncated == "refuse":
        raise DataError(
            f"{len(cut)} of {len(table.about['starts'])} tars cannot be used as they are: "
            + "; ".join(f"{name}: {reason}" for name, reason in cut[:5])
            + '. Copy or download them again; truncated="keep" takes the samples before the end'
        )
    if cut:
        note(f"{config.path}: " + "; ".join(f"{name}: {reason}" for name, reason in cut[:5]))
    if not len(table):
        raise DataError(f"{config.path} has no samples: names like 000012.jpg and 000012.txt")
    have = table.about["endings"]
    listed = ", ".join(f".{ending} ({count})" for ending, count in have.items())
    if config.image and not table.about["images"]:
        raise DataError(f"{config.path}: no sample has an image (image={config.image!r}); {listed}")
    counts = table.about["counts"]
    if config.text and not counts["text"]:
        raise DataError(
            f"{config.path}: no sample has a caption in text={config.text!r}; members: {listed}; a "
            "field of a .json is text=\"json.caption\", text='' makes captions from class names"
        )
    if not config.text:
        check_classes(config.path, table, config.label, config.class_names)


def _chunks(
    files: Sequence[Path],
    image: str,
    text: str,
    label: str,
    group: str,
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    """The samples of the tars.

    about gets "starts" (first row of each tar), "endings" of members, "others" and "other_count"
    (members of no sample), "cut" (tars that end early), "images" (their number).
    """
    endings: Counter[str] = Counter()
    about |= {"starts": [], "others": [], "other_count": 0, "cut": [], "images": 0}
    wanted = {"text": text, "label": label, "group": group}
    wanted = {column: where for column, where in wanted.items() if where}
    images, first = tuple(image.lower().split(";")) if image else (), 0
    for path in files:
        about["starts"].append(first)
        samples = _samples(path, advance, about)
        for sample in samples:
            endings.update(sample.members.keys())
        stamp = Stamp.of(path)
        for start in range(0, len(samples), ROWS):
            chunk = _chunk(stamp, samples[start : start + ROWS], images, wanted)
            if images:
                about["images"] += int((chunk.numbers["offset"] > 0).sum())
            yield chunk
        first += len(samples)
    about["endings"] = dict(endings.most_common(20))


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
        one = by_key.get(name)
        if one is None or ending in one.members:  # the same key again is another sample
            one = by_key[name] = _Sample(name, {})
            found.append(one)
        return one

    try:
        for member in tar.members(path, advance):
            key, ending = _parted(member.name)
            if ending:
                sample(key, ending).members[ending] = member
            else:
                about["other_count"] += 1
                about["others"] += [f"{path.name}: {member.name}"][: 5 - len(about["others"])]
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


def _chunk(
    stamp: Stamp, samples: list[_Sample], images: tuple[str, ...], wanted: dict[str, str]
) -> Chunk:
    columns: dict[str, list] = {"id": [sample.key for sample in samples]}
    columns |= {column: [] for column in wanted}
    places = np.zeros((len(samples), 2), np.int64)
    problems: dict[int, str] = {}
    for row, sample in enumerate(samples):
        values = dict.fromkeys(wanted)
        try:
            if sample.problem:
                raise CorruptExample(sample.problem)
            if images:
                places[row] = _image(sample, images)[1:]
            values = _values(stamp, sample, wanted)
        except CorruptExample as error:
            problems[row] = str(error)
        for column, value in values.items():
            columns[column].append(value)
    numbers = {"offset": places[:, 0], "size": places[:, 1]} if images else {}
    return Chunk(len(samples), columns, numbers, problems)


def _image(sample: _Sample, images: tuple[str, ...]) -> tar.Member:
    for ending in images:
        if ending in sample.members:
            return sample.members[ending]
    have = " ".join(f".{ending}" for ending in sample.members)
    raise CorruptExample(f"no image in the sample; it has {have}")


def _values(stamp: Stamp, sample: _Sample, wanted: dict[str, str]) -> dict[str, Any]:
    """Captions, label and group of a sample."""
    values: dict[str, Any] = {}
    record: Any = None
    for column, where in wanted.items():
        first, *path = where.split(".") if where.startswith("json.") else (where,)
        member = sample.members.get(first)
        if member is None:
            values[column] = None
        elif not path:
            text = tar.content(stamp, member).decode("utf-8", "surrogateescape")
            values[column] = text.removeprefix("\ufeff").strip()
        else:
            if record is None:
                record = _json(member.name, tar.content(stamp, member))
            value = record
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            values[column] = value
    return values


def _json(name: str, data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptExample(f"{name}: broken JSON: {error}") from error
