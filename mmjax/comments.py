"""Comments in Python source: the help of a config's fields is written once, beside them.

* A field's comment stands beside it, with its continuation below, or right above it.
* Nothing is imported or run to read it; where there is no source, there is no help.
"""

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
from collections.abc import Mapping
from typing import Any


def field_comments(cls: type) -> dict[str, str]:
    """{field: its comment} for a dataclass and its bases; empty where there is no source."""
    out: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # typed at a prompt
            continue
        comments = comments_by_line(source)
        for node in ast.parse(source).body[0].body:
            if isinstance(node, ast.AnnAssign):
                out[node.target.id] = comment_of(node, comments)
    return out


def comments_by_line(source: str) -> dict[int, tuple[int, bool, str]]:
    """{line: (column, whether the line holds nothing else, text)} of Python source."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        t.start[0]: (t.start[1], not t.line[: t.start[1]].strip(), t.string.lstrip("#: ").rstrip())
        for t in tokens
        if t.type == tokenize.COMMENT
    }


def comment_of(node: Any, comments: Mapping[int, tuple[int, bool, str]]) -> str:
    """The comment beside a syntax node with its continuation below, or else the lines above."""
    words: list[str] = []
    for line in (node.lineno, node.end_lineno):
        if line in comments and not comments[line][1]:
            words = [comments[line][2]]
            break
    else:
        line = node.lineno - 1
        while line in comments and comments[line][:2] == (node.col_offset, True):
            words = [comments[line][2], *words]
            line -= 1
        return " ".join(words)
    line += 1
    while line in comments and comments[line][1] and comments[line][0] > node.col_offset:
        words = [*words, comments[line][2]]
        line += 1
    return " ".join(words)
