"""A page of one picture and what belongs to it: sounds to be listened to, with their names.

* Nothing is fetched: the picture and the sounds are inside.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from mmjax.report import media
from mmjax.report.markup import escaped
from mmjax.report.style import STYLE
from mmjax.training.media import encoded
from mmjax.transforms.audio import Sound


def page(title: str, sheet: Image.Image, named: Sequence[tuple[str, Any]]) -> str:
    """The HTML of a page.

    Args:
      named: (name, value) of what stands below the sheet; values that are no sounds are left out.
    """
    data = io.BytesIO()
    sheet.save(data, "PNG")
    about = escaped(sheet.info.get(media.DESCRIPTION, title))
    source = media.data_uri("image/png", data.getvalue())
    picture = f'<img alt="{about}" src="{source}" width="860">'
    rows = []
    for name, value in named:
        if isinstance(value, Sound):
            rows.append(f"<tr><td>{escaped(name)}</td><td>{player(name, value)}</td></tr>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head><body><main>\n"
        f"<h1>{escaped(title)}</h1>\n{picture}\n<table>{''.join(rows)}</table>\n"
        "</main></body></html>\n"
    )


def player(name: str, sound: Sound) -> str:
    """The browser's own player of a sound."""
    ending, data = encoded(sound)
    return media.played(ending, data, name)
