"""Image transforms: bytes or uint8 [H, W, 3] -> uint8 [H, W, 3] -> float32 [H, W, 3].

* A transform is a frozen dataclass, `(example, rng) -> example`, that replaces `example["image"]`
  (its `field`).
  It never writes into the array it was given (the cache may own it).
* One resampling pass: `RandomAffine` folds zoom, rotation, shear, shift, flip and resize into one.
* `Resize`, `RandomResizedCrop` and `RandomAffine` also take bytes that are still encoded. Knowing
  the part they want, they may leave some of the reduction to the JPEG decoder (`decode.draft`).
"""

import dataclasses
import functools
import math
from typing import ClassVar

import numpy as np
from PIL import Image

from mmjax.data.source import CorruptExample, Example
from mmjax.transforms.decode import WHITE, Color, DecodeImage, reduced, upright_size

# Statistics of the CLIP models, in units of 1.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# Those of ImageNet, which VideoMAE and TimeSformer take.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Random crops that shrink by 2, 3, ... are first averaged over so many pixels, and then resampled:
# a quarter faster than resampling alone, and other by less than 1/255 on average.
GAP = 1.0


@dataclasses.dataclass(frozen=True)
class Resize:
    """The whole picture, antialiased bicubic: shorter side = `size`, or size x size."""

    field: ClassVar[str] = "image"
    size: int  # pixels
    keep_ratio: bool = True  # False: squeezed to a square
    decode: DecodeImage = DecodeImage()  # used where the image is still encoded
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        image = self.decode.header(example)
        width, height = upright_size(image)
        out = (self.size, self.size)
        if self.keep_ratio:
            short = min(width, height)
            out = tuple(max(1, round(side * self.size / short)) for side in (width, height))
        if out[0] * out[1] > self.decode.max_pixels:
            raise CorruptExample(f"{width} x {height} pixels is too long and thin to resize")
        image, _ = reduced(image, self.decode, max(out[0] / width, out[1] / height))
        return {**example, "image": np.asarray(image.resize(out, Image.Resampling.BICUBIC))}


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """The middle `size` x `size` pixels. Raises ValueError for a smaller picture: Resize first."""

    field: ClassVar[str] = "image"
    size: int  # pixels
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        image = example["image"]
        top, left = ((side - self.size) // 2 for side in image.shape[:2])
        if top < 0 or left < 0:
            raise ValueError(
                f"CenterCrop({self.size}) of {image.shape[1]} x {image.shape[0]} pixels: put "
                f"Resize({self.size}) before it"
            )
        return {**example, "image": image[top : top + self.size, left : left + self.size]}


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of the picture, resized to size x size (torchvision's rule for the part)."""

    field: ClassVar[str] = "image"
    size: int  # pixels
    scale: tuple[float, float] = (0.08, 1.0)  # share of the area, uniform
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height, log-uniform
    decode: DecodeImage = DecodeImage()  # used where the image is still encoded

    def box(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """(left, top, width, height) in pixels; ten tries, then the largest central part."""
        low = math.log(self.ratio[0])
        high = math.log(self.ratio[1])
        for _ in range(10):
            share, stretch, across, down = rng.random(4)
            area = width * height * (self.scale[0] + (self.scale[1] - self.scale[0]) * share)
            ratio = math.exp(low + (high - low) * stretch)
            w = round(math.sqrt(area * ratio))
            h = round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(across * (width - w + 1)), int(down * (height - h + 1)), w, h
        # none fitted: the largest part in the middle whose shape is within bounds
        w = width
        h = height
        if width / height < self.ratio[0]:
            h = min(height, max(1, round(width / self.ratio[0])))
        elif width / height > self.ratio[1]:
            w = min(width, max(1, round(height * self.ratio[1])))
        return (width - w) // 2, (height - h) // 2, w, h

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = self.decode.header(example)
        left, top, width, height = self.box(*upright_size(image), rng)
        image, (x, y) = reduced(image, self.decode, self.size / min(width, height))
        part = (left * x, top * y, (left + width) * x, (top + height) * y)
        size = (self.size, self.size)
        image = image.resize(size, Image.Resampling.BICUBIC, part, reducing_gap=GAP)
        return {**example, "image": np.asarray(image)}


@dataclasses.dataclass(frozen=True)
class RandomAffine:
    """Zoom, rotate, shear, shift and flip about the centre, resized to size x size, in one pass.

    Without any of them it is the central square of the picture. The picture is reduced with an
    antialiasing filter first, so far as the zoom asks, then sampled bilinearly.
    """

    field: ClassVar[str] = "image"
    size: int  # pixels
    scale: tuple[float, float] = (1.0, 1.0)  # zoom; 1: the shorter side fits; log-uniform
    ratio: tuple[float, float] = (1.0, 1.0)  # extra width / height, log-uniform
    degrees: float = 0.0  # rotation up to, either way
    shear: float = 0.0  # degrees up to, either way, along x
    translate: float = 0.0  # shift up to, either way, along x and y; share of the output
    flip: float = 0.0  # probability of left-right
    fill: Color = WHITE  # what is outside the picture
    decode: DecodeImage = DecodeImage()  # used where the image is still encoded

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = self.decode.header(example)
        width, height = upright_size(image)
        forward, shift, zoom = self.draw(min(width, height), rng)
        # Reduced to 1.5 pixels per output pixel: sharper than 1, and bilinear does not alias yet.
        finer = min(1.0, 1.5 * zoom)
        image, _ = reduced(image, self.decode, finer)
        if finer < 1.0:
            inner = (max(1, round(width * finer)), max(1, round(height * finer)))
            image = image.resize(inner, Image.Resampling.BICUBIC)
        a, b, c, d = self.inverse(forward)
        x, y = (self.size / 2 + one for one in shift)  # where the picture's centre goes
        across = image.size[0] / width
        down = image.size[1] / height
        matrix = (
            a * across, b * across, (width / 2 - a * x - b * y) * across,
            c * down, d * down, (height / 2 - c * x - d * y) * down,
        )  # fmt: skip
        image = image.transform(
            (self.size, self.size), Image.Transform.AFFINE, matrix,
            Image.Resampling.BILINEAR, fillcolor=self.fill,
        )  # fmt: skip
        return {**example, "image": np.asarray(image)}

    def draw(self, side: int, rng: np.random.Generator) -> tuple[tuple, tuple, float]:
        """(2 x 2 source -> output in pixels, shift in pixels, output pixels per source pixel)."""
        draws = rng.random(7)
        zoom = self.size / side * _log_uniform(self.scale, draws[0])
        stretch = math.sqrt(_log_uniform(self.ratio, draws[1]))
        angle = math.radians(self.degrees * (2 * draws[2] - 1))
        slant = math.tan(math.radians(self.shear * (2 * draws[3] - 1)))
        shift = tuple(self.translate * self.size * (2 * one - 1) for one in draws[4:6])
        wide = zoom * stretch * (-1 if draws[6] < self.flip else 1)
        high = zoom / stretch
        cos = math.cos(angle)
        sin = math.sin(angle)
        # Rotation times shear times scaling.
        forward = (cos * wide, (cos * slant - sin) * high, sin * wide, (sin * slant + cos) * high)
        return forward, shift, zoom * max(stretch, 1 / stretch)

    @staticmethod
    def inverse(forward: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        a, b, c, d = forward
        determinant = a * d - b * c
        return d / determinant, -b / determinant, -c / determinant, a / determinant


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Left-right, with probability `probability`."""

    field: ClassVar[str] = "image"
    probability: float = 0.5

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        return {**example, "image": example["image"][:, ::-1]}


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue, as one 3 x 4 matrix per picture, clipped once.

    Factors are uniform in [1 - x, 1 + x] (not below 0), as in torchvision. Hue turns the colour
    plane of YIQ, which keeps the luma, where torchvision's HSV turn does not.
    """

    field: ClassVar[str] = "image"
    brightness: float = 0.0
    contrast: float = 0.0  # about the mean luma of the picture
    saturation: float = 0.0
    hue: float = 0.0  # turns, up to 0.5

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = example["image"]
        matrix = self.matrix(_mean_luma(image) if self.contrast else 0.0, rng)
        out = Image.fromarray(image).convert("RGB", tuple(matrix.ravel().tolist()))
        return {**example, "image": np.asarray(out)}

    def matrix(self, luma: float, rng: np.random.Generator) -> np.ndarray:
        """[3, 4]: out = matrix[:, :3] @ rgb + matrix[:, 3]; values 0 to 255."""
        draws = 2 * rng.random(4) - 1
        ranges = (self.brightness, self.contrast, self.saturation)
        bright, contrast, saturation = (
            max(0.0, 1 + most * draw) for most, draw in zip(ranges, draws[:3], strict=True)
        )
        return color_matrix(bright, contrast, saturation, self.hue * draws[3], luma)


def color_matrix(
    brightness: float, contrast: float, saturation: float, hue: float, luma: float
) -> np.ndarray:
    """[3, 4] of the four changes in this order. hue: turns; luma: mean of the picture, 0 to 255."""
    angle = 2 * math.pi * hue
    # Luma stays, the colour plane is scaled by the saturation and turned by the hue.
    cos = math.cos(angle) * saturation
    sin = math.sin(angle) * saturation
    colour = _RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ
    out = np.empty((3, 4))
    out[:, :3] = colour * (brightness * contrast)
    out[:, 3] = (1 - contrast) * brightness * luma  # grey: the colour matrix leaves it as it is
    return out


_LUMA = (0.299, 0.587, 0.114)
_YIQ = np.array([_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
_RGB = np.linalg.inv(_YIQ)


def _mean_luma(image: np.ndarray) -> float:
    step = max(1, math.isqrt(image.shape[0] * image.shape[1] // 4096))  # some 4096 pixels will do
    pixels = image[::step, ::step].reshape(-1, 3).astype(np.float32)
    return float(np.ones(len(pixels), np.float32) @ pixels @ _LUMA) / len(pixels)


@dataclasses.dataclass(frozen=True)
class Normalize:
    """uint8 [H, W, 3] -> float32 [H, W, 3], (value / 255 - mean) / std."""

    field: ClassVar[str] = "image"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of values from 0 to 1
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        image = example["image"]
        height, width, channels = image.shape
        factor, offset = _affine(self.mean, self.std, width)
        # As rows of W * C numbers: an inner axis of 3 is too short for vector instructions.
        out = image.reshape(height, width * channels) * factor
        out += offset
        return {**example, "image": out.reshape(height, width, channels)}

    def undone(self, pixels: np.ndarray) -> np.ndarray:
        """The picture again: float32 [H, W, 3] -> uint8 [H, W, 3]."""
        pixels = np.nan_to_num(np.asarray(pixels, np.float32))
        values = pixels * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32)
        return np.rint(values * 255).clip(0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _affine(mean: tuple, std: tuple, width: int) -> tuple[np.ndarray, np.ndarray]:
    factor = 1 / (255 * np.asarray(std, np.float64))
    offset = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
    return tuple(np.tile(one.astype(np.float32), width) for one in (factor, offset))


def _log_uniform(bounds: tuple[float, float], draw: float) -> float:
    low = math.log(bounds[0])
    high = math.log(bounds[1])
    return math.exp(low + (high - low) * draw)
