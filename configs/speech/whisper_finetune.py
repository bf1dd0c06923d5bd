"""Whisper tiny.en, fine-tuned on the telephone prompts of one voice.

    python -m mmjax.main --mode=prepare --set=asterisk
    python -m mmjax.main --config=configs/speech/whisper_finetune.py --workdir=runs/finetune

The real weights are fetched once (71 MB). The encoder stays as it is; the decoder learns how this
voice's texts are written, from a part of the recordings. Tested on 30% of the texts, and on five
clips of another voice and style, which it must not forget.

`:before` trains nothing: the word errors of the model as it is. The paired interval of both:

    python -m mmjax.main --mode=compare --workdir=runs/finetune --against=runs/before --split=test

Seed 0, 120 steps, 29 minutes on one CPU core: wrong words of the validation's prompts 0.119
before, 0.074 after 40 steps, 0.079 after 80, 0.069 after 120; of the 157 test prompts 0.084
before, 0.073 after (difference -0.010, 95% interval -0.033 to +0.012; the bar, 30% fewer, is
missed), and of the clips of another voice 4 words of 71 before, 6 after. What is left are words
that no training prompt holds: "fiftieth", "M I S D N", "pound". 48 steps at 3e-5 ended at 0.084,
0.077 and 4 words.

A rate of 1e-4 without augmentation and without a mean of the weights, 64 steps, learned its few
texts by heart: 0.069 of the validation's, 0.088 of the test's, 0.085 of the other voice's. About
half of what is wrong before is spelling ("ten" and "10", "a m", "am").
"""

from mmjax.config import relative

TINY = dict(
    width=384, layers=4, heads=6, hidden=1536, key_bias=False, initialisation="bert", unroll=4
)  # the sizes of tiny.en, on both sides
SMALL = dict(width=32, heads=2, hidden=64, layers=1, unroll=1)

VARIANTS = {
    "before": {
        "train": dict(steps=1, evaluate_every=1),
        "optimizer.groups.1": dict(learning_rate=0.0, warmup=0),
    },
    "smoke": {
        "warm_start": "",
        "data.train.prompts": dict(name="librivox"),
        "data.processor": dict(checkpoint="", seconds=8.0, bins=16, vocab_size=300),
        "data.batch_size": 4,
        "model": dict(vocab_size=300, context_length=96, bins=16, frames=800),
        "model.encoder": SMALL,
        "model.decoder": SMALL,
        "validation.prompts.source": dict(name="librivox"),
        "test.prompts.source": dict(name="librivox"),
        "train": dict(steps=6, evaluate_every=3, log_every=1),
        "optimizer.groups.1.warmup": 2,
        "task.generate.max_new_tokens": 8,
    },
}


def get_config():
    config = relative(__file__, "../base.py")
    prompts = dict(name="asterisk", test=0.3)
    config.data = dict(
        train=dict(prompts=dict(prompts, split="train")),
        processor=dict(
            name="transcription", checkpoint="whisper-tiny.en", max_length=96,
            augmentation=dict(
                speed=(0.9, 1.1), gain=(-6.0, 6.0), frequency_masks=2, frequency_width=12,
            ),
        ),
        batch_size=16,
    )  # fmt: skip
    # no dropout: Whisper was trained without, and loses its words under it
    config.model = dict(
        name="whisper", vocab_size=51_864, context_length=448, encoder=TINY, decoder=TINY
    )
    config.warm_start = "whisper-tiny.en"
    config.task = dict(name="transcription", generate=dict(max_new_tokens=94))
    config.train = dict(steps=120, log_every=4, evaluate_every=40)
    config.optimizer.groups = (
        dict(match="encoder/.*", optimizer="frozen"),
        dict(optimizer="adamw", learning_rate=5e-5, b2=0.98, weight_decay=0.01, warmup=6),
    )
    config.ema = 0.95
    errors = dict(evaluator=dict(name="word_errors"), batch_size=8)
    config.validation = dict(prompts=dict(errors, source=dict(prompts, split="validation")))
    config.test = dict(
        prompts=dict(errors, source=dict(prompts, split="test")),
        read=dict(errors, source=dict(name="librivox")),
    )
    config.checkpoint.update(metric="validation/prompts/wer", higher_is_better=False)
    config.execution.threads = 1
    return config
