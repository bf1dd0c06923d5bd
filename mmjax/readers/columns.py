"""Columns of a user's data: which fields an example has, what the data calls them, what they hold.

    data.train = dict(own=dict(
        name="manifest", path="speech/list.jsonl",
        columns=dict(audio=dict(name="wav"), start=dict(), end=dict()),
    ))

* Every reader has options for the usual case (image, text, label, group, id); `columns` declares
  any other field, in a manifest, a folder, tars, records and TFDS alike.
* Bytes stay undecoded: decoding them is a transform's affair.
* A value that is not of its kind makes its row corrupt. A column that the data lacks is refused
  before training. An image may be lacking where other bytes are declared, and captions where other
  text is, as long as nobody named their column.
"""

import dataclasses
import difflib
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from mmjax.data.source import DataError

Kind = Literal["", "bytes", "files", "text", "texts", "int", "float", "ints", "floats", "json"]

OWN = ("image", "text", "label", "group", "id")  # fields that are options of every reader
KINDS = {
    "image": "bytes",
    "audio": "bytes",
    "video": "bytes",
    "text": "text",
    "question": "text",
    "answer": "text",
    "conversation": "json",
    "start": "float",  # of a cut, seconds
    "end": "float",
    "length": "int",
    "difficulty": "float",
    "label": "label",  # the name or the number of a class
    "group": "name",
    "id": "name",
    "split": "name",
}
NUMBERS = ("int", "float")  # known without reading a row: columns of the source


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of the data, as a config declares it."""

    # what the data calls it: a column, a field of the records, the ending of a member or of a file
    # beside another ("json.answer": a field of the .json); "": as the field
    name: str = ""
    # bytes: a file's path or its bytes; files: paths of several files, of one, or none (manifests);
    # text: one text or several; texts, ints, floats: always several; int, float: one number;
    # json: anything; "": the kind of a known field
    kind: Kind = ""


class Declared(NamedTuple):
    """One column, as the readers see it."""

    name: str  # what the data calls it
    kind: str  # of Kind, or "label" or "name"
    needed: bool = True  # a data set without it is refused


def declared(config: Any, *, files: bool = False) -> dict[str, Declared]:
    """The columns of a reader's Config by field, those of `OWN` first; without those set to "".

    Args:
      files: the reader opens the files of a column of this kind.

    Raises DataError for a field whose name or kind cannot be.
    """
    of_files = [field for field, column in config.columns.items() if column.kind == "files"]
    if of_files and not files:
        raise DataError(f"columns.{of_files[0]}: only a manifest has a column of files")
    more = {field: _declared(field, column) for field, column in config.columns.items()}
    defaults = {option.name: option.default for option in dataclasses.fields(config)}
    kinds = {column.kind for column in more.values()}
    replaced = {
        "image": "bytes" in kinds,
        "text": not kinds.isdisjoint(("text", "texts", "json")),
        "label": True,
        "group": True,
        "id": True,
    }
    columns = {}
    for field in OWN:
        name = getattr(config, field, "")
        if field in more:
            columns[field] = more.pop(field)
        elif name:
            unnamed = name == defaults[field]
            columns[field] = Declared(name, KINDS[field], not (unnamed and replaced[field]))
    return {**columns, **more}


def _declared(field: str, column: Column) -> Declared:
    if not field.isidentifier():
        raise DataError(f"columns: a field is a name like question, not {field!r}")
    known = KINDS.get(field, "")
    if not (column.kind or known):
        kinds = ", ".join(kind for kind in Kind.__args__ if kind)
        raise DataError(f"columns.{field} needs a kind: {kinds}")
    possible = ("", known, "files") if known == "bytes" else ("", known)
    if field in OWN and column.kind not in possible:
        raise DataError(f"columns.{field} is {known}, not {column.kind}")
    kind = column.kind or known
    return Declared(column.name or field, kind, needed=kind != "files")


def extras(columns: Mapping[str, Declared]) -> dict[str, Declared]:
    """The fields whose values are kept as they were declared: no bytes, of `OWN` only files."""
    return {
        field: column
        for field, column in columns.items()
        if column.kind == "files" or (field not in (*OWN, "split") and column.kind != "bytes")
    }


def media(columns: Mapping[str, Declared]) -> dict[str, Declared]:
    """The columns of bytes."""
    return {field: column for field, column in columns.items() if column.kind == "bytes"}


def refuse_missing(
    where: str, columns: Mapping[str, Declared], have: Collection[str], classes: bool
) -> None:
    """Raises DataError for a column that is needed and is not there, with what might be meant.

    A column of files may be lacking, unless one that is no other field's is called nearly so.

    Args:
      where: what has the columns, for messages: "list.jsonl has no column".
      have: the names that there are.
      classes: there are class names, from which captions can be made.
    """
    taken = {column.name for column in columns.values()}
    for field, column in columns.items():
        if column.name in have:
            continue
        near = difflib.get_close_matches(column.name, have, n=1, cutoff=0.5)
        misspelled = column.kind == "files" and near and near[0] not in taken
        if not column.needed and not misspelled:
            continue
        hint = f"; did you mean {field}={near[0]!r}?" if near else ""
        if field == "text" and not near and classes:
            hint = "; text='' makes captions from the class names"
        raise DataError(
            f"{where} {column.name!r} ({field}={column.name!r}){hint} It has: {', '.join(have)}"
        )
