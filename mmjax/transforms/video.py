"""What a video is, as it is played in reports and by inspect.

Letters: T frames, H and W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmjax.transforms.audio import Sound
from mmjax.typing import UInt8


class Video(NamedTuple):
    """A clip at its own pace, and what is heard with it."""

    frames: UInt8[np.ndarray, "T H W 3"]
    rate: int  # frames per second
    sound: Sound | None = None
