"""A small tower of tubelets over clips of moving digits, for learning with and without labels.

    config = relative(__file__, "../recipes/digit_clips.py")

Not a run by itself: it names no task and asks no split. The tower is the same in both stages of
VideoMAE, so that the second one begins where the first one ended.
"""

from mmjax.config import relative


def get_config():
    config = relative(__file__, "../base.py")
    config.data.processor = dict(
        name="video",
        image_size=32,
        frames=dict(frames=16, outside="black"),
        normalisation="imagenet",
    )
    config.model = dict(
        video=dict(
            patch_size=8,
            tubelet=2,
            positions="sine",
            pool="mean",
            norm="tokens",
            transformer=dict(width=128, layers=4, heads=2, hidden=512, unroll=4),
        )
    )  # fmt: skip
    config.execution.threads = 1
    return config
