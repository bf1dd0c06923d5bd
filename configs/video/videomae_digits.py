"""Nine tenths of the tubelets of a clip are hidden and made up again: VideoMAE on moving digits.

    python -m mmjax.main --config=configs/video/videomae_digits.py --workdir=runs/videomae_digits

Clips of one or two digits, 16 frames of 32 x 32 pixels, 128 tubelets of 2 frames of 8 x 8 pixels,
of which 13 are seen. Pixels are normalised per tubelet, with a floor of 0.05 under the deviation:
most tubelets are black or nearly so, and without it a speck in the corner of one would weigh as
much as a digit. "below_mean" says by how much the error is smaller than that of a model that knows
the mean of each hidden tubelet. The linear probe reads which way one digit goes from 200 labels.

What the weights are worth with these labels: videomae_digits_labels.py, the second stage.

Seed 0, 3,000 steps, 26 minutes on one CPU core beside other work: the error of 1,000 test clips is
by 0.229 (95% interval 0.221 to 0.236) below that of the tubelets' means (bar 0.20), and a linear
probe on 200 labels says the direction in 0.502 (majority 0.141). For 600 steps nothing but the mean
is learned. After 2,000 steps of a schedule of their own: 0.196 and 0.372.
"""

from mmjax.config import relative
from mmjax.datasets.moving_digits import LABELS

DIGITS = dict(name="moving_digits", digit=14)
ONE = dict(DIGITS, most=1, label="direction")
SMALL = dict(width=32, layers=1, heads=2, hidden=64, unroll=1, dtype="float32")
VARIANTS = {
    "smoke": {
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.train.digits.rows": 32,
        "data.batch_size": 8,
        "optimizer.groups.0.warmup": 2,
        "optimizer.groups.1.warmup": 2,
        "model.video.transformer": SMALL,
        "model.decoder": SMALL,
        "validation.made_up.source.rows": 16,
        "validation.probe.source.rows": 32,
        "test.made_up.source.rows": 16,
        "test.probe.source.rows": 32,
    },
}


def asked(split: str, rows: int) -> dict:
    """How well hidden tubelets are made up, and what a linear probe reads of whole clips."""
    probe = dict(
        name="linear_probe",
        image="video",
        class_names=LABELS["direction"],
        train=dict(ONE, split="train", rows=200, seed=1),
    )
    return dict(
        made_up=dict(
            source=dict(DIGITS, split=split, rows=rows),
            evaluator=dict(name="reconstruction"),
            batch_size=64,
        ),
        probe=dict(source=dict(ONE, split=split, rows=rows), evaluator=probe, batch_size=64),
    )


def get_config():
    config = relative(__file__, "../recipes/digit_clips.py")
    config.data.train = dict(digits=dict(DIGITS, split="train", rows=20_000))
    config.data.batch_size = 64
    config.model.name = "video_mae"
    config.model.decoder = dict(width=64, layers=2, heads=1, hidden=256, unroll=2)
    config.model.floor = 0.05
    config.task = dict(name="masked_video", masking="tubelets")
    config.train = dict(steps=3000, log_every=20, evaluate_every=1000)
    config.optimizer.groups = (
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.05, warmup=100,
        ),
        dict(optimizer="adamw", learning_rate=2e-3, b2=0.98, weight_decay=0.05, warmup=100),
    )  # fmt: skip
    config.validation = asked("validation", 200)
    config.test = asked("test", 1000)
    config.checkpoint.metric = "validation/made_up/below_mean"
    config.checkpoint.every = 1000
    return config
