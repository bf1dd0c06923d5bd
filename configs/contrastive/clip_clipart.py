"""CLIP on drawings of many hands: emoji in three styles, clip art and icons, mixed by weight.

    python -m mmjax.main --mode=prepare --set=openmoji,openclipart,tabler,tuxpaint
    python -m mmjax.main --config=configs/contrastive/clip_clipart.py --workdir=runs/clip_clipart

The test is a transfer: Tux Paint's stamps, mostly cut-out photographs, each with a caption of its
own, of which training has seen none. `:emoji_only` is the same run on the emoji alone. They took
20 minutes on 2 CPU cores that had other work too, and 5. Seed 0, test: image to text, R@5 0.059
among 774 (emoji alone 0.043, chance 0.006); more in experiments/clipart/README.md.
"""

from mmjax.config import relative, variants

ALONE = {"data.train.clipart.weight": 0.0, "data.train.icons.weight": 0.0}
VARIANTS = {
    "emoji_only": ALONE,
    "smoke": {
        **variants(__file__, "../recipes/small_pairs.py")["smoke"],
        **ALONE,  # what `prepare` has not fetched is left out
        "data.train.emoji": dict(name="emoji", split="train"),
        "validation.clipart.source": dict(name="emoji", split="validation/unseen_concept"),
        "test.stamps.source": dict(name="emoji", split="test/unseen_concept"),
    },
}


def get_config():
    config = relative(__file__, "../recipes/small_pairs.py:transformer")
    config.update(relative(__file__, "../recipes/emoji.py"))
    config.data.train = dict(
        emoji=dict(name="openmoji", beside=("noto", "fluent"), weight=0.4),
        clipart=dict(name="openclipart", split="train", weight=0.4),
        icons=dict(name="tabler", split="train", weight=0.2),
    )
    retrieval = dict(name="retrieval")
    config.validation.unseen_style.baseline = None  # the bundled emoji are not trained on as such
    config.validation["clipart"] = dict(
        source=dict(name="openclipart", split="validation"), evaluator=retrieval
    )
    config.checkpoint.metric = "validation/unseen_style/image_to_text/r1"
    stamps = dict(name="tuxpaint", split="all", unique=True)
    config.test = dict(stamps=dict(source=stamps, evaluator=retrieval))
    return config
