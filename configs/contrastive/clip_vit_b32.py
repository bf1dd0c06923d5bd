"""CLIP ViT-B/32 as OpenCLIP trained it on LAION-400M: the full-size recipe.

    python -m mmjax.main --config=configs/contrastive/clip_vit_b32.py --workdir=runs/b32 \\
        --config.data.train.pairs.path=DATA.jsonl

Paper: https://arxiv.org/abs/2212.07143 (and https://arxiv.org/abs/2103.00020). Batch 32,768, 32
passes over 400 M pairs, AdamW 5e-4 with 2,000 steps of warm-up, weight decay 0.2; reported 62.9%
zero-shot top-1 on ImageNet, on 128 A100. NOT run here at this size: what runs here is `:smoke`
(seconds, the same path with tiny towers on the bundled emoji). Captions get a byte-level BPE of
49,408 entries trained on the data, unless data.processor.tokenizer names a tokenizer.json.
"""

from mmjax.config import relative, variants

VARIANTS = variants(__file__, "../recipes/web_pairs.py")


def get_config():
    config = relative(__file__, "../recipes/web_pairs.py")
    config.data.processor.update(max_length=77, normalisation="clip", vocab_size=49_408)
    config.task.loss = "softmax"
    config.model.variant = "B/32"
    config.optimizer.groups = (
        dict(
            optimizer="adamw",
            learning_rate=5e-4,
            warmup=2000,
            weight_decay=0.2,
            b2=0.98,
            epsilon=1e-6,
        ),
    )
    return config
