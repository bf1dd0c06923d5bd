"""Sounds find their words, by mmjax's own contrastive task and retrieval.

    PYTHONPATH=tests python -m mmjax.main --config=tests/tenants/sounds/config.py \\
        --workdir=runs/sounds
"""

from mmjax.config import relative


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(sounds=dict(name="sounds")),
        processor=dict(name="tenants.sounds.processor"),
        batch_size=8,
    )
    config.model = dict(name="tenants.sounds.model")
    config.task = dict(name="contrastive")
    retrieval = dict(name="retrieval", queries="audio", candidates="text", at=(1, 5))
    words = dict(source=dict(name="sounds"), evaluator=retrieval, batch_size=8)
    config.validation = dict(words=words)
    config.test = dict(words=words)
    return config
