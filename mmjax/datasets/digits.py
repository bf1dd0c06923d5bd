"""The bundled digits: 2,000 of MNIST, 28 x 28 pixels, white on black.

* 160 of each digit to train on and 40 to test (the package does not say who wrote which, so one
  hand may be in both). Digits also make the moving digits of the video sets.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from mmjax.data.source import Example, InMemory
from mmjax.datasets import bundled
from mmjax.datasets.prepared import check_choice

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = ("train", "test")
SIDE = 28  # pixels of height and width
TRAIN = 160  # images of each digit that are in the training split


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS


def tiles() -> np.ndarray:
    """All digits: uint8 [10, 200, 28, 28], the digit first."""
    sheet = np.asarray(Image.open(io.BytesIO(bundled.read("digits", "digits.png"))))
    return sheet.reshape(10, SIDE, -1, SIDE).swapaxes(1, 2)


def open(config: Config) -> InMemory:
    """The digits of a split, 0 to 9 in turn: image (uint8 [28, 28, 3]), text, label, group, id.

    `label` and `group` are the digit. Columns: text, label, group.
    Raises DataError for an unknown split.
    """
    check_choice("digits: split", config.split, SPLITS)
    images = tiles()
    numbers = range(TRAIN) if config.split == "train" else range(TRAIN, images.shape[1])
    examples = [
        _example(images[digit, number], digit, number) for number in numbers for digit in range(10)
    ]
    return InMemory(examples, f"bundled digits {config.split}")


def _example(image: np.ndarray, digit: int, number: int) -> Example:
    return {
        "image": np.repeat(image[..., None], 3, axis=2),
        "text": f"the digit {CLASSES[digit]}",
        "label": digit,
        "group": digit,
        "id": f"{digit}/{number}",
    }
