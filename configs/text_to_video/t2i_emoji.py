"""Emoji from their captions: the task of t2v_digits.py with pictures in the place of clips.

    python -m mmjax.main --config=configs/text_to_video/t2i_emoji.py --workdir=runs/t2i_emoji

Pictures of 32 x 32 pixels of things that no training drawing shows, ranked by the CLIP of the
package. Seed 0, 1,500 steps, 17 minutes on one CPU core beside other work: the own caption is among
the first five of 185 for 0.473 of the pictures (bar 0.25; 0.278 without guidance, real drawings
0.378, chance 0.027).

`:judges_words` reads captions by the word vectors of the CLIP that judges, frozen: 0.854, a number
that says what the judge looks for and nothing else. More: experiments/text_to_video/README.md.
"""

from mmjax.config import relative

SCALES = (0.0, 1.0, 2.0, 4.0, 7.5, 12.0)

EMOJI = "emoji_clip"
MUON = dict(optimizer="muon", learning_rate=0.02, adam_learning_rate=2e-3, warmup=100)
VARIANTS = {
    "judges_words": {
        "data.processor": dict(tokenizer=EMOJI, max_length=24, pad_to=24),
        "model.text.transformer": dict(
            width=192, heads=3, hidden=768, activation="gelu_tanh", dtype="bfloat16"
        ),
        "model.denoiser.text_width": 192,
        "warm_start": {"text": f"{EMOJI}#text"},
        "optimizer.groups": (dict(match="text/.*", optimizer="frozen"), MUON),
    },
    "smoke": {
        "train": dict(steps=4, evaluate_every=4, log_every=1),
        "data.batch_size": 8,
        "optimizer.groups": (dict(optimizer="adamw", learning_rate=1e-3),),
        "model.denoiser": dict(widths=(8,), attention=(True,), head_size=4),
        "task.sampler.steps": 2,
        "validation.unseen_concept.evaluator": dict(rows=8, keep=0, scales=()),
        "test.unseen_concept.evaluator": dict(rows=8, scales=(4.0,)),
    },
}  # fmt: skip


def asked(split: str, **fields) -> dict:
    return dict(
        source=dict(name="emoji", split=f"{split}/unseen_concept"),
        evaluator=dict(name="generated_pictures", **fields),
        batch_size=64,
    )


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(emoji=dict(name="emoji", split="train")),
        processor=dict(
            name="illustrated", tokenizer="words", image_size=32, max_length=20, pad_to=20,
            augmentation=dict(
                zoom=(0.9, 1.05), degrees=8.0, translate=0.04, flip=0.5, drop_words=0.1
            ),
        ),
        batch_size=32,
    )  # fmt: skip
    config.model = dict(
        name="text_diffusion",
        text=dict(transformer=dict(width=128, layers=0, heads=2, hidden=256), causal=False),
        denoiser=dict(
            channels=48, text_width=128, widths=(64, 128), attention=(False, True), layers=1,
            groups=8, film=True, time="joint", frames=1, size=(8,),
        ),
        fold=4,
    )  # fmt: skip
    config.task = dict(
        name="diffusion",
        schedule=dict(kind="cosine", zero_terminal=True),
        sampling=dict(target="clean", guidance=4.0, bounds="dynamic"),
        sampler=dict(name="ddim", steps=25),
        drop=0.1,
    )
    config.train = dict(steps=1500, log_every=50, evaluate_every=1500)
    config.optimizer.groups = (MUON,)
    config.ema = 0.995
    config.validation = dict(
        unseen_concept=asked("validation", rows=64, scales=SCALES, no_guidance=False)
    )
    config.test = dict(unseen_concept=asked("test"))
    config.checkpoint.metric = "validation/unseen_concept/clip_r5"
    config.checkpoint.every = 500
    return config
