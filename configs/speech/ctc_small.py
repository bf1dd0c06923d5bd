"""A small Conformer learns to write down telephone prompts from 20 minutes of one real voice.

draft
"""

from mmjax.config import relative

SMALL = dict(width=32, heads=2, hidden=64, layers=1, unroll=1)

VARIANTS = {
    "smoke": {
        "data.train.synthetic": dict(name="asterisk", split="train"),
        "model.transformer": SMALL,
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.batch_size": 4,
        "optimizer.groups.0.warmup": 2,
        "optimizer.groups.1.warmup": 2,
        "validation.unseen_voices.source": dict(name="librivox"),
        "test.unseen_voices.source": dict(name="librivox"),
    },
}


def held_out(split: str) -> dict:
    """Letter errors: of the prompts, greedily and with a language model; of unseen voices."""
    errors = dict(name="ctc_errors", unit="character")
    prompts = dict(name="asterisk", split=split)
    return dict(
        prompts=dict(
            source=prompts,
            evaluator=errors,
            baseline=dict(name="language_alone", order=5),
            batch_size=16,
        ),
        prompts_beams=dict(
            source=prompts,
            evaluator=dict(errors, beams=16, order=5, weight=0.5, bonus=0.5),
            batch_size=16,
        ),
        unseen_voices=dict(
            source=dict(name="synthetic_speech", split=split, voices="unseen"),
            evaluator=errors,
            batch_size=16,
        ),
    )


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(
            asterisk=dict(name="asterisk", split="train", weight=0.4),
            synthetic=dict(name="synthetic_speech", split="train", weight=0.6),
        ),
        processor=dict(
            name="spoken",
            audio=dict(
                rate=8000, bins=64, longest=8.0, buckets=(1.3, 2.2, 3.6, 5.5), alike=32,
                augmentation=dict(
                    speed=(0.9, 1.1), gain=(-6.0, 6.0), frequency_masks=2, frequency_width=10,
                    time_masks=2, time_width=20, time_share=0.1,
                ),
            ),
        ),
        batch_size=16,
    )  # fmt: skip
    config.model = dict(
        name="conformer",
        taps=15,
        transformer=dict(width=144, layers=4, heads=4, hidden=288, dropout=0.05, unroll=4),
    )
    config.task = dict(name="ctc")
    config.train = dict(steps=2600, log_every=20, evaluate_every=650)
    warmup = 100
    config.optimizer.groups = (
        dict(
            match=r".*/blocks/.*/kernel", optimizer="muon", learning_rate=0.02, b1=0.95,
            weight_decay=0.1, warmup=warmup,
        ),
        dict(optimizer="adamw", learning_rate=2e-3, b2=0.98, weight_decay=0.05, warmup=warmup),
    )  # fmt: skip
    config.ema = 0.998
    config.validation = held_out("validation")
    config.test = held_out("test")
    config.checkpoint.metric = "validation/prompts/cer"
    config.checkpoint.higher_is_better = False
    config.execution.threads = 1
    return config
