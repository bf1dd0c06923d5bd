"""Your own recordings and what is said in them: a CSV or JSONL file, and a model from scratch.

    python -m mmjax.main --config=configs/speech/ctc_own_data.py --workdir=runs/speech \\
        --config.data.train.own.path=speech/list.csv

A line has `audio`, the path of a file beside the list (WAV, FLAC, OGG, MP3; any rate), and `text`;
`start` and `end` in seconds, where several sentences are in one recording. Rows are split 80 / 10 /
10 by a hash of their group, else of the recording, so adding rows moves none; a column `speaker` as
`data.train.own.group` keeps each speaker on one side. Look first: add `--mode=inspect`.

The letters are those of the texts, and numerals English words (data.processor.english=False leaves
them out, for other languages). From scratch a voice takes 20 minutes of speech and more, strangers
many hours; with less, start from wav2vec 2.0 (ctc_wav2vec2.py). Without a path it runs on the 32
sentences of synthetic voices that lie beside it, to show the form: too few to learn from.
"""

from pathlib import Path

from mmjax.config import relative

EXAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "own_data" / "speech.csv"

SMALL = dict(width=32, heads=2, hidden=64, layers=1, unroll=1)

VARIANTS = {
    "smoke": {
        "model.transformer": SMALL,
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.batch_size": 2,
        "optimizer.groups.0.warmup": 2,
        "optimizer.groups.1.warmup": 2,
    },
}


def held_out(split: str) -> dict:
    """Word errors of a split of the same data, read by beams with a language model of its texts."""
    source = dict(name="@own", split=split)
    evaluator = dict(name="ctc_errors", beams=16, order=5)
    baseline = dict(name="language_alone", errors=dict(unit="word"))
    return dict(own=dict(source=source, evaluator=evaluator, baseline=baseline, batch_size=16))


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(
            own=dict(
                name="manifest", path=str(EXAMPLE), split="train", image="",
                columns=dict(audio=dict()),
            ),
        ),
        processor=dict(
            name="spoken",
            audio=dict(
                longest=15.0,
                augmentation=dict(
                    speed=(0.9, 1.1), gain=(-6.0, 6.0), frequency_masks=2, frequency_width=10,
                    time_masks=2, time_width=30, time_share=0.1,
                ),
            ),
        ),
        batch_size=16,
    )  # fmt: skip
    config.model = dict(
        name="conformer",
        taps=15,
        transformer=dict(width=192, layers=6, heads=4, hidden=384, dropout=0.1),
    )
    config.task = dict(name="ctc")
    config.train = dict(steps=5000, log_every=20, evaluate_every=500)
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
    config.checkpoint.metric = "validation/own/wer"
    config.checkpoint.higher_is_better = False
    return config
