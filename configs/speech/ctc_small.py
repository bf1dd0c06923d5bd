"""A small Conformer learns from scratch to write down telephone prompts, letter by letter.

    python -m mmjax.main --mode=prepare --set=asterisk,synthetic_speech
    python -m mmjax.main --config=configs/speech/ctc_small.py --workdir=runs/ctc_small

The real voice is Asterisk's, 20 minutes of training prompts at 8 kHz; beside it 21 synthetic voices
read 3 hours (espeak-ng and flite, which have to be installed: datasets/synthetic_speech.py).
Measured are letter errors of held-out prompts, greedily and by 16 beams with a 5-gram of the
training texts' letters, and of held-out sentences by voices that were never heard. What can be had
without listening stands beside: the likeliest text of the right length under that 5-gram.

1,600 steps of 16, seed 0, 9 minutes of training on one CPU core beside other work, 1.4 million
parameters. Test, letters that are wrong (greedily): 0.199 of 47 prompts of the real voice, 0.133
with beams and the language model, where the language model alone has 0.738; 0.251 of 354 sentences
by four unseen synthetic voices. On validation 0.378 after half of the steps and 0.283 after all of
them: it was still learning. The weight and the bonus of the language model were not tuned.
Recordings of more than 8 seconds are refused, 20 of 453 in training, 3 of 51 in validation, none of
the 47 prompts of the test.
"""

from mmjax.config import relative

SMALL = dict(width=32, heads=2, hidden=64, layers=1, unroll=1)

READ = dict(name="librivox", split="train", weight=1.0)
READ_TEST = dict(name="librivox", split="test")
EVALUATIONS = ("prompts", "prompts_beams", "unseen_voices")

VARIANTS = {
    "smoke": {
        "data.train.asterisk": READ,
        "data.train.synthetic.weight": 0.0,
        "model.transformer": SMALL,
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.batch_size": 2,
        "optimizer.groups.0.warmup": 2,
        "optimizer.groups.1.warmup": 2,
        **{f"validation.{name}.source": READ_TEST for name in EVALUATIONS},
        **{f"test.{name}.source": READ_TEST for name in EVALUATIONS},
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
    config.train = dict(steps=1600, log_every=20, evaluate_every=800)
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
