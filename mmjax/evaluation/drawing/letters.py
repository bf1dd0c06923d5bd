"""Text on a sheet: measured, wrapped, cut in its middle, in whatever letters the system has.

* Letters that matplotlib's own font lacks come from the first font of `FALLBACK` that is installed
  and has them.
* matplotlib draws no colour fonts, so emoji are small pictures between the letters, drawn by Pillow
  with the system's colour font; where there is none they are letters like others.
* A text that is too long loses its middle: captions and paths differ at both of their ends.
"""

import contextlib
import functools
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Pixels = float | int  # of a sheet

FALLBACK = (
    "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Heiti TC",
    "Apple SD Gothic Neo", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS",
    "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali",
    "Noto Sans Tamil", "Noto Sans Thai", "Nirmala UI", "Unifont",
)  # fmt: skip
# Files of colour fonts, and the sizes in pixels that their pictures may have.
EMOJI_FONTS = ("NotoColorEmoji.ttf", "Apple Color Emoji.ttc", "seguiemj.ttf", "Twemoji.ttf")
EMOJI_SIZES = (109, 160, 96, 64)
EMOJI_WIDTH = 1.2  # of the size of the letters
SLACK = 0.985  # of a width that may be used: letters are hinted where they are drawn
OVERSAMPLED = 2  # letters are measured as large as a page draws them

# Scripts without spaces, whose lines break between any two letters.
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60"
_PIECE = re.compile(rf"[{_WIDE}]\s?|[^\s{_WIDE}]+\s?")

# Coloured without being asked to; others are where U+FE0F follows.
_COLOURED = (
    "\U0001f000-\U0001faff\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u2614\u2615\u2648-\u2653\u267f"
    "\u2693\u26a1\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa"
    "\u26fd\u2705\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b"
    "\u2b1c\u2b50\u2b55"
)
_ONE = rf"(?:[{_COLOURED}]\ufe0f?|[\u2190-\u2bff]\ufe0f)[\U0001f3fb-\U0001f3ff]?"
# Two letters of a flag, or signs that U+200D joins to one.
_EMOJI = re.compile(rf"([\U0001f1e6-\U0001f1ff]{{2}}|{_ONE}(?:\u200d{_ONE})*)")


def fit(
    text: str, width: Pixels, *, size: Pixels = 12, bold: bool = False, lines: int = 1
) -> list[str]:
    """`text` broken into at most `lines` lines of at most `width`; the last may lose its middle."""
    pieces = _PIECE.findall(" ".join(text.split()))
    fitted: list[str] = []
    while pieces and len(fitted) < lines - 1:
        taken = 1
        while taken < len(pieces) and _fits("".join(pieces[: taken + 1]), width, size, bold):
            taken += 1
        fitted.append("".join(pieces[:taken]).rstrip())
        pieces = pieces[taken:]
    if pieces or not fitted:
        fitted.append("".join(pieces).rstrip())
    return [elided(line, width, size=size, bold=bold) for line in fitted]


def elided(line: str, width: Pixels, *, size: Pixels = 12, bold: bool = False) -> str:
    """`line` itself, or its two ends around an ellipsis, at most `width` wide."""
    if _fits(line, width, size, bold):
        return line
    # Bisection: `low` characters and the ellipsis fit, `high` do not.
    low = 0
    high = min(len(line), 400)
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(_ends(line, middle), width, size, bold):
            low = middle
        else:
            high = middle
    return _ends(line, low)


def _ends(line: str, count: int) -> str:
    tail = count // 2
    head = line[: count - tail].rstrip(" ,;")
    return f"{head}…{line[len(line) - tail :].lstrip(' ,;')}"


def _fits(text: str, width: Pixels, size: Pixels, bold: bool) -> bool:
    return width_of(text, size, bold) <= SLACK * width


@functools.lru_cache(maxsize=4096)
def width_of(text: str, size: Pixels, bold: bool = False) -> float:
    """Width of one line of text in pixels of the sheet."""
    width = 0.0
    for part in parts(text):
        if is_emoji(part):
            width += EMOJI_WIDTH * size
        else:
            width += _width_of_letters(part, size, bold)
    return width


def parts(text: str) -> list[str]:
    """The text cut into emoji and what stands between them; whole where emoji cannot be drawn."""
    if _emoji_font() is None:
        return [text]
    return [part for part in _EMOJI.split(text) if part]


def is_emoji(part: str) -> bool:
    """Whether one of `parts` is drawn as a picture."""
    return _emoji_font() is not None and _EMOJI.fullmatch(part) is not None


@functools.lru_cache(maxsize=256)
def emoji(part: str, edge: int) -> Image.Image:
    """The picture of an emoji, RGBA of `edge` pixels."""
    font = _emoji_font()
    left, top, right, bottom = font.getbbox(part)
    side = max(right - left, bottom - top, 1)
    picture = Image.new("RGBA", (side, side))
    origin = ((side - right - left) / 2, (side - bottom - top) / 2)
    ImageDraw.Draw(picture).text(origin, part, font=font, embedded_color=True)
    return picture.resize((edge, edge), Image.Resampling.LANCZOS)


@functools.cache
def families() -> list[str]:
    """Names of the fonts in which letters are looked for, in this order."""
    from matplotlib.font_manager import findSystemFonts, fontManager, get_font_names

    listed = {font.fname for font in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in listed:  # installed since matplotlib made its list, which it keeps on disk
            with contextlib.suppress(RuntimeError, NotImplementedError, OSError):
                fontManager.addfont(path)
    present = set(get_font_names())
    return ["DejaVu Sans", *(name for name in FALLBACK if name in present)]


def _width_of_letters(text: str, size: Pixels, bold: bool) -> float:
    font = _font(bold)
    font.set_size(size, 72 * OVERSAMPLED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        font.set_text(text, 0)
    return font.get_width_height()[0] / 64 / OVERSAMPLED


@functools.cache
def _font(bold: bool):
    from matplotlib.font_manager import FontProperties, findfont, get_font

    weight = "bold" if bold else "normal"
    return get_font([findfont(FontProperties(family=name, weight=weight)) for name in families()])


@functools.cache
def _emoji_font() -> ImageFont.FreeTypeFont | None:
    """The system's colour font; None where there is none that Pillow can draw with."""
    from matplotlib.font_manager import findSystemFonts

    installed = {Path(path).name: path for path in findSystemFonts()}
    for name in EMOJI_FONTS:
        for size in EMOJI_SIZES if name in installed else ():
            try:
                font = ImageFont.truetype(installed[name], size)
                drawn = Image.new("RGBA", (size, size))
                ImageDraw.Draw(drawn).text((0, 0), "\U0001f600", font=font, embedded_color=True)
            except OSError:  # a font of pictures has them in certain sizes only
                continue
            if np.asarray(drawn)[..., 3].any():
                return font
    return None
