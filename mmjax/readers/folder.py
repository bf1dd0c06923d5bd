"""A user's own data: a folder of images with side-car texts, or one folder per class.

    data.train = dict(own=dict(name="folder", path="photos", split="train"))

    photos/a.jpg photos/a.txt     # layout "captions": one caption per line of the text
    photos/cat/1.jpg              # layout "classes": label = folder, captions from `templates`

* The same with sounds or videos, and with further files beside each, declared by `columns`:
  answer=dict(name="json.answer") is a field of a.json, audio=dict() is a.wav beside a.mp4.
* Searched through all depths, hidden files left out, in the order of the paths.
* Refused at once: a folder that does not exist or holds no image, images without a text or class.
  Counted as corrupt when they are met: empty texts, texts that are no UTF-8, broken images.
* In layout "classes" a class is a group: images of one class are not each other's negatives.
"""

import dataclasses
import difflib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from mmjax.data.captions import decode_utf8
from mmjax.data.source import CorruptExample, DataError, Example
from mmjax.readers import members
from mmjax.readers.columns import KINDS, OWN, Column, Declared, declared, extras, media
from mmjax.readers.equal_files import MOST, compared
from mmjax.readers.files import Choice, Files, check_split, read, some, tell_copies
from mmjax.readers.rows import Chunk
from mmjax.readers.table import Row, Table, table_of

MEDIA = {
    field: tuple(f".{ending}" for ending in endings.split(";"))
    for field, endings in members.ENDINGS.items()
}
SUFFIXES = MEDIA["image"]
ROWS = 8192  # in a chunk


@dataclasses.dataclass(frozen=True)
class Config(Choice):
    path: str  # the folder: what torchvision's ImageFolder or Hugging Face's imagefolder reads
    layout: Literal["auto", "captions", "classes"] = "auto"  # auto: captions if there are texts
    # what an example is made of; auto: images where there are any, else what there is
    media: Literal["auto", "image", "audio", "video"] = "auto"
    # further fields, of files beside each: dict(answer=dict(name="json.answer")), see columns.py
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    # files that are compared, at most, so that copies under other names count as one; 0: none
    compare_files: int = MOST


def open(config: Config) -> Files:
    """The files of a split. Raises DataError for what is wrong with the folder as a whole."""
    check_split(config.split, config.validation, config.test)
    root = Path(config.path)
    if not root.is_dir():
        raise DataError(_missing(root))
    field, names = _searched(root, config.media)
    beside = _beside(config, field)
    texts = {name: root / f"{os.path.splitext(name)[0]}.txt" for name in names}
    layout = _layout(config, root, field, texts)
    columns = {field: Declared(field, "bytes"), **beside}
    if layout == "captions":
        columns["text"] = Declared("text", KINDS["text"])
        chunks: Iterable[Chunk] = _captions(field, texts)
    else:
        columns["label"] = Declared("label", KINDS["label"])
        chunks = [_classes(field, names)]
    empty = set(beside)
    if beside:
        chunks = map(functools.partial(_with_files_beside, root, field, beside, empty), chunks)
    chunks = compared(chunks, field, functools.partial(os.path.join, root), config.compare_files)
    table = table_of(chunks, columns, places=config.split != "all")
    for name in sorted(empty):
        endings = {path.name.partition(".")[2] for path in root.rglob("*") if path.is_file()}
        raise DataError(
            f"{root}: nothing has {name}={beside[name].name!r} beside it; endings: "
            f"{some(sorted(endings - {''}))}; a field of a .json is name=\"json.{name}\""
        )
    tell_copies(root.name, table)
    return Files(
        root.name,
        table,
        Inside(table, root, tuple(media(columns))),
        config,
        columns=columns,
        rows=f"{field}s" if field != "audio" else "sounds",
        numbers=False,  # a folder "3" is a class of that name
    )


@dataclasses.dataclass(frozen=True)
class Inside:
    """The files of a folder."""

    table: Table
    root: Path
    fields: tuple[str, ...]  # of bytes, "image"

    def where(self, number: int) -> str:
        """The path in the folder."""
        return self.table[number].path or ""

    def load(self, number: int, row: Row) -> Example:
        return {field: read(os.path.join(self.root, row.paths[field])) for field in self.fields}


def below(root: Path) -> Iterator[str]:
    """Paths of the files below a folder, with "/"; hidden ones are left out.

    Raises OSError for a folder in it that may not be read: it is not passed over in silence.
    """

    def refuse(error: OSError) -> None:
        raise error

    for folder, inside, files in os.walk(root, onerror=refuse):
        inside[:] = [name for name in inside if not name.startswith((".", "__"))]
        for name in files:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _searched(root: Path, wanted: str) -> tuple[str, list[str]]:
    """(field, paths below the folder, with "/", sorted). Raises DataError when there is none."""
    found: dict[str, list[str]] = {field: [] for field in MEDIA}
    others = []
    for path in below(root):
        fits = [field for field in MEDIA if path.lower().endswith(MEDIA[field])]
        if wanted in fits:  # a .gif or a .webp may be a picture or a clip
            fits = [wanted]
        (found[fits[0]] if fits else others).append(path)
    if wanted == "auto":
        present = [field for field in MEDIA if found[field]]
        if len(present) > 1 and present[0] != "image":
            raise DataError(f'{root} has sounds and videos; media="audio" or media="video" is read')
        wanted = present[0] if present else "image"
    if not found[wanted]:
        others += [path for field in MEDIA for path in found[field]]
        have = f"; it has {some(sorted(others))}" if others else "; it is empty"
        raise DataError(f"no {wanted} in {root} ({' '.join(MEDIA[wanted])}){have}")
    return wanted, sorted(found[wanted])


