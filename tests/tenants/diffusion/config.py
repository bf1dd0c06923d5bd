"""Digits from noise, with guidance.

    PYTHONPATH=tests python -m mmjax.main --config=tests/tenants/diffusion/config.py \\
        --workdir=runs/diffusion
"""

from mmjax.config import relative


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(digits=dict(name="digits")),
        processor=dict(name="image", image_size=14),
        batch_size=16,
    )
    config.model = dict(name="tenants.diffusion.model")
    config.task = dict(name="tenants.diffusion.task")
    config.ema = 0.9
    sweep = dict(name="tenants.diffusion.evaluator", rows=20, arguments=dict(steps=3))
    drawn = dict(source=dict(name="digits", split="test"), evaluator=sweep, batch_size=16)
    config.validation = dict(drawn=drawn)
    config.test = dict(drawn=drawn)
    return config
