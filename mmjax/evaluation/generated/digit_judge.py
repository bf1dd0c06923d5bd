"""Who says which digit moves in a clip, and where to: a classifier trained apart, and a centroid.

* The classifier is a small convolutional network on windows about the digit's centre of mass. It
  learns from the bundled digits that the moving ones are made of, turned and sheared, and never
  sees what is judged; its accuracy is measured on drawings that it did not learn from.
* A clip's digit is that of the largest sum of log-probabilities over its frames. Its direction is
  the one of eight that is nearest to the line through the centres of mass.
* Both look at frames that show nearly all of the digit: at an edge the centre of what is left
  moves otherwise.

Letters: N clips, T frames, S pixels of an edge, W of a window.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from mmjax.datasets import digits, moving_digits
from mmjax.typing import Array, Float, Int, UInt8

WINDOW = 16  # W
LEARNED = digits.TRAIN  # pictures of each digit that the classifier learns from; the rest judge it
COPIES = 20  # of each of them at most, each turned and sheared otherwise
BATCH = 128
LEAST = 0.15  # of 1: darker values are background
WHOLE = 0.75  # of the brightest frame's sum: a frame that shows nearly all of the digit


class Network(nn.Module):
    """Windows -> logits of the ten digits."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "N W W"], dropout: Array | None = None
    ) -> Float[Array, "N 10"]:
        x = x[..., None]
        for number, (width, stride) in enumerate(((24, 1), (48, 2), (64, 2))):
            x = nn.Conv(width, (3, 3), (stride, stride), name=f"convolution_{number}")(x)
            x = nn.relu(x)
        x = x.reshape(len(x), -1)
        if dropout is not None:
            x = x * jax.random.bernoulli(dropout, 0.6, x.shape) / 0.6
        x = nn.relu(nn.Dense(96, name="hidden")(x))
        return nn.Dense(10, name="digits")(x)


@dataclasses.dataclass(frozen=True, eq=False)
class Judge:
    """The classifier, and how good it is."""

    params: Any
    accuracy: float  # on single drawings that it did not learn from

    def digits(self, clips: UInt8[np.ndarray, "N T S S"]) -> Int[np.ndarray, " N"]:
        """The digit of each clip."""
        found, owner = windows(clips)
        logits = _logits(self.params, found)
        log = np.asarray(jax.nn.log_softmax(logits), np.float64)
        sums = np.zeros((len(clips), 10))
        np.add.at(sums, owner, log)
        return sums.argmax(1)


def directions(clips: UInt8[np.ndarray, "N T S S"]) -> Int[np.ndarray, " N"]:
    """Of each clip the number of one of moving_digits.DIRECTIONS; -1 where nothing moves."""
    ways = np.array(list(moving_digits.DIRECTIONS.values()), float)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    found = np.full(len(clips), -1)
    for number, clip in enumerate(clips):
        centres, whole = _centres(clip)
        times = np.flatnonzero(whole)
        if len(times) < 2:
            continue
        slope = np.polyfit(times, centres[times], 1)[0]
        if np.linalg.norm(slope) > 1e-3:
            found[number] = int((ways @ slope).argmax())
    return found


def windows(
    clips: UInt8[np.ndarray, "N T S S"],
) -> tuple[Float[np.ndarray, "M W W"], Int[np.ndarray, " M"]]:
    """The windows of all frames that show the digit, from 0 to 1, and the clip of each."""
    found = []
    owner = []
    for number, clip in enumerate(clips):
        centres, whole = _centres(clip)
        for frame in np.flatnonzero(whole):
            found.append(_window(clip[frame], centres[frame]))
            owner.append(number)
    if not found:
        return np.zeros((0, WINDOW, WINDOW), np.float32), np.zeros(0, np.int64)
    return np.stack(found), np.array(owner)


def _centres(clip: UInt8[np.ndarray, "T S S"]) -> tuple[np.ndarray, np.ndarray]:
    """The centre of mass of each frame [T, 2], and whether nearly all of the digit is in it."""
    light = np.maximum(clip / 255.0 - LEAST, 0)
    mass = light.sum((1, 2))
    place = np.arange(clip.shape[1]) + 0.5
    safe = np.maximum(mass, 1e-6)
    centres = np.stack([light.sum(2) @ place / safe, light.sum(1) @ place / safe], 1)
    return centres, (mass > WHOLE * mass.max()) & (mass > 1.0)


