"""Pieces of HTML that the sections of the report share."""

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmjax.report.style import EXPLANATIONS


def escaped(text: str) -> str:
    """Text that holds no HTML."""
    return html.escape(text)


def section(title: str, content: str, anchor: str) -> str:
    """A part of the page with its heading, which "#anchor" leads to."""
    return f'<section id="{anchor}"><h2>{escaped(title)}</h2>{content}</section>'


def contents(sections: Iterable[str]) -> str:
    """Links to sections; "" where there are none."""
    links = []
    for part in sections:
        found = re.match(r'<section id="([^"]+)"><h2>([^<]*)</h2>', part)
        if found:
            links.append(f'<a href="#{found[1]}">{found[2]}</a>')
    return f"<nav>{''.join(links)}</nav>" if links else ""


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
