"""One look for all pictures: a page on which figures, images and measured text are placed.

* Sizes are in pixels of a README 860 pixels wide; the file has twice as many, for sharp text.
* matplotlib's object interface only (no pyplot state, no window), imported when first drawn on:
  the import takes about a second that training without pictures should not pay.
* Text is measured and cut (letters.py), and never read as mathematics ("$5, $10").
* A finished page carries in `info` what is seen, for people who do not see it, and where images
  lie, which keep their colours when the rest of the page is turned dark.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mmjax.evaluation.drawing import letters
from mmjax.evaluation.drawing.letters import Pixels

WIDTH = 860
MARGIN = 20  # on all four sides
SCALE = 2  # pixels of the file per pixel of the page
INK = "#1f2328"
MUTED = "#656d76"
LINE = "#d8dee4"
PAPER = "#ffffff"
GREEN = "#1a7f37"
GREEN_TINT = "#dff3e4"
RED = "#cf222e"
RED_TINT = "#ffebe9"
# Keys of a finished page's `info`, texts both. The first is PNG's own word for it.
DESCRIPTION = "Description"  # what is seen
IMAGES = "Images"  # "x y width height" of each in pixels of the file, ";" between them


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
        self._images: list[tuple[int, int, int, int]] = []  # x, y, width, height in the file

    def text(
        self,
        x: Pixels,
        y: Pixels,
        text: str | Sequence[str],
        *,
        size: Pixels = 12,
        color: str = INK,
        bold: bool = False,
        align: str = "left",
    ) -> None:
        """Text whose first line's vertical middle is at y; lines are 1.25 sizes apart.

        Args:
          align: "left", "center" or "right": which end of the text is at x.
        """
        for number, line in enumerate([text] if isinstance(text, str) else text):
            self._line(x, y + 1.25 * size * number, line, size, color, bold, align)

    def _line(self, x, y, line, size, color, bold, align) -> None:
        parts = letters.parts(line)
        if len(parts) > 1:
            share = {"left": 0, "center": 0.5, "right": 1}[align]
            x = x - share * letters.width_of(line, size, bold)
            align = "left"
        for part in parts:
            if letters.is_emoji(part):
                self._emoji(x, y, part, size)
            else:
                self._axes.text(
                    x, y, part, size=size, color=color, ha=align, va="center_baseline",
                    weight="bold" if bold else "normal", parse_math=False,
                    family=letters.families(),
                )
            x += letters.width_of(part, size, bold)

    def _emoji(self, x, y, part, size) -> None:
        edge = round(letters.EMOJI_WIDTH * size * SCALE)
        picture = letters.emoji(part, edge)
        self._below.paste(picture, (round(x * SCALE), round(y * SCALE - edge / 2)), picture)

    def rising(self, x: Pixels, y: Pixels, text: str, *, size: Pixels) -> None:
        """Text turned upwards, centred on x, whose end is at y: a column's name below it."""
        bottom = y + letters.width_of(text, size)
        for part in letters.parts(text):
            top = bottom - letters.width_of(part, size)
            if letters.is_emoji(part):
                self._emoji(x - letters.EMOJI_WIDTH * size / 2, (top + bottom) / 2, part, size)
            else:
                self._axes.text(
                    x, bottom, part, size=size, color=INK, rotation=90, ha="center", va="bottom",
                    parse_math=False, family=letters.families(),
                )
            bottom = top

    def image(self, x, y, side, pixels, *, sharp=False):
        """An image (uint8 array or PIL) fitted into the square of `side` at (x, y)."""
        pixels = np.asarray(pixels)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
        part = side * SCALE / max(image.size)
        size = [max(1, round(edge * part)) for edge in image.size]
        image = image.resize(size, Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC)
        middle_x = (x + side / 2) * SCALE
        middle_y = (y + side / 2) * SCALE
        corner = (round(middle_x - size[0] / 2), round(middle_y - size[1] / 2))
        self._below.paste(image, corner)
        self._images.append((*corner, *size))

    def box(self, x, y, width, height, *, edge="none", fill="none", line=1.0):
        from matplotlib.patches import Rectangle

        self._axes.add_patch(
            Rectangle((x, y), width, height, edgecolor=edge, facecolor=fill, linewidth=line)
        )

    def mark(self, x: Pixels, y: Pixels, right: bool) -> None:
        """A green tick or a red cross, with its middle at (x, y)."""
        self.box(x - 8, y - 8, 16, 16, fill=GREEN_TINT if right else RED_TINT)
        sign = "✓" if right else "✗"
        self.text(x, y, sign, size=11, color=GREEN if right else RED, align="center")

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

    def render(self, description: str) -> Image.Image:
        """The finished page; description: what is seen, in words."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.canvas.draw()
        above = Image.fromarray(np.asarray(self.canvas.buffer_rgba()))
        self._below.paste(above, mask=above)
        images = "; ".join(" ".join(map(str, place)) for place in self._images)
        self._below.info = {DESCRIPTION: description, IMAGES: images}
        return self._below
