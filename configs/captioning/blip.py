"""BLIP's pre-training at the paper's size, on pairs of your own.

    python -m mmjax.main --config=configs/captioning/blip.py --workdir=runs/blip \
        --set data.train.pairs.path=data/pairs.jsonl

Base model, 224 pixels, batch 2,880, 20 passes over 14 million images, as
https://arxiv.org/abs/2201.12086 has them, on 32 devices with 16 GB; the image tower starts from a
ViT of the hub (`warm_start`), texts from BERT's words alone: warm-start `text` from a run of yours
where you have one. Never run here at this size; `:smoke` is the same path in seconds on the bundled
emoji, `--mode=plan` says what it needs. `:captioner` and `:filter` are the two models of CapFilt,
tuned from a run of this; `--mode=capfilt` then writes the cleaned manifest.
"""

from mmjax.config import relative

BATCH = 2_880
IMAGES = 14_000_000
STEPS = 20 * IMAGES // BATCH

TINY = dict(layers=2, width=64, heads=2, hidden=128)
TUNED = {
    "train": dict(steps=5 * IMAGES // BATCH // 10, evaluate_every=500),
    "optimizer.groups.0.learning_rate": 1e-5,
    "optimizer.groups.0.warmup": 0,
    "warm_start": "runs/blip",
}
VARIANTS = {
    "captioner": {**TUNED, "task": dict(itc=0.0, itm=0.0)},
    "filter": {**TUNED, "task": dict(lm=0.0)},
    "smoke": {
        "train": dict(steps=6, evaluate_every=3, log_every=1),
        "data.batch_size": 16,
        "data.train.pairs": dict(name="emoji", split="train"),
        "data.processor.image_size": 64,
        "task.queue": 64,
        "optimizer.groups.0.warmup": 2,
        "optimizer.accumulate": 2,
        "model.image.transformer": TINY,
        "model.text": TINY,
        "validation.pairs": dict(
            source=dict(name="emoji", split="validation/unseen_style"), evaluator=dict(rows=32)
        ),
        "test.pairs": dict(
            source=dict(name="emoji", split="test/unseen_style"), evaluator=dict(rows=32)
        ),
    },
}


def get_config():
    config = relative(__file__, "../recipes/web_pairs.py")
    config.data.batch_size = BATCH
    config.data.processor = dict(
        name="captioning", image_size=224, tokenizer="bert", start="[CLS]", end="[SEP]",
        pad="[PAD]", max_length=30, normalisation="clip",
        augmentation=dict(crop=(0.5, 1.0), flip=0.5),
    )  # fmt: skip
    mixed = dict(dtype="bfloat16", stream="bfloat16", remat="dots")
    config.task = dict(name="blip", soft_warmup=2 * IMAGES // BATCH)
    config.model = dict(
        name="blip", variant="base", image=dict(transformer=mixed), text=mixed
    )
    config.train = dict(steps=STEPS, log_every=100, evaluate_every=5000)
    config.optimizer.groups = (
        dict(optimizer="adamw", learning_rate=3e-4, b2=0.999, weight_decay=0.05, warmup=3000),
    )
    config.checkpoint.metric = "validation/pairs/exact_match"
    for evaluation in (config.validation.pairs, config.test.pairs):
        evaluation.evaluator = dict(name="captions")
    return config
