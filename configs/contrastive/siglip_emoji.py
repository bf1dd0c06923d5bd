"""clip_emoji with SigLIP's sigmoid loss in the place of softmax; all else, seconds too, is equal.

    python -m mmjax.main --config=configs/contrastive/siglip_emoji.py --workdir=runs/siglip_emoji

Every pair is a yes / no question: the model owns a bias, -10 at the start, and the scale starts at
10 (https://arxiv.org/abs/2303.15343).
"""

from mmjax.config import relative, variants

VARIANTS = variants(__file__, "clip_emoji.py")


def get_config():
    config = relative(__file__, "clip_emoji.py")
    config.task.loss = "sigmoid"
    config.model.bias_init = -10.0
    config.model.scale_max = 100.0  # the bias lowers the logits already
    return config
