"""Digits that move: clips uint8 [T, 32, 32, 3], classified by where they go."""

import dataclasses

import numpy as np

from mmjax.data.source import InMemory
from mmjax.datasets import digits

DIRECTIONS = ("left", "right", "up", "down")
STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # rows and columns a frame
SIDE = 32  # pixels along each edge


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", or "test" with other digits
    rows: int = 48  # clips
    frames: int = 6  # T


def open(config):
    """video, label (the direction), group, id."""
    pictures = digits.tiles()
    rng = np.random.default_rng(0 if config.split == "train" else 1)
    examples = []
    for row in range(config.rows):
        label = row % len(DIRECTIONS)
        number = rng.integers(160) if config.split == "train" else rng.integers(160, 200)
        digit = pictures[rng.integers(10), number][::2, ::2]  # [14, 14]
        place = rng.integers(6, 12, size=2)
        video = np.zeros((config.frames, SIDE, SIDE, 3), np.uint8)
        for frame in video:
            top, left = place
            frame[top : top + 14, left : left + 14] = digit[..., None]
            place = place + np.array(STEPS[label])
        examples.append({"video": video, "label": label, "group": row, "id": f"{row}"})
    return InMemory(examples, f"moving digits {config.split}")
