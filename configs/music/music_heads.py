"""What ten seconds of a tune are: rhythm, key, metre, instrument and mood, one head each.

    apt-get install libfluidsynth3 abcmidi    # macOS: brew install fluid-synth abcmidi
    python -m mmjax.main --mode=prepare --set=music
    python -m mmjax.main --config=configs/music/music_heads.py --workdir=runs/music_heads

Tunes of old books played by twelve instruments (mmjax/datasets/music.py), heard as semitones and as
onsets. The keys are read off twelve vectors that turn with the pitch, rhythm and metre off what
returns after how long, in one network of 0.8 million parameters (mmjax/models/music.py).

800 steps of 32, seed 0, 16 minutes on one CPU core that other work shared, half of them the first
pass over the clips. 620 test clips of tunes never heard (612 with a rhythm), the majority, and the
best of three linear classifiers on 1,000 training clips (mean and deviation of the mel spectrum,
mean chroma, autocorrelation of onsets):

                    right   majority   linear
    rhythm          0.742    0.353     0.649
    key_signature   0.921    0.427     0.856
    key             0.860    0.360     0.776
    metre           0.847    0.310     0.752
    instrument      1.000    0.105     0.998
    mood, a proxy   0.831    0.327     0.647

On all 1,166 test clips: experiments/music/README.md. `:jitter`, any tempo and no accents:
there rhythm is right in 0.575 and metre in 0.638, and the keys hardly suffer.
"""

from mmjax.config import relative
from mmjax.datasets.music import CLASSES

TONAL = {"key_signature": 1, "key": 4}  # classes of each pitch class
WATCHED = ("rhythm", "key", "metre")  # during training
TONES = dict(source=dict(sound="tones"), baseline=None)

VARIANTS = {
    # any tempo and no accents: what is heard of metre is the tune alone
    "jitter": {
        "data.train.music.form": "jitter",
        **{f"validation.{name}.source.form": "jitter" for name in WATCHED},
        **{f"test.{name}.source.form": "jitter" for name in CLASSES},
    },
    "smoke": {
        "data.train.music.sound": "tones",  # which need no file and no renderer
        "validation": dict.fromkeys(WATCHED, TONES),
        "test": dict.fromkeys(CLASSES, TONES),
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.batch_size": 8,
        "optimizer.groups.0.warmup": 2,
        "model": dict(channels=4, width=16, lags=40),
    },
}


def asked(split: str, head: str, rows: int, **baseline) -> dict:
    """One head on so many clips whose label is known."""
    return dict(
        source=dict(name="music", split=split, labelled=head),
        evaluator=dict(
            name="classification", logits=head, label=head, class_names=CLASSES[head], rows=rows
        ),
        batch_size=64,
        **baseline,
    )


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(music=dict(name="music", split="train", form="plain")),
        processor=dict(
            name="melody",
            transpose=3,
            labels=tuple(dict(field=name, tonal=TONAL.get(name, 0)) for name in CLASSES),
        ),
        batch_size=32,
    )
    heads = tuple(
        dict(name=name, classes=len(classes), tonal=name in TONAL)
        for name, classes in CLASSES.items()
    )
    config.model = dict(name="music", heads=heads)
    config.task = dict(name="classification", input="audio", smoothing=0.05)
    config.train = dict(steps=800, log_every=20, evaluate_every=400)
    config.optimizer.groups = (
        dict(optimizer="adamw", learning_rate=2e-3, b2=0.98, weight_decay=0.05, warmup=100),
    )
    config.ema = 0.998
    config.validation = {name: asked("validation", name, 160) for name in WATCHED}
    config.test = {
        name: asked("test", name, 620, baseline=dict(name="sound_probe", label=name, rows=1000))
        for name in CLASSES
    }
    config.checkpoint.metric = "validation/rhythm/accuracy/top1"
    config.checkpoint.every = 400
    config.execution.threads = 1
    return config
