"""One look for all pictures: a page on which figures, images and measured text are placed.

* Sizes are in pixels of a README 860 pixels wide; the file has twice as many, for sharp text.
* matplotlib's object interface only (no pyplot state, no window), imported when first drawn on:
  the import takes about a second that training without pictures should not pay.
* Text is measured, wrapped and cut with an ellipsis, and never read as mathematics ("$5, $10").
"""

import functools
import warnings

import numpy as np
from PIL import Image

Pixels = float | int  # of the page
WIDTH = 860
SCALE = 2  # pixels of the file per pixel of the page
INK = "#1f2328"
MUTED = "#656d76"
LINE = "#d8dee4"
PAPER = "#ffffff"
GREEN = "#1a7f37"
RED = "#c93c37"
GREEN_TINT = "#dff3e4"
RED_TINT = "#fbe3e1"
SERIES = ("#2f6db3", "#c2662d", "#3f8f6b", "#8a5a9e", "#9a8420", "#5f6b76")
# Letters that matplotlib's own font lacks, where such a font is installed.
FALLBACK = ("Noto Sans", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Devanagari", "Unifont")


class Page:
    """A white page; x to the right and y down from the upper left corner, in page pixels."""

    def __init__(self, width: Pixels, height: Pixels):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        dpi = 72 * SCALE  # one point is then one page pixel
        self.width = width
        self.height = height
        # Images go on a sheet below the figure: there they cost 0.3 ms each, in matplotlib 6 ms.
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=dpi, facecolor="none")
        self.canvas = FigureCanvasAgg(self.figure)
        self._below = Image.new("RGB", self.canvas.get_width_height(physical=True), PAPER)
        self._axes = self.figure.add_axes(
            (0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), zorder=2
        )  # over the plots: a matrix gets its numbers from text()
        self._axes.set_axis_off()

    def text(self, x, y, text, *, size=12, color=INK, bold=False, align="left", **options):
        """Text whose first line's vertical middle is at y; lines are 1.25 sizes apart."""
        for number, line in enumerate([text] if isinstance(text, str) else text):
            self._axes.text(
                x, y + 1.25 * size * number, line, size=size, color=color, ha=align,
                va="center_baseline", weight="bold" if bold else "normal", parse_math=False,
                family=_families(), **options,
            )

    def rising(self, x, y, text, *, size):
        """Text turned upwards, centred on x, whose end is at y: a column's name below it."""
        self.figure.text(
            x / self.width, 1 - y / self.height, text, size=size, color=INK, rotation=90,
            ha="center", va="top", parse_math=False, family=_families(),
        )

    def image(self, x, y, side, pixels, *, sharp=False):
        """An image (uint8 array or PIL) fitted into the square of `side` at (x, y)."""
        pixels = np.asarray(pixels)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
        part = side * SCALE / max(image.size)
        size = [max(1, round(edge * part)) for edge in image.size]
        image = image.resize(size, Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC)
        middle_x = (x + side / 2) * SCALE
        middle_y = (y + side / 2) * SCALE
        self._below.paste(image, (round(middle_x - size[0] / 2), round(middle_y - size[1] / 2)))

    def box(self, x, y, width, height, *, edge="none", fill="none", line=1.0):
        from matplotlib.patches import Rectangle

        self._axes.add_patch(
            Rectangle((x, y), width, height, edgecolor=edge, facecolor=fill, linewidth=line)
        )

    def axes(self, x, y, width, height):
        """Axes of a plot whose frame is the given rectangle of the page, in the page's style."""
        axes = self.figure.add_axes(
            (x / self.width, 1 - (y + height) / self.height,
             width / self.width, height / self.height)
        )
        axes.tick_params(labelsize=10, color=LINE, labelcolor=MUTED, length=3, width=1)
        for spine in axes.spines.values():
            spine.set(color=LINE, linewidth=1)
        return axes

    def render(self) -> Image.Image:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.canvas.draw()
        above = Image.fromarray(np.asarray(self.canvas.buffer_rgba()))
        self._below.paste(above, mask=above)
        return self._below


def fit(
    text: str, width: Pixels, *, size: Pixels = 12, bold: bool = False, lines: int = 1
) -> list[str]:
    """`text` broken into at most `lines` lines of at most `width`, cut with an ellipsis."""
    words = " ".join(text.split()).split(" ")
    out: list[str] = []
    while words and len(out) < lines:
        taken = 1
        while taken < len(words) and _width(" ".join(words[: taken + 1]), size, bold) <= width:
            taken += 1
        out.append(" ".join(words[:taken]))
        words = words[taken:]
    if words:
        out[-1] += " " + " ".join(words)
    return [_cut(line, width, size, bold) for line in out]


def _cut(line: str, width: Pixels, size: Pixels, bold: bool) -> str:
    if _width(line, size, bold) <= width:
        return line
    # Bisection: `low` characters and the ellipsis fit, `high` do not.
    low = 0
    high = min(len(line), 400)
    while high - low > 1:
        middle = (low + high) // 2
        if _width(line[:middle].rstrip(" ,;") + "…", size, bold) <= width:
            low = middle
        else:
            high = middle
    return line[:low].rstrip(" ,;") + "…"


@functools.lru_cache(maxsize=4096)
def _width(text: str, size: Pixels, bold: bool) -> float:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    path = findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal"))
    font = _font(FT2Font, path)
    font.set_size(size, 72)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        font.set_text(text, 0)
    return font.get_width_height()[0] / 64


@functools.cache
def _font(kind, path):
    return kind(path)


@functools.cache
def _families() -> list[str]:
    from matplotlib.font_manager import get_font_names

    present = set(get_font_names())
    return ["DejaVu Sans", *(name for name in FALLBACK if name in present)]