def _window(frame: UInt8[np.ndarray, "S S"], centre: np.ndarray) -> Float[np.ndarray, "W W"]:
    top, left = centre - WINDOW / 2
    matrix = (1, 0, left, 0, 1, top)
    cut = Image.fromarray(frame).transform(
        (WINDOW, WINDOW), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(cut, np.float32) / 255


@functools.cache
def judge(side: int = 12, steps: int = 700) -> Judge:
    """The judge of digits that are drawn `side` pixels large; learned once in a process."""
    rng = np.random.default_rng(0)
    pictures = digits.tiles()
    numbers = np.arange(10)
    # no more than are looked at
    copies = min(COPIES, max(1, steps * BATCH // (len(numbers) * LEARNED)))
    learned = np.stack([
        _drawn(pictures[digit, picture], side, rng, turned=True)
        for digit in numbers for picture in range(LEARNED) for _ in range(copies)
    ])  # fmt: skip
    labels = np.repeat(numbers, LEARNED * copies)
    params = _fitted(learned, labels, steps, rng)
    unseen = range(LEARNED, pictures.shape[1])
    asked = np.stack([
        _drawn(pictures[digit, picture], side, rng) for digit in numbers for picture in unseen
    ])  # fmt: skip
    right = np.asarray(_logits(params, asked)).argmax(1) == np.repeat(numbers, len(unseen))
    return Judge(params, float(right.mean()))


def _drawn(
    picture: UInt8[np.ndarray, "28 28"], side: int, rng: np.random.Generator, turned: bool = False
) -> Float[np.ndarray, "W W"]:
    """The window of a digit somewhere between pixels, as moving_digits.py draws it."""
    image = Image.fromarray(picture)
    if turned:
        matrix = _turn(rng)
        offset = (1 - matrix.sum(1)) * digits.SIDE / 2  # the middle stays
        rows = (*matrix[0], offset[0], *matrix[1], offset[1])
        image = image.transform(image.size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)
    tile = image.resize((side, side), Image.Resampling.BOX)
    down, across = rng.uniform(0, 1, 2)
    matrix = (1, 0, -2 - across, 0, 1, -2 - down)
    size = (side + 5, side + 5)
    frame = tile.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    clip = np.asarray(frame)[None]
    return _window(clip[0], _centres(clip)[0][0])


def _turn(rng: np.random.Generator) -> np.ndarray:
    """A small rotation, shear and stretch."""
    angle = np.deg2rad(rng.uniform(-15, 15))
    shear = rng.uniform(-0.25, 0.25)
    stretch = np.exp(rng.uniform(-0.15, 0.15, 2))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rotation @ np.array([[1, shear], [0, 1]]) @ np.diag(stretch)


@jax.jit
def _logits(params: Any, found: Float[Array, "N W W"]) -> Float[Array, "N 10"]:
    return Network().apply({"params": params}, found)


def _fitted(
    found: Float[np.ndarray, "N W W"], labels: np.ndarray, steps: int, rng: np.random.Generator
) -> Any:
    network = Network()
    params = network.init(jax.random.key(0), jnp.asarray(found[:1]))["params"]
    rule = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-2)

    def error(params: Any, x: Array, label: Array, key: Array) -> Array:
        logits = network.apply({"params": params}, x, key)
        wanted = optax.smooth_labels(jax.nn.one_hot(label, 10), 0.05)
        return optax.softmax_cross_entropy(logits, wanted).mean()

    @jax.jit
    def step(params: Any, state: Any, x: Array, label: Array, key: Array) -> tuple[Any, Any]:
        gradient = jax.grad(error)(params, x, label, key)
        updates, state = rule.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state = rule.init(params)
    for number in range(steps):
        rows = rng.integers(len(found), size=BATCH)
        key = jax.random.fold_in(jax.random.key(1), number)
        params, state = step(params, state, found[rows], labels[rows], key)
    return params
