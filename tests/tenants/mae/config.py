"""Digits with three quarters of their patches hidden.

    PYTHONPATH=tests python -m mmjax.main --config=tests/tenants/mae/config.py \\
        --workdir=runs/mae
"""

from mmjax.config import relative


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(digits=dict(name="digits")),
        processor=dict(name="image", image_size=28),
        batch_size=16,
    )
    config.model = dict(name="tenants.mae.model")
    config.task = dict(name="tenants.mae.task")
    config.ema = 0.9
    hidden = dict(
        source=dict(name="digits", split="test"),
        evaluator=dict(name="tenants.mae.evaluator", rows=40),
        batch_size=16,
    )
    config.validation = dict(hidden=hidden)
    config.test = dict(hidden=hidden)
    return config
