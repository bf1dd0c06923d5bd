"""Clips of a moving digit, from sentences: "a seven moves left quickly and goes on".

    python -m mmjax.main --config=configs/text_to_video/t2i_digits.py --workdir=runs/t2i_digits
    python -m mmjax.main --config=configs/text_to_video/t2v_digits.py --workdir=runs/t2v_digits

The model begins with what t2i_digits.py learned of single frames. `:begun` learns besides from
clips whose first frame is known, and begins from nothing.

Seed 0, 800 steps of 32, 25 minutes on one CPU core and 7 before them for the first stage. Of 200
test sentences, of pairs of digit and direction that training never shows, the digit is right in
0.605 (bar 0.60; 0.360 without guidance, chance 0.100) and the motion in 0.945 (bar 0.80; 0.800,
chance 0.125). More: experiments/text_to_video/README.md.
"""

from mmjax.config import relative

ACTIONS = ("goes on",)
SCALES = (0.0, 1.0, 2.0, 4.0, 7.5, 12.0)
VARIANTS = {
    "begun": {"task.first": 0.5, "model.denoiser.given": True, "warm_start": ""},
    "smoke": {
        "warm_start": "",
        "train": dict(steps=4, evaluate_every=4, log_every=1),
        "data.batch_size": 8,
        "data.train.clips.rows": 32,
        "optimizer.groups": (dict(optimizer="adamw", learning_rate=1e-3),),
        "model.denoiser": dict(widths=(8,), attention=(True,), head_size=4),
        "task.sampler.steps": 3,
        "validation.held_out": dict(source=dict(rows=8), evaluator=dict(judge_steps=5, scales=())),
        "test.held_out": dict(source=dict(rows=8), evaluator=dict(judge_steps=5, scales=(4.0,))),
    },
}


def asked(split: str, rows: int, combinations: str, **fields) -> dict:
    """So many sentences of a split, judged."""
    return dict(
        source=dict(name="@clips", split=split, rows=rows, combinations=combinations),
        evaluator=dict(name="generated_digits", **fields),
        batch_size=50,
    )


def get_config():
    config = relative(__file__, "../recipes/digit_denoiser.py")
    config.data.train = dict(
        clips=dict(
            name="moving_digits", split="train", rows=20_000, frames=12, side=24, digit=12, most=1,
            actions=ACTIONS,
        )
    )
    config.data.batch_size = 32
    config.warm_start = "runs/t2i_digits"
    config.train = dict(steps=800, log_every=20, evaluate_every=800)
    config.validation = dict(
        held_out=asked("validation", 50, "seen", scales=SCALES, no_guidance=False)
    )
    config.test = dict(held_out=asked("test", 200, "held_out"))
    config.checkpoint.metric = "validation/held_out/both"
    config.checkpoint.every = 400
    return config
