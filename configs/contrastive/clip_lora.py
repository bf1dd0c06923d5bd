"""LoRA (https://arxiv.org/abs/2106.09685): the bundled emoji CLIP learns coloured shapes.

    python -m mmjax.main --config=configs/contrastive/clip_lora.py --workdir=runs/clip_lora

The model is the one in the package, "emoji_clip"; matrices of rank 8 beside the maps of its blocks
are all that is trained and all that checkpoints hold, less than 5% of the parameters. The set is
easy-VQA's images: 274 to train on, each "teal circle" or another of 24 kinds, and 85 to test. Two
of the words, "teal" and "rectangle", no emoji of its training had.

Test, mean of seeds 0 to 2: 0.757 of the kinds right (0.729, 0.765, 0.776), where zero-shot has
0.165 (paired difference +0.592, 95% interval 0.475 to 0.706, by `--mode=compare`), a linear probe
0.482 and chance 0.042; 4.3% of the parameters are trained. Two minutes on 2 CPU cores.

`:before` trains nothing: the model's own zero-shot accuracy, and a linear probe on its embeddings,
which has seen the same images and kinds.
"""

from mmjax.config import relative, variants

VARIANTS = variants(__file__, "../recipes/emoji_clip_on_shapes.py")


def get_config():
    config = relative(__file__, "../recipes/emoji_clip_on_shapes.py")
    config.adapters = (dict(match=".*/blocks/(attention|mlp)/.*", rank=8, alpha=16.0),)
    trained = dict(match=".*/lora/.*", learning_rate=3e-3, b2=0.98, warmup=20)
    config.optimizer.groups = (trained, dict(optimizer="frozen"))
    return config
