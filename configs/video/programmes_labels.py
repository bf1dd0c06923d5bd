"""What a programme's questions ask for, as classes: the stage before hierarchical_programmes.py.

    python -m mmjax.main --config=configs/video/frames_digits.py --workdir=runs/frames_digits
    python -m mmjax.main --config=configs/video/programmes_labels.py --workdir=runs/scales

A classifier for each: which way the digit moves now, what came right after each digit in the last
half minute, how often each digit came over the whole (mmjax/datasets/programmes.py). Not all are
asked of a programme; what is not counts for nothing. Programmes of a minute to 75 seconds, none of
which comes twice, so that the accuracies of training are of programmes never seen before.

The tower of three scales (mmjax/models/towers/hierarchical.py) learns here what a GPT is to read
from it; the picture tower in it stays as frames_digits.py left it. Each head has a query of its own
over the tower's vectors, so that these are what is looked up, as a GPT will.

Seed 0, 1,000 steps of 32, 9 minutes on one CPU core: which way it moves now, 1.000 of 1,000 test
programmes (majority 0.257); of the last 100 steps' programmes what came after a digit 0.906 (chance
0.100) and how often one came 0.580 (0.250). From questions and answers alone tower and GPT did not
find out in 570 steps of 8 which way a digit moves; what else did not work stands in
experiments/video/README.md.
"""

from mmjax.config import relative
from mmjax.datasets.programmes import LABELS

SMALL = dict(width=32, layers=1, heads=2, hidden=64)
VARIANTS = {
    "smoke": {
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.train.programmes.rows": 32,
        "data.batch_size": 4,
        **{f"optimizer.groups.{number}.warmup": 2 for number in (1, 2)},
        "optimizer.groups.1.optimizer": "adamw",  # muon compiles for longer
        "warm_start": "",
        "model.video": dict(
            image=dict(stem=(dict(width=8, stride=4),), transformer=SMALL),
            transformer=SMALL, fusion=SMALL,
        ),
        "validation.now.source.rows": 8,
        "test.now.source.rows": 8,
    },
}  # fmt: skip


def asked(split: str, rows: int) -> dict:
    """Which way it moves now."""
    return dict(
        now=dict(
            source=dict(name="@programmes", split=split, rows=rows),
            evaluator=dict(
                name="classification", logits="now", label="now", class_names=LABELS["now"]
            ),
            batch_size=32,
        )
    )


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(programmes=dict(name="programmes", split="train", rows=40_000, longest=75)),
        processor=dict(
            name="video", image_size=24, frames=dict(frames=150, pick="pace", rate=2.0)
        ),
        batch_size=32,
    )
    config.model = dict(
        name="video_classifier",
        video=relative(__file__, "../recipes/programme_scales.py").model.video,
        heads=tuple(dict(name=name, classes=len(names)) for name, names in LABELS.items()),
        queries=True,
    )
    config.warm_start = {"video/image": "runs/frames_digits#video/image"}
    config.task = dict(name="classification", input="video")
    config.train = dict(steps=1000, log_every=20, evaluate_every=200)
    config.optimizer.groups = (
        dict(match="video/image/.*", optimizer="frozen"),
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.05, warmup=30,
        ),
        dict(optimizer="adamw", learning_rate=2e-3, b2=0.98, weight_decay=0.05, warmup=30),
    )  # fmt: skip
    config.ema = 0.99
    config.validation = asked("validation", 200)
    config.test = asked("test", 1000)
    config.checkpoint.metric = "validation/now/accuracy/top1"
    config.checkpoint.every = 200
    config.execution.threads = 1
    return config
