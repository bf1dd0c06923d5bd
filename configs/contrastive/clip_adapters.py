"""Bottleneck adapters: the bundled emoji CLIP learns coloured shapes.

    python -m mmjax.main --config=configs/contrastive/clip_adapters.py --workdir=runs/clip_adapters

https://arxiv.org/abs/1902.00751 behind attention and MLP of each block, and CLIP-Adapter's
(https://arxiv.org/abs/2110.04544), a share of 0.2 on both heads: the same task as clip_lora.py with
as many parameters, which cannot be merged into the model's. Test, mean of seeds 0 to 2: 0.729 of
the kinds right (0.729, 0.718, 0.741).
"""

from mmjax.config import relative, variants

VARIANTS = variants(__file__, "../recipes/emoji_clip_on_shapes.py")


def get_config():
    config = relative(__file__, "../recipes/emoji_clip_on_shapes.py")
    config.adapters = (
        dict(match=".*/(attention/out|mlp/down)", kind="bottleneck", rank=24),
        dict(match="(image|text)_head", kind="bottleneck", rank=32, share=0.2),
    )
    trained = dict(match=".*/bottleneck/.*", learning_rate=2e-3, b2=0.98, warmup=20)
    config.optimizer.groups = (trained, dict(optimizer="frozen"))
    return config
