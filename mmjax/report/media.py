"""The report's pictures, clips, sounds and texts: all of them inside the page.

* The newest version of each, and earlier pictures small in a strip below it, to see progress.
* Still pictures become WebP; an animated WebP or GIF is taken as it is and moves by itself; a sound
  and a video get the browser's own player.
"""

import base64
import io
from pathlib import Path

from PIL import Image

from mmjax.report.markup import escaped, explained, section, spelled

EARLIER = 6  # older versions of a picture that are kept
WIDTH = 1720  # pixels of the newest version, at most
SMALL = 640  # pixels of an earlier one, at most
PLAYED = {".wav": ("audio", "audio/wav"), ".mp4": ("video", "video/mp4")}
TEXT = ".txt"
PICTURES = (".png", ".webp", ".gif")

Versions = list[tuple[int, Path]]  # (step, file), the newest last


def media(folder: Path) -> str:
    """The section of everything in `folder`/<step>/; "" if there is nothing."""
    figures = [_figure(name, versions) for name, versions in _versions(folder).items()]
    figures = [figure for figure in figures if figure]
    return section("Pictures", "".join(figures)) if figures else ""


def _versions(folder: Path) -> dict[str, Versions]:
    """The files of each name, in the order of their steps."""
    versions: dict[str, Versions] = {}
    roots = [path for path in folder.glob("*") if path.name.isdigit()]
    for root in sorted(roots, key=lambda path: int(path.name)):
        for path in sorted(root.rglob("*")):
            if path.suffix in (*PICTURES, *PLAYED, TEXT):
                name = path.relative_to(root).with_suffix("").as_posix()
                versions.setdefault(name, []).append((int(root.name), path))
    return versions


def _figure(name: str, versions: Versions) -> str:
    """The newest version that is whole, with its caption and the earlier ones."""
    versions = list(versions)
    shown = ""
    step = 0
    while versions and not shown:
        step, path = versions.pop()
        shown = _embedded(path)
    if not shown:
        return ""
    meaning = explained(name.split("/")[-1])[1]
    caption = f"<b>{spelled(name)}</b>, step {step:,}. {escaped(meaning)}"
    return (
        f"<figure><div class=picture>{shown}</div><figcaption>{caption}</figcaption>"
        f"{_strip(versions)}</figure>"
    )


def _strip(versions: Versions) -> str:
    """Earlier pictures, small. There are none of texts, nor of what is played, which is large."""
    versions = [(step, path) for step, path in versions if path.suffix in PICTURES]
    stride = max(1, -(-len(versions) // EARLIER))
    figures = [
        f"<figure>{_still(path, SMALL)}<figcaption>step {step:,}</figcaption></figure>"
        for step, path in versions[::stride]
    ]
    if not figures:
        return ""
    strip = f"<div class=strip>{''.join(figures)}</div>"
    return f"<details><summary>earlier</summary>{strip}</details>"


def _embedded(path: Path) -> str:
    """The element that shows or plays a file; "" if it cannot be read."""
    if path.suffix == TEXT:
        text = _bytes(path).decode("utf-8", "replace")
        return f"<pre>{escaped(text)}</pre>" if text else ""
    if path.suffix in PLAYED:
        data = _bytes(path)
        element, kind = PLAYED[path.suffix]
        source = _data_uri(kind, data)
        player = f'<{element} controls preload="metadata" src="{source}"></{element}>'
        return player if data else ""
    if path.suffix == ".png":
        return _still(path, WIDTH)
    return _moving(path)


def _moving(path: Path) -> str:
    """An `<img>` of an animation, as it is in its file."""
    try:
        with Image.open(path) as image:
            image.load()
            size = f'width="{image.width}" height="{image.height}"'
    except (OSError, ValueError):  # being written, or cut short
        return ""
    source = _data_uri(f"image/{path.suffix[1:]}", _bytes(path))
    return f'<img {size} alt="{escaped(path.stem)}" src="{source}">'


def _still(path: Path, width: int) -> str:
    """An `<img>` of a picture, or of an animation's first frame, at most `width` pixels wide; "" if
    it cannot be read."""
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
            image.thumbnail((width, 10 * width))
            data = io.BytesIO()
            image.save(data, "WEBP", quality=82, method=2)
    except (OSError, ValueError):  # being written, or cut short
        return ""
    size = f'width="{image.width}" height="{image.height}"'
    source = _data_uri("image/webp", data.getvalue())
    return f'<img {size} alt="{escaped(path.stem)}" src="{source}">'


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
