"""What the toy tenants share: a few steps, a save in the middle, a validation at the end."""

from mmjax.config import relative


def get_config():
    config = relative(__file__, "../../configs/base.py")
    config.train = dict(steps=4, log_every=1, evaluate_every=2)
    config.checkpoint = dict(every=2, latest=3)
    config.execution = dict(tensorboard=False, threads=0)
    return config
