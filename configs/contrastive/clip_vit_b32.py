"""CLIP ViT-B/32 as OpenCLIP trained it on LAION-400M: the full-size recipe.

    python -m mmjax.main --config=configs/contrastive/clip_vit_b32.py --workdir=runs/b32 \\
        --config.data.train.pairs.path=DATA.jsonl

Paper: https://arxiv.org/abs/2212.07143 (and https://arxiv.org/abs/2103.00020). Batch 32,768, 32
passes over 400 M pairs, AdamW 5e-4 with 2,000 steps of warm-up, weight decay 0.2; reported 62.9%
zero-shot top-1 on ImageNet, on 128 A100. NOT run here at this size: what runs here is `:smoke`
(seconds, the same path with tiny towers on the bundled emoji). Captions get a byte-level BPE of
49,408 entries trained on the data, unless data.processor.tokenizer names a tokenizer.json.
"""

from mmjax.config import relative

BATCH, EXAMPLES, EPOCHS = 32_768, 400_000_000, 32
STEPS = EXAMPLES * EPOCHS // BATCH  # 390,625

TINY = dict(layers=2, width=64, heads=2, hidden=128)
VARIANTS = {
    "smoke": {
        "train": dict(steps=6, evaluate_every=3, log_every=1),
        "data.batch_size": 16,
        "data.train.pairs": dict(name="emoji", split="train"),
        "data.processor.image_size": 64,
        "data.processor.vocab_size": 1000,
        "optimizer.groups.0.warmup": 2,
        "optimizer.accumulate": 2,
        "model.image.transformer": TINY,
        "model.text.transformer": TINY,
        "validation.pairs.source": dict(name="emoji", split="validation/unseen_style"),
        "test.pairs.source": dict(name="emoji", split="test/unseen_style"),
    },
}


def get_config():
    config = relative(__file__, "../base.py")
    config.data.train = dict(pairs=dict(name="manifest", path="data/pairs.jsonl", split="train"))
    config.data.batch_size = BATCH
    config.data.processor = dict(
        name="image_text",
        image_size=224,
        max_length=77,
        normalisation="clip",
        vocab_size=49_408,
        augmentation=dict(crop=(0.9, 1.0)),
    )
    config.task = dict(name="contrastive", loss="softmax")
    mixed = dict(dtype="bfloat16", stream="bfloat16", remat="dots")
    config.model = dict(
        name="clip",
        variant="B/32",
        image=dict(transformer=mixed),
        text=dict(transformer=mixed),
    )
    config.train = dict(steps=STEPS, log_every=100, evaluate_every=5000)
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
    config.checkpoint = dict(every=1000, latest=2, best=1, keep_every=50_000)
    config.checkpoint.metric = "validation/pairs/image_to_text/r1"
    retrieval = dict(name="retrieval")
    config.validation = dict(
        pairs=dict(source=dict(name="@pairs", split="validation"), evaluator=retrieval)
    )
    config.test = dict(pairs=dict(source=dict(name="@pairs", split="test"), evaluator=retrieval))
    return config
