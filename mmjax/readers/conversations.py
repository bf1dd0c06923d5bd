"""Conversations about pictures: a JSONL file with a conversation in each line.

    data.train = dict(own=dict(name="conversations", path="talks/list.jsonl", split="train"))

    {"image": "cat.jpg", "conversation": [{"role": "user", "content": "What is it?"},
                                          {"role": "assistant", "content": "A cat."}]}
    {"image": ["a.jpg", "b.jpg"], "conversation": [{"role": "user",
                                  "content": "Is <image> larger than <image>?"}, ...]}
    {"conversation": [...]}

(each on one line.)

* `image` is one path, a list of them, or absent, another number in each line. In what is said
  "<image>" is the place of the next picture; where no turn names a place, all of them stand before
  the first turn of the user (transforms/dialogue.py).
* LLaVA's form is read as well (https://arxiv.org/abs/2304.08485): "conversations", with turns
  {"from": "human" | "gpt" | "system", "value": text}. Its files are one JSON list: write a line for
  each element.
* A manifest besides (manifest.py): the same paths, splits, messages and cache.
"""

import dataclasses
from pathlib import Path

from mmjax.readers import json_text, lines, manifest
from mmjax.readers.columns import Column
from mmjax.readers.files import Files

COLUMNS = ("conversation", "conversations")


@dataclasses.dataclass(frozen=True)
class Config:
    path: str  # the .jsonl file
    split: str = "all"  # "train", "validation", "test", "all"; by hash, so that rows never move
    validation: float = 0.1  # share of the rows that are for validation
    test: float = 0.1  # share that is for testing
    image: str = "image"  # column of the paths of pictures; "": there are none
    conversation: str = ""  # column of the turns; "": "conversation" or "conversations"
    # column; rows of one group are in one split. Where it is missing: those with one first picture
    group: str = "group"
    id: str = "id"  # column of names for messages; may be missing
    split_column: str = ""  # column that names the split of a row; "": by hash
    root: str = ""  # folder that paths are relative to; "": that of the file
    check_files: int = 10_000  # rows whose pictures' existence is checked at the start, at most


def open(config: Config) -> Files:
    """The rows of a split. Raises DataError for what is wrong with the file as a whole."""
    columns = {"conversation": Column(config.conversation or _column(Path(config.path)))}
    if config.image:
        columns["image"] = Column(config.image, "files")
    return manifest.open(
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
