"""SigLIP B/16 at 224 pixels with the paper's hyper-parameters: sigmoid loss, attention pooling.

    python -m mmjax.main --config=configs/contrastive/siglip_b16.py --workdir=runs/siglip \\
        --config.data.train.pairs.path=DATA.jsonl

Paper: https://arxiv.org/abs/2303.15343: batch 32,768, learning rate 1e-3, weight decay 1e-4, b2
0.95, captions of 64 tokens that are padded in full; the released B/16 reaches 76.0% zero-shot top-1
on ImageNet. Length and warm-up are ours. NOT run here at this size: what runs here is `:smoke`. The
data of the paper is not public.
"""

from mmjax.config import relative, variants

WEB_PAIRS = variants(__file__, "../recipes/web_pairs.py")
# without an image projection, embeddings are as wide as the towers
VARIANTS = {"smoke": {**WEB_PAIRS["smoke"], "model.embedding": 64}}


def get_config():
    config = relative(__file__, "../recipes/web_pairs.py")
    config.data.processor.update(
        max_length=64, pad_to=64, normalisation="half", vocab_size=32_000, start=""
    )
    config.task.loss = "sigmoid"
    config.model.variant = "SigLIP-B/16"
    config.optimizer.groups = (
        dict(optimizer="adamw", learning_rate=1e-3, warmup=20_000, weight_decay=1e-4, b2=0.95),
    )
    return config
