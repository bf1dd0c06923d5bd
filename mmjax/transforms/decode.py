"""Encoded pictures -> 8-bit RGB, with Pillow; what is bad is refused with its reason.

* Bytes that are no whole, reasonably sized picture raise `CorruptExample`; the size is read from
  the header, before a pixel is decoded. A truncated file is never half decoded.
* Alpha is composited on `background` (white); EXIF orientation is applied; grey, palette, CMYK and
  16-bit pictures become 8-bit RGB. Colour profiles are ignored. Of an animation, the first frame.
* `header` and `pixels` are two steps, so that a transform that knows the part it needs (a crop)
  can leave part of the reduction to the JPEG decoder.
"""

import dataclasses
import io
import math
from typing import ClassVar

import numpy as np
from PIL import Image

from mmjax.data.source import CorruptExample, Example

Color = tuple[int, int, int]
WHITE: Color = (255, 255, 255)

# EXIF orientation -> what makes the picture upright; from 5 on, height and width change places.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclasses.dataclass(frozen=True)
class DecodeImage:
    """Encoded bytes -> uint8 [H, W, 3]; so a Pillow image; checks arrays that are decoded."""

    field: ClassVar[str] = "image"
    max_pixels: int = 64_000_000  # larger pictures are refused by their header, not decoded
    background: Color = WHITE  # what shows through transparent pixels
    draft: bool = False  # JPEG decoder reduces by 2, 4, 8 where >= 2x the wanted size remains
    deterministic = True  # may be remembered by the pipeline's cache

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        return {**example, "image": np.asarray(self.whole(example))}

    def whole(self, example: Example) -> Image.Image:
        """The RGB picture. Raises CorruptExample, or TypeError for an array of a wrong kind."""
        image = self.header(example)
        return image if image.mode == "RGB" and not encoded(image) else self.pixels(image)

    def header(self, example: Example) -> Image.Image:
        """The picture as far as its header: it has a size, but need not be decoded yet."""
        data = example.get("image")
        if isinstance(data, Image.Image):
            data = self._array_of(data)
        if isinstance(data, np.ndarray):
            return self._array(data)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            what = "no image" if data is None else f"the image is {type(data).__name__}"
            raise CorruptExample(what)
        if not len(data):
            raise CorruptExample("empty image file (0 bytes)")
        try:
            image = Image.open(io.BytesIO(data))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise CorruptExample(f"refused by its header: {error}") from error
        except Image.UnidentifiedImageError as error:
            start = bytes(data[:12])
            raise CorruptExample(f"no image format we know; the file begins {start!r}") from error
        except Exception as error:  # whatever a decoder throws on bytes is the bytes' fault
            raise CorruptExample(f"broken image header: {error}") from error
        width, height = image.size
        if width * height > self.max_pixels:
            raise CorruptExample(
                f"{width} x {height} pixels by its header, more than max_pixels={self.max_pixels}"
            )
        return image

    def pixels(self, image: Image.Image) -> Image.Image:
        """Decodes what `header` returned: whole, upright, RGB."""
        try:
            image.load()
            turn = orientation(image)
            image = to_rgb(image, self.background)
        except CorruptExample:
            raise
        except Exception as error:
            raise CorruptExample(f"broken or truncated image: {error}") from error
        return image.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else image

    def _array_of(self, image: Image.Image) -> np.ndarray:
        """The pixels of an opened picture, as they are: who opened it has turned it upright."""
        try:
            return np.asarray(to_rgb(image, self.background))
        except CorruptExample:
            raise
        except Exception as error:  # it may be decoded only now
            raise CorruptExample(f"broken or truncated image: {error}") from error

    def _array(self, array: np.ndarray) -> Image.Image:
        if array.ndim == 2:
            array = array[:, :, None]
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3, 4):
            raise TypeError(
                f"an image array is uint8 [H, W, 3], not {array.dtype} {list(array.shape)}; pixel "
                "transforms come before Normalize"
            )
        if 0 in array.shape:
            raise CorruptExample(f"an image of {array.shape[1]} x {array.shape[0]} pixels")
        image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
        return to_rgb(image, self.background)


def encoded(image: Image.Image) -> bool:
    """Whether it comes from `Image.open`, and so may not be decoded yet."""
    return hasattr(image, "fp")


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where there is none or it is broken."""
    if image.format not in ("JPEG", "MPO", "TIFF") and "exif" not in image.info:
        return 1
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block is no reason to lose a whole picture
        return 1


def to_rgb(image: Image.Image, background: Color = WHITE) -> Image.Image:
    """8-bit RGB of any mode. Raises CorruptExample for floating-point pixels (no known range)."""
    if image.mode == "F":
        raise CorruptExample("floating-point pixels; their range is not known")
    if image.mode.startswith("I"):  # 16 bits, in Pillow's several spellings
        high = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((high + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        canvas = Image.new("RGB", image.size, background)
        canvas.paste(image, mask=image.getchannel("A"))
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) once upright."""
    turned = encoded(image) and orientation(image) >= 5
    return image.size[::-1] if turned else image.size


def reduced(
    image: Image.Image, decode: DecodeImage, zoom: float
) -> tuple[Image.Image, tuple[float, float]]:
    """The decoded picture, and its pixels per pixel of the original along x and y.

    zoom: output pixels per original pixel; with `draft`, a JPEG is decoded at the smallest of its
    scales that leaves two pixels per output pixel.
    """
    if not encoded(image):
        return image, (1.0, 1.0)
    width, height = upright_size(image)
    if decode.draft and image.format == "JPEG" and zoom < 0.25:
        wanted = (math.ceil(side * 2 * zoom) for side in image.size)
        image.draft("RGB", tuple(wanted))
    image = decode.pixels(image)
    return image, (image.size[0] / width, image.size[1] / height)
