"""SigLIP's sigmoid loss on the emoji; all else is the recipe of clip_emoji.py, seconds too.

    python -m mmjax.main --config=configs/contrastive/siglip_emoji.py --workdir=runs/siglip_emoji

Every pair is a yes / no question: the model owns a bias, -10 at the start, and the scale starts at
10 (https://arxiv.org/abs/2303.15343).
"""

from mmjax.config import relative, variants

VARIANTS = variants(__file__, "../recipes/small_pairs.py")


def get_config():
    config = relative(__file__, "../recipes/small_pairs.py")
    config.update(relative(__file__, "../recipes/emoji.py"))
    config.task.loss = "sigmoid"
    config.model.bias_init = -10.0
    config.model.scale_max = 100.0  # the bias lowers the logits already
    config.checkpoint.metric = "validation/unseen_style/image_to_text/r1"
    return config
