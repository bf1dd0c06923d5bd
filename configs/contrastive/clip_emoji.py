"""CLIP from nothing on the bundled emoji: 2,088 drawings with captions, two drawing styles.

    python -m mmjax.main --config=configs/contrastive/clip_emoji.py --workdir=runs/clip_emoji

(work in progress: hyper-parameters and figures come from the recipe runs)
"""

from mmjax.config import relative

IMAGE, TOKENS = 32, 24
BLOCK = dict(width=192, heads=3, hidden=768)

VARIANTS = {
    "smoke": dict(
        train=dict(steps=40, evaluate_every=10, log_every=1),
        data=dict(batch_size=64),
        **{"optimizer.groups.0.warmup": 5},
        model=dict(
            image=dict(transformer=dict(layers=1, width=64, heads=2, hidden=128)),
            text=dict(transformer=dict(layers=1, width=64, heads=2, hidden=128)),
        ),
    ),
}


def held_out(split: str) -> dict:
    """The two evaluations of a split of the emoji set."""

    def retrieval(kind: str, **fields) -> dict:
        return dict(
            source=dict(name="emoji", split=f"{split}/{kind}"),
            evaluator=dict(name="retrieval", average_over="style"),
            **fields,
        )

    return dict(
        unseen_style=retrieval("unseen_style", baseline=dict(name="thumbnails")),
        unseen_concept=retrieval("unseen_concept"),
    )


def get_config():
    config = relative(__file__, "../base.py")
    config.data.train = dict(emoji=dict(name="emoji", split="train"))
    config.data.processor = dict(
        name="image_text",
        image_size=IMAGE,
        max_length=TOKENS,
        vocab_size=2048,
        augmentation=dict(
            zoom=(0.7, 1.15),
            stretch=(0.85, 1.18),
            degrees=15.0,
            shear=8.0,
            translate=0.1,
            flip=0.3,
            brightness=0.3,
            contrast=0.3,
            saturation=0.3,
            hue=0.04,
        ),
    )
    config.task = dict(name="contrastive", loss="softmax")
    config.model = dict(
        name="clip",
        image=dict(patch_size=8, pool="mean", transformer=dict(layers=4, unroll=4, **BLOCK)),
        text=dict(pool="mean", causal=False, transformer=dict(layers=2, unroll=2, **BLOCK)),
        embedding=192,
    )
    config.train = dict(steps=500, log_every=10, evaluate_every=100)
    config.optimizer.groups = (
        dict(optimizer="adamw", learning_rate=1e-3, warmup=40, weight_decay=0.1, b2=0.98),
    )
    config.ema = 0.99
    config.checkpoint.metric = "validation/unseen_style/image_to_text/r1"
    config.validation = held_out("validation")
    config.test = held_out("test")
    return config
