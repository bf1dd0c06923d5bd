"""Conversations about pictures, sounds and videos: a JSONL file with a conversation in each line.

    data.train = dict(own=dict(name="conversations", path="talks/list.jsonl", split="train"))

    {"image": "cat.jpg", "conversation": [{"role": "user", "content": "What is it?"},
                                          {"role": "assistant", "content": "A cat."}]}
    {"image": ["a.jpg", "b.jpg"], "conversation": [{"role": "user",
                                  "content": "Is <image> larger than <image>?"}, ...]}
    {"audio": "bell.wav", "conversation": [{"role": "user", "content": "<audio>What rings?"}, ...]}
    {"conversation": [{"role": "user", "content": [{"type": "audio", "audio": "bell.wav"},
                                                   {"type": "text", "text": "What rings?"}]}, ...]}
    {"conversation": [...]}

(each on one line.)

* `image` is one path, a list of them, or absent, another number in each line; `audio` and `video`
  likewise. In what is said "<image>" is the place of the next picture, "<audio>" of the next clip,
  "<video>" of the next video; where no turn names a place, all of them stand before the first turn
  of the user (transforms/dialogue.py).
* A content of parts names its files itself; paths in it are relative to the same folder.
* LLaVA's form is read as well (https://arxiv.org/abs/2304.08485): "conversations", with turns
  {"from": "human" | "gpt" | "system", "value": text}. Its files are one JSON list: write a line for
  each element.
* A manifest besides (manifest.py): the same paths, splits, messages and cache.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data import messages
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.readers import json_text, lines, manifest
from mmjax.readers.columns import Column

COLUMNS = ("conversation", "conversations")


@dataclasses.dataclass(frozen=True)
class Config:
    path: str  # the .jsonl file
    split: str = "all"  # "train", "validation", "test", "all"; by hash, so that rows never move
    validation: float = 0.1  # share of the rows that are for validation
    test: float = 0.1  # share that is for testing
    image: str = "image"  # column of the paths of pictures; "": there are none
    audio: str = "audio"  # column of the paths of sounds; "": there are none
    video: str = "video"  # column of the paths of videos; "": there are none
    conversation: str = ""  # column of the turns; "": "conversation" or "conversations"
    # column; rows of one group are in one split. Where it is missing: those with one first picture
    group: str = "group"
    id: str = "id"  # column of names for messages; may be missing
    split_column: str = ""  # column that names the split of a row; "": by hash
    root: str = ""  # folder that paths are relative to; "": that of the file
    check_files: int = 10_000  # rows whose files' existence is checked at the start, at most


class Conversations:
    """Rows of a manifest; the files that parts of messages name are found beside it."""

    def __init__(self, rows: Source, root: Path):
        self._rows = rows
        self._root = root
        self.fingerprint = rows.fingerprint

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        example = self._rows[index]
        return {**example, "conversation": self._relocated(example["conversation"])}

    def column(self, name: str) -> np.ndarray | None:
        values = self._rows.column(name)
        if name not in ("conversation", "audio") or values is None:
            return values
        out = np.empty(len(values), object)
        for row, value in enumerate(values):
            if name == "audio":  # whose length is read without reading the rows
                out[row] = tuple(map(self._located, value or ()))
            else:
                out[row] = self._relocated(value)
        return out

    def locate(self, index: int) -> str:
        return self._rows.locate(index)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before there are rows: unpickling
            raise AttributeError(name)
        return getattr(self._rows, name)

    def _relocated(self, turns: Any) -> Any:
        return messages.relocated(turns, self._located)

    def _located(self, path: str) -> str:
        try:
            return manifest.located(self._root, path)
        except CorruptExample:
            return path  # whoever opens it says that it is not there


def open(config: Config) -> Conversations:
    """The rows of a split. Raises DataError for what is wrong with the file as a whole."""
    columns = {"conversation": Column(config.conversation or _column(Path(config.path)))}
    for field in messages.KINDS:
        if getattr(config, field):
            columns[field] = Column(getattr(config, field), "files")
    rows = manifest.open(
        manifest.Config(
            path=config.path,
            split=config.split,
            validation=config.validation,
            test=config.test,
            templates=(),
            image="",
            text="",
            label="",
            group=config.group,
            id=config.id,
            columns=columns,
            split_column=config.split_column,
            root=config.root,
            check_files=config.check_files,
        )
    )
    return Conversations(rows, Path(config.root) if config.root else Path(config.path).parent)


def _column(path: Path) -> str:
    """What the first line calls its turns; whatever is wrong with it, the manifest says."""
    if path.suffix not in lines.JSON or not path.is_file():
        return COLUMNS[0]
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        record = json_text.lenient(first.decode("utf-8-sig", "surrogateescape"))
    except json_text.BROKEN:
        return COLUMNS[0]
    known = record if isinstance(record, dict) else {}
    return next((name for name in COLUMNS if name in known), COLUMNS[0])
