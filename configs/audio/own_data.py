"""CLAP on your own sounds and texts: a JSONL or CSV manifest, or a folder.

    python -m mmjax.main --config=configs/audio/own_data.py --workdir=runs/own_sounds \\
        --config.data.train.own.path=clips/list.csv
    python -m mmjax.main --config=configs/audio/own_data.py:folder --workdir=runs/own_sounds \\
        --config.data.train.own.path=clips
    python -m mmjax.main --mode=embed --model=runs/own_sounds --kind=sounds --data=clips \\
        --out=clips.npy
    python -m mmjax.main --mode=search --query="a dog barks" --index=clips.npy --out=hits.html

A manifest has columns audio (path beside it) and text (one caption or, in JSONL, a list); a folder
has a .txt beside every sound, or one folder per class. Rows are split 80 / 10 / 10 by a hash of
their group, so adding rows moves none. Look first: add `--mode=inspect`.

Without a path it runs on 40 short sounds that lie beside it, to show the form; they are too few to
learn from. What fits a clip best of class names that you write down:

    import mmjax
    clap = mmjax.restore("runs/own_sounds")
    clap.classify("clip.wav", ["dog", "bell"], ["the sound of a {}"], field="audio").best
"""

from pathlib import Path

from mmjax.config import relative

EXAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "own_data" / "tones.csv"
SMALL = dict(width=64, heads=2, hidden=128)
VARIANTS = {
    "folder": {
        "data.train.own": dict(
            name="folder", path="clips", split="train", templates=("the sound of a {}",)
        )
    },
    "smoke": {
        "train": dict(steps=10, evaluate_every=5, log_every=1),
        "optimizer.groups.0.warmup": 5,
        "optimizer.groups.1.warmup": 5,
        "model.audio.transformer": dict(layers=1, **SMALL),
        "model.text.transformer": SMALL,
    },
}


def held_out(split: str) -> dict:
    """Retrieval on a split of the same data, beside the nearest mean spectrum."""
    retrieval = dict(name="retrieval", queries="audio")
    source = dict(name="@own", split=split)
    return dict(
        pairs=dict(source=source, evaluator=retrieval, baseline=dict(name="mean_spectrum"))
    )


def get_config():
    config = relative(__file__, "../recipes/small_sounds.py")
    config.data.train = dict(
        own=dict(
            name="manifest", path=str(EXAMPLE), split="train", image="",
            columns=dict(audio=dict()),
        ),
    )  # fmt: skip
    config.data.batch_size = 24
    config.checkpoint.metric = "validation/pairs/audio_to_text/r1"
    config.validation = held_out("validation")
    config.test = held_out("test")
    return config
