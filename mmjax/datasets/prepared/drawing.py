"""Vector drawings and photographs to stored pictures: on white, no larger than asked, as WebP.

* SVG is drawn by resvg (https://github.com/linebender/resvg), whose wheel brings everything.
  Without the machine's fonts, so that every machine gets the same pixels: text is left out.
* Pictures are kept without loss where that is smaller, as for flat drawings, else at quality 90.
* Several at a time, on all cores, in order.
"""

import concurrent.futures
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from PIL import Image

from mmjax.data.source import DataError
from mmjax.errors import UserError

QUALITY = 90
LARGEST_ZOOM = 6.0  # of a drawing whose border is trimmed
LONGEST = 30_000  # pixels of an edge of a picture that is read


class DrawingError(UserError, ValueError):
    """A drawing that cannot be read."""


def from_svg(data: bytes, side: int, *, trim: bool = False) -> bytes:
    """SVG -> WebP whose longer edge is `side` pixels, on white.

    trim: the page around the drawing is cut off, and the drawing is made that large.
    Raises DrawingError: not readable, or nothing to see where `trim` looks for it. DataError:
    nothing draws here, see `renderer`.
    """
    renderer()
    try:
        text = data.decode("utf-8")
        image = _drawn(text, side)
        box = image.getbbox() if trim else (0, 0, *image.size)  # of what is not transparent
        if box is None or (trim and _on_white(image).getextrema() == ((255, 255),) * 3):
            raise DrawingError("nothing is drawn")
        zoom = min(LARGEST_ZOOM, side / max(box[2] - box[0], box[3] - box[1]))
        if zoom > 1.2:
            image = _drawn(text, round(side * zoom))
            image = image.crop(image.getbbox())
    except ValueError as error:  # also a UnicodeDecodeError
        raise DrawingError(str(error)) from error
    return webp(_on_white(image))


def renderer() -> Any:
    """What draws SVG. Raises DataError where it is not installed."""
    try:
        import resvg_py
    except ImportError as error:
        raise DataError(
            "drawing SVG needs resvg_py, which is not installed: pip install 'mmjax[prepare]', or "
            "pip install resvg_py"
        ) from error
    return resvg_py


def _drawn(text: str, side: int) -> Image.Image:
    """RGBA."""
    # Width and height: it fits into the square. Without dpi, sizes in mm or pt are 0.
    options = dict(width=side, height=side, dpi=96, skip_system_fonts=True)
    png = renderer().svg_to_bytes(svg_string=text, **options)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def _on_white(image: Image.Image) -> Image.Image:
    """RGBA -> RGB."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def from_picture(data: bytes, side: int) -> bytes:
    """PNG, JPEG, ... -> WebP no larger than `side`, composited on white. Raises DrawingError."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if max(opened.size) > LONGEST:
                raise DrawingError(f"{opened.size[0]} x {opened.size[1]} pixels")
            image = opened.convert("RGBA")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DrawingError(str(error)) from error
    if max(image.size) > side:
        # Premultiplied, so that the colour behind transparent pixels does not bleed in.
        image = image.convert("RGBa")
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        image = image.convert("RGBA")
    return webp(_on_white(image))


def webp(image: Image.Image) -> bytes:
    """The smaller of lossless and quality 90."""
    exact = io.BytesIO()
    close = io.BytesIO()
    image.save(exact, "WEBP", lossless=True, quality=50, method=4)
    if exact.tell() > 8192:  # below, the other is hardly ever smaller
        image.save(close, "WEBP", quality=QUALITY, method=4)
        if close.tell() < exact.tell():
            return close.getvalue()
    return exact.getvalue()


def each(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """map on all cores, in order, a few hundred items ahead."""
    items = iter(items)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        waiting = [pool.submit(function, item) for item in itertools.islice(items, 256)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(function, item) for item in itertools.islice(items, 1)]
        finally:
            for future in waiting:
                future.cancel()
