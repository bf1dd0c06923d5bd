"""Two small towers for some thousand images and captions, trained from nothing on a few CPU cores.

    config = relative(__file__, "../recipes/small_pairs.py")

Not a run by itself: it names no data and asks no split. A run is tuned in its own file; what is
changed here changes every run that starts from here, and tests/golden/configs/ shows which.

* Few captions teach no grammar, and a piece of a new word means nothing: captions are bags of the
  whole words that training holds, any of which may be missing.
* `:transformer` reads them in pieces of a byte-level BPE, for sets with more text than the emoji.
* Drawings are warped and recoloured, and mixed in pairs (mixup): each is seen hundreds of times.
* Muon for the matrices of the blocks, AdamW for all else. experiments/emoji/README.md says what
  else was tried.
"""

from mmjax.config import relative

BLOCK = dict(width=192, heads=3, hidden=768, activation="gelu_tanh", dtype="bfloat16")
SMALL = dict(width=64, heads=2, hidden=128)
WARMUP = 54

VARIANTS = {
    "transformer": {
        "data.processor": dict(tokenizer="", vocab_size=2500),
        "data.processor.augmentation.drop_words": 0.0,
        "model.text.transformer": dict(layers=2, unroll=2),
        "model.scale_max": 100.0,
    },
    "smoke": {
        "train": dict(steps=40, evaluate_every=10, log_every=1),
        "data.batch_size": 64,
        "optimizer.groups.0.warmup": 5,
        "optimizer.groups.1.warmup": 5,
        "model.image.transformer": dict(layers=1, **SMALL),
        "model.text.transformer": dict(layers=1, **SMALL),
    },
}


def get_config():
    config = relative(__file__, "../base.py")
    config.data.processor = dict(
        name="image_text",
        image_size=48,
        max_length=24,
        pad_to=24,
        tokenizer="words",
        vocab_size=4000,
        augmentation=dict(
            zoom=(0.7, 1.2),
            stretch=(0.85, 1.18),
            degrees=15.0,
            shear=5.0,
            translate=0.08,
            brightness=0.15,
            contrast=0.2,
            saturation=0.5,
            hue=0.05,
            drop_words=0.3,
        ),
    )
    config.task = dict(name="contrastive", loss="softmax", mixup=True)
    config.model = dict(
        name="clip",
        image=dict(
            patch_size=12,
            stem=(dict(width=96, stride=4),),
            pool="mean",
            transformer=dict(layers=4, unroll=4, **BLOCK),
        ),
        text=dict(pool="mean", causal=False, transformer=dict(layers=0, **BLOCK)),
        embedding=192,
        scale_init=10.0,
        scale_max=10.0,
    )
    config.train = dict(steps=900, log_every=10, evaluate_every=150)
    config.optimizer.groups = (
        dict(
            match=r".*/blocks/.*/kernel",
            optimizer="muon",
            learning_rate=0.02,
            b1=0.95,
            weight_decay=0.1,
            warmup=WARMUP,
        ),
        dict(optimizer="adamw", learning_rate=2e-3, b2=0.98, weight_decay=0.1, warmup=WARMUP),
    )
    config.ema = 0.995
    config.execution.threads = 1  # decoding is cheap here, and a second thread only disturbs XLA
    return config
