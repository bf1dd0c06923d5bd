"""SigLIP B/16 at 224 pixels with the paper's recipe for WebLI: sigmoid loss, attention pooling.

    python -m mmjax.main --config=configs/contrastive/siglip_b16.py:data.train.pairs.path=DATA.jsonl --workdir=runs/siglip

Paper: https://arxiv.org/abs/2303.15343, table 4 and appendix: batch 32,768, rsqrt-free cosine with
20,000 steps of warm-up, learning rate 1e-3, weight decay 1e-4, b2 0.95, captions of 64 tokens that
are padded in full; the released B/16 reaches 76.0% zero-shot top-1 on ImageNet. NOT run here at
this size: what runs here is `:smoke`. The data, and so the number, of the paper is not public.
"""  # noqa: E501

from mmjax.config import relative, variants

VARIANTS = variants(__file__, "clip_vit_b32.py")


def get_config():
    config = relative(__file__, "clip_vit_b32.py")
    config.data.processor.max_length = config.data.processor.pad_to = 64
    config.data.processor.vocab_size = 32_000
    config.data.processor.normalisation = "half"
    config.data.processor.start = ""
    config.task.loss = "sigmoid"
    config.model.variant = "SigLIP-B/16"
    config.optimizer.groups = (
        dict(optimizer="adamw", learning_rate=1e-3, warmup=20_000, weight_decay=1e-4, b2=0.95),
    )
    return config
