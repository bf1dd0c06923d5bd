"""What is said in conversations, before anything of them is decoded: for vocabularies and lengths.

* `config` is that of dialogue.py: the fields of questions and answers, and the senses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mmjax.data import messages
from mmjax.data.source import CorruptExample, Example, Source
from mmjax.processors import whole
from mmjax.transforms.dialogue import AsConversation, checked


def unopened(config: Any, source: Source) -> Iterator[Example]:
    """What is said in each row and the pictures and clips that it has, of which no file is opened
    where the source knows their names, or where all things are of one shape and what is said is in
    columns; {} for a row that cannot be read."""
    said = source.column("conversation")
    files = {kind: source.column(kind) for kind in messages.KINDS}
    files = {kind: paths for kind, paths in files.items() if paths is not None}
    if said is not None and files:
        for row, turns in enumerate(said):
            yield {"conversation": turns, **{kind: files[kind][row] for kind in files}}
        return
    asked = source.column(config.question)
    answers = source.column(config.answer)
    alike = all(sense.fixed for sense in config.senses.values())
    if alike and not config.max_images and len(source) and not (asked is None or answers is None):
        first = _readable(source, 0)
        if config.question in first and "conversation" not in first:
            things = {field: first[field] for field in config.senses if field in first}
            for question, answer in zip(asked, answers, strict=True):
                yield {config.question: question, config.answer: answer, **things}
            return
    for row in range(len(source)):
        yield _readable(source, row)


def _readable(source: Source, row: int) -> Example:
    try:
        return source[row]
    except CorruptExample:
        return {}


def texts(config: Any, sources: Sequence[Source]) -> Iterator[str]:
    """Everything that is said in the data, or may be."""
    for sense in config.senses.values():
        yield from getattr(sense, "texts", ())
    convert = AsConversation(config.question, config.answer)
    for source in sources:
        for example in unopened(config, source):
            try:
                turns = checked(convert(example)["conversation"])
            except CorruptExample:
                continue
            for turn in turns:
                content = turn["content"]
                for kind in messages.KINDS.values():
                    content = content.replace(kind.token, " ")
                yield content


def grown(example: Example, sense: whole.Whole, count: Callable[[str], int]) -> Example:
    """A conversation with texts as long as they may become in training.

    count: how many tokens a text has.
    """
    turns = [
        {**turn, "content": sense.grown(turn["content"], count)}
        for turn in checked(example["conversation"])
    ]
    return {**example, "conversation": turns}
