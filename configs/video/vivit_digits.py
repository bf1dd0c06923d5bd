"""Which way two digits move, and whether the lower or the higher one came first.

    python -m mmjax.main --config=configs/video/vivit_digits.py --workdir=runs/vivit_digits

Clips of moving digits (mmjax/datasets/moving_digits.py), 16 frames of 32 x 32 pixels: the first
digit's direction is one of eight, the second's too; held out are the pictures of all digits. The
factorised encoder of ViViT (https://arxiv.org/abs/2103.15691, model 2): each frame is read by
itself, then a transformer follows what follows what.

With tubelets of two frames and joint attention (its model 1: "video_vit" of width 128, four layers,
2,000 steps, 39 minutes on one CPU core) the direction was right in 0.766 of 1,000 test clips, the
second's in 0.589, the order in 0.580; on still clips 0.142 and 0.512, on shuffled ones 0.331 and
0.524.

The same model is asked about clips of one frame, the middle one again and again ("still"), and
about clips whose frames are in an order by chance ("shuffled"). `:still` and `:shuffled` train on
such clips: what can be learned without time.
"""

from mmjax.config import relative
from mmjax.datasets.moving_digits import LABELS

HEADS = ("direction", "second_direction", "order", "digit", "second_digit")
ASKED = ("direction", "second_direction", "order")
WITHOUT_TIME = ("still", "shuffled")
BLOCK = dict(heads=4, activation="gelu_tanh")
SMALL = dict(width=32, layers=1, heads=2, hidden=64, unroll=1)


def asked(split: str, label: str, rows: int, clips: str = "own") -> dict:
    """One question about clips of two digits."""
    return dict(
        source=dict(
            name="moving_digits", split=split, fewest=2, rows=rows, label=label, clips=clips
        ),
        evaluator=dict(
            name="classification", logits=label, label=label, class_names=LABELS[label]
        ),
        batch_size=64,
    )  # fmt: skip


def trained_on(clips: str) -> dict:
    """What changes where a run is trained on clips without time, and asked about such ones."""
    return {
        "data.train.digits.clips": clips,
        "validation": {name: asked("validation", name, 200, clips) for name in ASKED},
        "test": {name: asked("test", name, 1000, clips) for name in ASKED},
    }


VARIANTS = {
    **{clips: trained_on(clips) for clips in WITHOUT_TIME},
    "smoke": {
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.train.digits.rows": 64,
        "data.batch_size": 8,
        "optimizer.groups.0.warmup": 2,
        "optimizer.groups.1.warmup": 2,
        "model.video": dict(
            image=dict(stem=(dict(width=8, stride=4),), transformer=SMALL), transformer=SMALL
        ),
        "validation": {"direction": asked("validation", "direction", 32)},
        "test": {
            "direction": asked("test", "direction", 32),
            "order_still": asked("test", "order", 32, "still"),
        },
    },
}  # fmt: skip


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(digits=dict(name="moving_digits", split="train", rows=20_000)),
        processor=dict(
            name="video",
            image_size=32,
            frames=dict(frames=16, outside="black"),
            augmentation=dict(zoom=(0.9, 1.1), stretch=(0.92, 1.08), degrees=6.0, shear=6.0),
        ),
        batch_size=32,
    )
    config.model = dict(
        name="video_classifier",
        video=dict(
            name="frame_tower",
            image=dict(
                name="vit",
                patch_size=8,
                stem=(dict(width=24, stride=2), dict(width=48, stride=2)),
                pool="mean",
                transformer=dict(width=96, layers=1, hidden=384, **BLOCK),
            ),
            transformer=dict(width=96, layers=3, hidden=384, unroll=3, **BLOCK),
        ),
        heads=tuple(dict(name=name, classes=len(LABELS[name])) for name in HEADS),
    )  # fmt: skip
    config.task = dict(name="classification", input="video")
    config.train = dict(steps=1500, log_every=20, evaluate_every=500)
    config.optimizer.groups = (
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.05, warmup=100,
        ),
        dict(optimizer="adamw", learning_rate=1e-3, b2=0.98, weight_decay=0.05, warmup=100),
    )  # fmt: skip
    config.ema = 0.995
    config.validation = {name: asked("validation", name, 200) for name in ASKED}
    config.test = {name: asked("test", name, 1000) for name in ASKED}
    for clips in WITHOUT_TIME:
        for name in ("direction", "order"):
            config.test[f"{name}_{clips}"] = asked("test", name, 1000, clips)
    config.checkpoint.metric = "validation/direction/accuracy/top1"
    config.checkpoint.every = 500
    config.execution.threads = 1
    return config
