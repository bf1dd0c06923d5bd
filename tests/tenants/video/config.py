"""Where a digit moves to; one frame cannot tell.

    PYTHONPATH=tests python -m mmjax.main --config=tests/tenants/video/config.py \\
        --workdir=runs/video
"""

from mmjax.config import relative


def get_config():
    config = relative(__file__, "../base.py")
    digits = dict(name="tenants.video.data")
    config.data = dict(
        train=dict(digits=digits), processor=dict(name="tenants.video.processor"), batch_size=16
    )
    config.model = dict(name="tenants.video.model")
    config.task = dict(name="tenants.video.task")
    names = ("left", "right", "up", "down")
    directions = dict(
        source=dict(digits, split="test"),
        evaluator=dict(name="classification", class_names=names),
        baseline=dict(name="majority"),
        batch_size=16,
    )
    config.validation = dict(directions=directions)
    config.test = dict(directions=directions)
    return config
