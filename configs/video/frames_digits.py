"""Which digit moves, and how: the first stage of the runs that talk about moving digits.

    python -m mmjax.main --config=configs/video/frames_digits.py --workdir=runs/frames_digits

A picture tower reads every frame of a clip of one digit, a transformer behind it what follows what.
video_language_digits.py and hierarchical_programmes.py begin with these weights, as LLaVA does with
those of a CLIP: from questions and answers alone neither of them found out in 500 steps and more
that digits are to be told apart.

Seed 0, 3,000 steps of 32, 9 minutes on one CPU core, 1,000 test clips of digits' pictures that
training never saw: the digit 0.935 (majority 0.114), the direction 0.993 (0.132), the speed 0.999
(0.506), what it did then 0.996 (0.337). Half the steps, with less augmentation: 0.911, 0.949, 0.983
and 0.964.
"""

from mmjax.config import relative
from mmjax.datasets.moving_digits import LABELS

HEADS = ("digit", "direction", "speed", "action")
CLIPS = dict(
    name="moving_digits", most=1, side=24, frames=12, actions=("goes on", "stops", "bounces"),
    combinations="all",
)  # fmt: skip
SMALL = dict(width=32, layers=1, heads=2, hidden=64)

VARIANTS = {
    "smoke": {
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.train.digits.rows": 64,
        "data.batch_size": 8,
        "optimizer.groups.0.warmup": 2,
        "optimizer.groups.1.warmup": 2,
        "model.video": dict(
            image=dict(stem=(dict(width=8, stride=4),), transformer=SMALL), transformer=SMALL
        ),
        **{f"validation.{name}.source.rows": 16 for name in HEADS},
        **{f"test.{name}.source.rows": 16 for name in HEADS},
    },
}


def asked(split: str, rows: int) -> dict:
    """Each head on clips of its own."""
    return {
        label: dict(
            source=dict(CLIPS, split=split, rows=rows, label=label),
            evaluator=dict(
                name="classification", logits=label, label=label, class_names=LABELS[label]
            ),
            batch_size=64,
        )
        for label in HEADS
    }


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(digits=dict(CLIPS, split="train", rows=20_000)),
        processor=dict(
            name="video",
            image_size=24,
            frames=dict(frames=12, outside="black"),
            augmentation=dict(zoom=(0.88, 1.14), stretch=(0.88, 1.14), degrees=10.0, shear=10.0),
        ),
        batch_size=32,
    )
    config.model = dict(
        name="video_classifier",
        video=relative(__file__, "../recipes/digit_frames.py").model.video,
        heads=tuple(dict(name=name, classes=len(LABELS[name])) for name in HEADS),
    )
    config.task = dict(name="classification", input="video")
    config.train = dict(steps=3000, log_every=20, evaluate_every=1000)
    warmup = 50
    config.optimizer.groups = (
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.05, warmup=warmup,
        ),
        dict(optimizer="adamw", learning_rate=2e-3, b2=0.98, weight_decay=0.05, warmup=warmup),
    )  # fmt: skip
    config.ema = 0.99
    config.validation = asked("validation", 200)
    config.test = asked("test", 1000)
    config.checkpoint.metric = "validation/digit/accuracy/top1"
    config.checkpoint.every = 1000
    config.execution.threads = 1
    return config
