"""Pieces of HTML that the sections of the report share."""

import html
import re
from collections.abc import Mapping
from typing import Any

from mmjax.report.style import EXPLANATIONS


def escaped(text: str) -> str:
    """Text that holds no HTML."""
    return html.escape(text)


def section(title: str, content: str) -> str:
    """A part of the page with its heading."""
    return f"<section><h2>{escaped(title)}</h2>{content}</section>"


def fact_table(values: Mapping[str, Any]) -> str:
    """A table of names and values; "" if there are none."""
    rows = (
        f"<tr><td>{spelled(key)}</td><td class=value>{escaped(str(value))}</td></tr>"
        for key, value in values.items()
    )
    return f"<table class=facts>{''.join(rows)}</table>" if values else ""


def spelled(key: str) -> str:
    """A metric's or picture's path as people read it: "unseen style / image to text"."""
    return " / ".join(escaped(part.replace("_", " ")) for part in key.split("/") if part)


def explained(leaf: str) -> tuple[str, str]:
    """The name of a path's last segment as people write it, and what it means."""
    for pattern, name, meaning in EXPLANATIONS:
        match = re.fullmatch(pattern, leaf)
        if match:
            return match.expand(name), match.expand(meaning)
    return leaf.replace("_", " "), ""
