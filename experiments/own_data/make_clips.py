"""Writes the example of a user's own videos: a spot that goes left or right, or grows or shrinks.

    python experiments/own_data/make_clips.py      # rewrites clips/ here

48 animated WebP files of 12 frames, a folder for each of four classes. No single frame says which.
"""

from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
SIDE = 32  # pixels
FRAMES = 12
CLIPS = 12  # of a class
MILLISECONDS = 80  # of a frame
CLASSES = ("goes left", "goes right", "grows", "shrinks")


def frames(kind: str, rng: np.random.Generator) -> list[Image.Image]:
    """The pictures of one clip."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    row, column = rng.uniform(10, 22, 2)
    colour = rng.integers(90, 256, 3)
    ground = rng.integers(0, 60, 3)
    pace = rng.uniform(0.8, 1.4)
    radius = rng.uniform(4, 6)
    made = []
    for time in np.arange(FRAMES) - FRAMES / 2:
        across = {"goes left": -pace, "goes right": pace}.get(kind, 0.0) * time
        more = {"grows": pace, "shrinks": -pace}.get(kind, 0.0) * time / 2
        far = np.hypot(y - row, x - column - across)
        share = np.clip(radius + more - far + 0.5, 0, 1)[..., None]
        made.append(Image.fromarray((ground + share * (colour - ground)).astype(np.uint8)))
    return made


def main() -> None:
    """Writes the files."""
    rng = np.random.default_rng(0)
    for kind in CLASSES:
        folder = HERE / "clips" / kind.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(CLIPS):
            first, *rest = frames(kind, rng)
            first.save(
                folder / f"{number:02}.webp", save_all=True, append_images=rest,
                duration=MILLISECONDS, quality=80,
            )  # fmt: skip


if __name__ == "__main__":
    main()
