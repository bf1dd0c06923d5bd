"""wav2vec 2.0 learns to write: the paper's fine-tuning by CTC (https://arxiv.org/abs/2006.11477).

    python -m mmjax.main --config=configs/speech/ctc_wav2vec2.py --workdir=runs/wav2vec2 \\
        --config.warm_start=facebook/wav2vec2-base \\
        --config.data.train.own.path=speech/list.csv

The base model, 95 million parameters, 32 recordings of up to 20 seconds a step: for one GPU or TPU
with 40 GB. The paper's recipe for 10 hours of speech: 20,000 steps, learning rate 5e-5 after 2,000
steps of warm-up, the convolutions over the samples frozen. Its masks of the encoder's frames and
its 10,000 steps that train the head alone are left out; speed and noise vary the recordings
instead. The base model was trained without a mask of its padding (`task.masked`). `:large` is
LARGE, pre-trained on Libri-Light (warm_start=facebook/wav2vec2-large-lv60), with a mask.

The letters are those of the training texts: a new head. To go on with the head of a checkpoint that
has one, name its folder in data.processor.letters too. HuBERT is the same: warm_start=facebook/
hubert-base-ls960. Without a path it runs on the bundled LibriVox clips, to show the form. It has
been run as `:smoke` only: no pre-trained weights of this family ship in a package.
"""

from mmjax.config import relative

FRONT = tuple(
    dict(width=16, taps=taps, stride=stride) for taps, stride in ((10, 5), (8, 8), (8, 8))
)
SMALL = dict(width=32, heads=2, hidden=64, layers=1)

VARIANTS = {
    "large": {"model.variant": "large-lv60", "task.masked": True},
    "smoke": {
        "data.train": dict(own=dict(name="librivox", split="train")),
        "validation.own.source": dict(name="@own", split="test"),
        "test.own.source": dict(name="@own", split="test"),
        "model": dict(
            name="wav2vec2", front=FRONT, position_taps=16, position_groups=4,
            transformer=dict(norm="post", **SMALL),
        ),
        "optimizer.groups.0.match": "front/nothing",
        "optimizer.groups.1.warmup": 2,
        "data.batch_size": 2,
        "train": dict(steps=4, evaluate_every=2, log_every=1),
    },
}  # fmt: skip


def held_out(split: str) -> dict:
    """Word errors of the greedy reading."""
    source = dict(name="@own", split=split)
    return dict(own=dict(source=source, evaluator=dict(name="ctc_errors"), batch_size=16))


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(own=dict(name="librivox", split="train")),
        processor=dict(
            name="spoken",
            audio=dict(
                kind="samples",
                longest=20.0,
                augmentation=dict(speed=(0.9, 1.1), noise=(15.0, 40.0)),
            ),
        ),
        batch_size=32,
    )
    config.model = dict(name="wav2vec2", variant="base")
    config.task = dict(name="ctc", masked=False)
    config.train = dict(steps=20_000, log_every=50, evaluate_every=1000)
    config.optimizer.groups = (
        dict(match=r"front/.*", optimizer="frozen"),
        dict(optimizer="adamw", learning_rate=5e-5, b2=0.98, weight_decay=0.01, warmup=2000),
    )
    config.validation = held_out("test")
    config.test = held_out("test")
    config.checkpoint.metric = "validation/own/wer"
    config.checkpoint.higher_is_better = False
    return config
