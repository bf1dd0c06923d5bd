"""Kinetics-400, or any other manifest of clips with a label each, at the papers' sizes.

    config = relative(__file__, "../recipes/kinetics.py")

Not a run by itself: the run names its model, its frames and its optimizer. `:smoke` is the same
path in seconds, with a tiny tower on moving digits.
"""

from mmjax.config import relative
from mmjax.datasets.moving_digits import DIRECTIONS

TINY = dict(width=32, layers=1, heads=2, hidden=64, dtype="float32", stream="float32",
            remat="none")  # fmt: skip
DIGITS = dict(name="moving_digits", most=1, rows=32)
VARIANTS = {
    "smoke": {
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.train.k400": dict(DIGITS, split="train"),
        "data.batch_size": 8,
        "data.processor.image_size": 32,
        "data.processor.frames": dict(frames=8, pick="pace", rate=1.0, decoded_side=0, clips=2),
        "model.video.patch_size": 8,
        "model.video.transformer": TINY,
        "model.classes": len(DIRECTIONS),
        "validation.clips.source": dict(DIGITS, split="validation"),
        "test.clips.source": dict(DIGITS, split="test"),
        "execution.mesh.fsdp": 1,
        "warm_start": "",
    },
}


def held_out(path: str) -> dict:
    """The classes of another list of clips."""
    return dict(
        clips=dict(
            source=dict(
                name="manifest", path=path, image="", text="", columns=dict(video=dict())
            ),
            evaluator=dict(name="classification", keep=4),
            batch_size=64,
        )
    )  # fmt: skip


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(
            k400=dict(
                name="manifest", path="k400/train.csv", image="", text="",
                columns=dict(video=dict()),
            )
        ),
        processor=dict(name="video", image_size=224),
    )  # fmt: skip
    config.checkpoint = dict(every=1000, latest=2, best=1)
    config.checkpoint.metric = "validation/clips/accuracy/top1"
    config.validation = held_out("k400/validation.csv")
    config.validation.clips.evaluator.rows = 2000
    config.test = held_out("k400/test.csv")
    config.execution.threads = 16
    return config
