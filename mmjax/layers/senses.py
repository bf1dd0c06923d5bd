"""What a language model may have between its words, by sense, and whether prompts agree with it.

* A sense is "image", "audio" or "video"; its token stands in a prompt as often as what it holds has
  vectors (interleave.py).

Letters: B batch, L tokens, M pictures of a row at most, A sounds or clips of a row at most, T
    frames of one at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.layers import interleave
from mmjax.typing import Int, Shaped

# arguments of a call besides the text
SENSES = ("images", "image_mask", "sounds", "audio_mask", "videos", "video_mask")
THINGS = {"image": "pictures", "audio": "sounds", "video": "clips"}  # of a sense, for messages


def check(
    config: Any,
    ids: Int[np.ndarray, "B L"],
    mask: Shaped[np.ndarray, "B L"] | None = None,
    images: Any = None,
    image_mask: Shaped[np.ndarray, "B M"] | None = None,
    sounds: Any = None,
    audio_mask: Shaped[np.ndarray, "B A T"] | None = None,
    videos: Any = None,
    video_mask: Shaped[np.ndarray, "B A T"] | None = None,
) -> None:
    """Holds prompts against what stands between their words.

    Args:
      config: of the model: `<sense>`, `<sense>_id`, `image_tokens`.
      images: anything of the shape [B, M, H, W, C]; None: there are none. sounds: [B, A, T, ...],
        videos likewise.

    Raises:
      ConfigError: a row with more of them than tokens, or the reverse; a sense that is not there.
    """
    ids = np.asarray(ids)
    real = np.ones(ids.shape, bool) if mask is None else np.asarray(mask).astype(bool)
    given = ((images, image_mask), (sounds, audio_mask), (videos, video_mask))
    for name, (things, there) in zip(THINGS, given, strict=True):
        tower = getattr(config, name)
        if things is not None:
            require(tower, name)
        if tower is None:
            continue
        count, vectors = _counted(config, name, things, there, len(ids))
        thing = "picture" if name == "image" else "clip"
        token = getattr(config, f"{name}_id")
        places = ((ids == token) & real).sum(1)
        interleave.check(f"{thing}/{name}", token, places, count, vectors)


def _counted(
    config: Any, name: str, things: Any, mask: Any, rows: int
) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
    """Things of a sense in each row, and the tokens that they make."""
    if things is None:
        return np.zeros(rows, int), np.zeros(rows, int)
    unit = things.shape[:2] if name == "image" else things.shape[:3]
    there = np.ones(unit, bool) if mask is None else np.asarray(mask).astype(bool)
    if name == "image":
        return there.sum(1), there.sum(1) * config.image_tokens
    length = there.sum(2)
    return (length > 0).sum(1), getattr(config, name).tokens(length).sum(1)


def require(tower: Any, name: str) -> None:
    if tower is None:
        raise ConfigError(f"the model takes no {THINGS[name]}: its {name} tower is None")
