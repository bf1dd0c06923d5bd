"""The dark form of a sheet drawn on white; evaluation/drawing/page.py says where its images lie.

* Light and dark change places and hues stay, so green means the same in both; a matrix whose large
  values are dark has bright ones.
* Photographs and drawings on the sheet keep their own colours.
"""

from PIL import Image, ImageChops

from mmjax.evaluation.drawing.page import IMAGES
from mmjax.report.style import DARK_PAPER


def dark(shown: Image.Image, sheet: Image.Image) -> Image.Image | None:
    """The dark form of `shown`, which is `sheet` at some size; None where that is no sheet but a
    picture that keeps its colours."""
    if IMAGES not in sheet.info:
        return None
    channels = shown.split()
    least = ImageChops.darker(ImageChops.darker(*channels[:2]), channels[2])
    greatest = ImageChops.lighter(ImageChops.lighter(*channels[:2]), channels[2])
    lightness = ImageChops.invert(greatest)
    turned = []
    for channel, paper in zip(channels, DARK_PAPER, strict=True):
        # In HSL, lightness l becomes 1 - l: every channel moves by the same amount.
        moved = ImageChops.add(ImageChops.subtract(channel, least), lightness)
        # black, which was white, becomes the page's paper, and white stays
        turned.append(moved.point([round(paper + x * (255 - paper) / 255) for x in range(256)]))
    night = Image.merge("RGB", turned)
    part = shown.width / sheet.width
    for place in sheet.info[IMAGES].split(";"):
        if not place.strip():
            continue
        x, y, width, height = (round(part * int(edge)) for edge in place.split())
        night.paste(shown.crop((x, y, x + width, y + height)), (x, y))
    return night
