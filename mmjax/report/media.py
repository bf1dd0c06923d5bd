"""The report's pictures, clips, sounds and texts: all of them inside the page.

* The newest version of each, and earlier pictures small in a strip below it, to see progress.
* Still pictures become WebP, sheets in a light and a dark form; an animated WebP or GIF is taken as
  it is and moves by itself; a sound and a video get the browser's own player.
* A picture is as wide as its place in the page; opened, it has its own size and scrolls if it must.
* Those of validation are folded where there are others.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mmjax.evaluation.drawing.page import DESCRIPTION
from mmjax.report.baselines import VALIDATION
from mmjax.report.dark import dark
from mmjax.report.markup import escaped, explained, section, spelled

EARLIER = 4  # older versions of a picture that are kept
WIDTH = 1720  # pixels of the newest version, at most
SMALL = 480  # pixels of an earlier one, at most
COLUMN = 500  # pixels of the page's columns, about
TINY = 320  # smaller pictures are shown pixel by pixel, as large as this
PLAYED = {".wav": ("audio", "audio/wav"), ".mp4": ("video", "video/mp4")}
TEXT = ".txt"
PICTURES = (".png", ".webp", ".gif")

Versions = list[tuple[int, Path]]  # (step, file), the newest last


class Samples:
    """Everything in `folder`/<step>/ that people see, hear or read."""

    def __init__(self, folder: Path):
        versions = _versions(folder)
        figures = {name: _figure(name, several) for name, several in versions.items()}
        self._figures = {name: figure for name, figure in figures.items() if figure}
        self._on_top = ""

    def nearest(self, metrics: Sequence[str]) -> str:
        """The figure of a test that belongs to the first of `metrics`; "" if there is none."""
        folded = self._of_validation()
        names = [name for name in self._figures if name not in folded] or folded
        if not names or not metrics:
            return ""
        self._on_top = max(names, key=lambda name: _shared(name, metrics[0]))
        return self._figures[self._on_top]

    def section(self) -> str:
        """All others, those of validation folded; "" if there is nothing."""
        folded = self._of_validation()
        names = [name for name in self._figures if name != self._on_top]
        content = _grid([self._figures[name] for name in names if name not in folded])
        behind = _grid([self._figures[name] for name in names if name in folded])
        if behind and (content or self._on_top not in folded):
            behind = f"<details class=rest><summary>Validation</summary>{behind}</details>"
        both = content + behind
        return section("Samples", both, "samples") if both else ""

    def _of_validation(self) -> list[str]:
        return [name for name in self._figures if name.startswith(f"{VALIDATION}/")]


def _grid(figures: Sequence[str]) -> str:
    return f"<div class=figures>{''.join(figures)}</div>" if figures else ""


def _shared(name: str, metric: str) -> int:
    """How many segments of their paths are the same, from the first on."""
    mine = name.removeprefix("test/").split("/")
    count = 0
    for one, other in zip(mine, metric.split("/"), strict=False):
        if one != other:
            break
        count += 1
    return count


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
    while versions and not shown:
        step, path = versions.pop()
        shown = _embedded(path, f"{name.replace('_', ' ')}, step {step:,}")
    if not shown:
        return ""
    meaning = explained(name.split("/")[-1])[1]
    caption = f"<b>{spelled(name)}</b>, step {step:,}. {escaped(meaning)}"
    caption = f"<figcaption>{caption}</figcaption>"
    strip = _strip(name, versions) if path.suffix in PICTURES else ""
    label = "enlarge" if _is_wide(path) else "earlier"
    if strip or label == "enlarge":
        summary = f'<summary data-label="{label}">{shown}</summary>'
        shown = f"<details class=zoom>{summary}{strip}</details>"
    return f"<figure>{shown}{caption}</figure>"


def _is_wide(path: Path) -> bool:
    """Whether it is a picture that does not fit into a column."""
    if path.suffix not in PICTURES:
        return False
    with Image.open(path) as image:
        return image.width > COLUMN


def _strip(name: str, versions: Versions) -> str:
    """Earlier pictures, small. There are none of texts, nor of what is played, which is large."""
    versions = [(step, path) for step, path in versions if path.suffix in PICTURES]
    stride = max(1, -(-len(versions) // EARLIER))
    figures = []
    for step, path in versions[::stride]:
        picture = _still(path, SMALL, f"{name.replace('_', ' ')}, step {step:,}")
        figures.append(f"<figure>{picture}<figcaption>step {step:,}</figcaption></figure>")
    return f"<div class=strip>{''.join(figures)}</div>" if figures else ""


def _embedded(path: Path, name: str) -> str:
    """The element that shows or plays a file; "" if it cannot be read."""
    if path.suffix == TEXT:
        text = _bytes(path).decode("utf-8", "replace")
        return f"<pre>{escaped(text)}</pre>" if text else ""
    if path.suffix in PLAYED:
        data = _bytes(path)
        return played(path.suffix, data, name) if data else ""
    if path.suffix == ".png":
        return _still(path, WIDTH, name)
    return _moving(path, name)


def played(ending: str, data: bytes, name: str) -> str:
    """The element that plays a sound or a video."""
    element, kind = PLAYED[ending]
    source = data_uri(kind, data)
    label = f'aria-label="{escaped(name)}"'
    return f'<{element} controls preload="metadata" src="{source}" {label}></{element}>'


def _moving(path: Path, name: str) -> str:
    """An `<img>` of an animation, as it is in its file."""
    try:
        with Image.open(path) as image:
            image.load()
            size = _size(image)
    except (OSError, ValueError):  # being written, or cut short
        return ""
    source = data_uri(f"image/{path.suffix[1:]}", _bytes(path))
    return f'<img {size} alt="{escaped(name)}" src="{source}">'


def _still(path: Path, width: int, name: str) -> str:
    """A picture, or an animation's first frame, at most `width` pixels wide; "" if it cannot be
    read. Its alternative text is what it says of itself, or else its name."""
    try:
        with Image.open(path) as image:
            image.load()
            described = image.info.get(DESCRIPTION) or name
            shown = image.convert("RGB")
            shown.thumbnail((width, 10 * width))
            night = dark(shown, image)
    except (OSError, ValueError):  # being written, or cut short
        return ""
    light = f'<img {_size(shown)} alt="{escaped(described)}" src="{_webp(shown)}">'
    if night is None:
        return light
    query = 'media="(prefers-color-scheme: dark)"'
    return f'<picture><source {query} srcset="{_webp(night)}">{light}</picture>'


def _size(image: Image.Image) -> str:
    """The attributes of an `<img>` that say how large it is, and how large it is shown."""
    size = f'width="{image.width}" height="{image.height}"'
    times = TINY // max(image.size)
    if times > 1:
        size += f' class=small style="width:{times * image.width}px"'
    return size


def _webp(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "WEBP", quality=82, method=2)
    return data_uri("image/webp", data.getvalue())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