def _layout(config: Config, root: Path, field: str, texts: Mapping[str, Path]) -> str:
    """Whether captions or classes are read. Raises DataError where some file lacks them."""
    names = list(texts)
    what = "sounds" if field == "audio" else f"{field}s"
    without = [name for name in names if not os.path.isfile(texts[name])]
    layout = config.layout
    if layout == "auto":
        layout = "captions" if len(without) < len(names) else "classes"
    if layout == "captions" and without:
        raise DataError(
            f"{len(without)} of {len(names)} {what} in {root} have no text beside them: "
            f"{some(without)}. {Path(without[0]).name} needs {texts[without[0]].name} with its "
            'captions, one a line; layout="classes" takes the folders as classes instead'
        )
    loose = [name for name in names if "/" not in name]
    if layout == "classes" and loose:
        raise DataError(
            f"{len(loose)} of {len(names)} {what} in {root} are in no class folder: "
            f"{some(loose)}. Put each into a folder named like its class, or a text with its "
            f"captions beside each ({loose[0]}: {texts[loose[0]].name})"
        )
    return layout


def _classes(field: str, names: list[str]) -> Chunk:
    return Chunk(len(names), {field: names, "label": [name.split("/")[0] for name in names]})


def _captions(field: str, texts: Mapping[str, Path]) -> Iterator[Chunk]:
    names = list(texts)
    for start in range(0, len(names), ROWS):
        part = names[start : start + ROWS]
        problems: dict[int, str] = {}
        captions = [_lines(texts[name], row, problems) for row, name in enumerate(part)]
        yield Chunk(len(part), {field: part, "text": captions}, problems=problems)


def _lines(path: Path, row: int, problems: dict[int, str]) -> str | tuple[str, ...] | None:
    try:
        lines = decode_utf8(read(str(path)).removeprefix(b"\xef\xbb\xbf")).splitlines()
    except CorruptExample as error:
        problems[row] = f"{path.name}: {error}"
        return None
    captions = tuple(line.strip() for line in lines if line.strip())
    if not captions:
        problems[row] = f"empty caption: nothing in {path.name}"
        return None
    return captions[0] if len(captions) == 1 else captions


def _beside(config: Config, field: str) -> dict[str, Declared]:
    """The declared columns, which are files beside those that were found."""
    columns = declared(config)
    own = [name for name in (field, *OWN[1:]) if name in columns]
    if own:
        raise DataError(
            f"columns.{own[0]}: a folder has that of its own; {', '.join(columns)} are files beside"
        )
    return columns


def _with_files_beside(
    root: Path, field: str, columns: Mapping[str, Declared], empty: set[str], chunk: Chunk
) -> Chunk:
    """With the values of further columns, and the paths of further bytes.

    empty: fields that nothing had so far; those that something has are taken out of it.
    """
    values: dict[str, list] = {name: [] for name in columns}
    encoded = media(columns)
    wanted = {name: column.name for name, column in extras(columns).items()}
    problems = dict(chunk.problems)
    for row, path in enumerate(chunk.columns[field]):
        stem = os.path.splitext(path)[0]
        found = dict.fromkeys(columns)
        try:
            found |= members.values(stem, functools.partial(_content, root, stem), wanted)
            for name, column in encoded.items():
                found[name] = _path(root, stem, name, column.name)
        except CorruptExample as error:
            problems.setdefault(row, str(error))
        for name, value in found.items():
            values[name].append(value)
            if value is not None:
                empty.discard(name)
    return dataclasses.replace(chunk, columns={**chunk.columns, **values}, problems=problems)


def _content(root: Path, stem: str, ending: str) -> bytes | None:
    path = os.path.join(root, f"{stem}.{ending}")
    return read(path) if os.path.isfile(path) else None


def _path(root: Path, stem: str, field: str, name: str) -> str:
    usable = members.endings(field, name)
    have = [ending for ending in usable if os.path.isfile(root / f"{stem}.{ending}")]
    return f"{stem}.{members.chosen(field, name, have)}"


def _missing(root: Path) -> str:
    if root.is_file():
        return f'{root} is a file, not a folder of images; for a list of images use name="manifest"'
    if root.is_symlink():
        return f"{root} is a link that leads to no folder: to {os.readlink(root)}"
    folder = next(parent for parent in root.parents if parent.is_dir())
    inside = sorted(path.name for path in folder.iterdir() if path.is_dir())
    near = difflib.get_close_matches(root.relative_to(folder).parts[0], inside, n=3, cutoff=0.5)
    return f"no folder {root}; in {folder.resolve()} there is: {some(near or inside) or 'none'}"
