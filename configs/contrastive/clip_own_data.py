"""CLIP on your own images and captions: a JSONL or CSV manifest, or a folder.

    python -m mmjax.main --config=configs/contrastive/clip_own_data.py --workdir=runs/own \\
        --config.data.train.own.path=photos/list.jsonl
    python -m mmjax.main --config=configs/contrastive/clip_own_data.py --workdir=runs/own \\
        --config.data.train.own.name=folder --config.data.train.own.path=photos

A manifest has columns image (path beside it) and text (one caption or, in JSONL, a list); a folder
has a .txt beside every image, or one folder per class. Rows are split 80 / 10 / 10 by a hash of
their group, so adding rows moves none. Look first: add `--mode=inspect`.

Without a path it runs on 48 drawings that lie beside it, to show the form; they are too few to
learn from. Image size, model and steps below suit some thousand images on a laptop; for more, take
`model.variant="S/16"` with `data.processor.image_size=224` and a chip.
"""

from pathlib import Path

from mmjax.config import relative, variants

EXAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "own_data" / "pictures.jsonl"

SMALL_PAIRS = variants(__file__, "../recipes/small_pairs.py")
VARIANTS = {"smoke": {**SMALL_PAIRS["smoke"], "data.batch_size": 16}}


def held_out(split: str) -> dict:
    """Retrieval on a split of the same data."""
    source = dict(name="@own", split=split)
    return dict(pairs=dict(source=source, evaluator=dict(name="retrieval")))


def get_config():
    config = relative(__file__, "../recipes/small_pairs.py:transformer")
    config.data.train = dict(own=dict(name="manifest", path=str(EXAMPLE), split="train"))
    config.data.batch_size = 32
    config.data.processor.max_length = 48
    config.data.processor.pad_to = 0
    config.checkpoint.metric = "validation/pairs/image_to_text/r1"
    config.validation = held_out("validation")
    config.test = held_out("test")
    return config
