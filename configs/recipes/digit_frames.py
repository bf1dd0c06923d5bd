"""A small tower that reads clips of a moving digit frame by frame, 24 x 24 pixels.

    config.model.video = relative(__file__, "../recipes/digit_frames.py").model.video

Not a run by itself: it names no task and no data. What frames_digits.py learns with labels fits
into the runs that begin with it, for the tower is the same in all of them.
"""

from mmjax.config import relative

BLOCK = dict(heads=4, activation="gelu_tanh")


def get_config():
    config = relative(__file__, "../base.py")
    config.model = dict(
        video=dict(
            name="frame_tower",
            image=dict(
                name="vit",
                patch_size=8,
                stem=(dict(width=16, stride=2), dict(width=32, stride=2)),
                pool="mean",
                transformer=dict(width=64, layers=1, hidden=256, **BLOCK),
            ),
            transformer=dict(width=64, layers=2, hidden=256, **BLOCK),
        )
    )
    return config
