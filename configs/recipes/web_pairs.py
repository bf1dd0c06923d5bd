"""Towers of the papers' sizes on hundreds of millions of pairs from the web, in bfloat16.

    config = relative(__file__, "../recipes/web_pairs.py")

Not a run by itself: the run names its loss, its towers (`model.variant`), its optimizer and how
captions are read. Both papers that start here, CLIP's and SigLIP's, have batches of 32,768 at 224
pixels; the length is OpenCLIP's 32 passes over LAION-400M. `:smoke` is the same path in seconds,
with tiny towers on the bundled emoji.
"""

from mmjax.config import relative

BATCH = 32_768
EXAMPLES = 400_000_000
EPOCHS = 32
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


def held_out(split: str) -> dict:
    """Retrieval on a split of the same data."""
    source = dict(name="@pairs", split=split)
    return dict(pairs=dict(source=source, evaluator=dict(name="retrieval")))


def get_config():
    config = relative(__file__, "../base.py")
    config.data.train = dict(pairs=dict(name="manifest", path="data/pairs.jsonl", split="train"))
    config.data.batch_size = BATCH
    config.data.processor = dict(
        name="image_text", image_size=224, augmentation=dict(crop=(0.9, 1.0))
    )
    config.task = dict(name="contrastive")
    mixed = dict(dtype="bfloat16", stream="bfloat16", remat="dots")
    config.model = dict(name="clip", image=dict(transformer=mixed), text=dict(transformer=mixed))
    config.train = dict(steps=STEPS, log_every=100, evaluate_every=5000)
    config.checkpoint = dict(every=1000, latest=2, best=1, keep_every=50_000)
    config.checkpoint.metric = "validation/pairs/image_to_text/r1"
    config.validation = held_out("validation")
    config.test = held_out("test")
    return config
