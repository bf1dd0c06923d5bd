"""The tower of three scales of time that reads programmes, 24 x 24 pixels, up to four minutes.

    config.model.video = relative(__file__, "../recipes/programme_scales.py").model.video

Not a run by itself: it names no task and no data. What programmes_labels.py learns with labels fits
into hierarchical_programmes.py, for the tower is the same in both.
"""

from mmjax.config import relative

BLOCK = dict(width=96, layers=2, heads=4, hidden=384, activation="gelu_tanh")


def get_config():
    config = relative(__file__, "../base.py")
    config.model = dict(
        video=dict(
            name="hierarchical",
            image=relative(__file__, "digit_frames.py").model.video.image,
            frames=480,
            scales=(
                dict(name="short", frames=4),
                dict(name="medium", frames=60, segment=4),
                dict(name="long", segment=24),
            ),
            evidence=256,
            transformer=BLOCK,
            fusion=BLOCK,
            together=40,
        )
    )
    return config
