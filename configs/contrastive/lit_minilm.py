"""LiT (https://arxiv.org/abs/2111.07991) on emoji: a locked MiniLM reads, a new image tower learns.

    python -m mmjax.main --config=configs/contrastive/lit_minilm.py --workdir=runs/lit_minilm

The text tower is all-MiniLM-L6-v2, fetched once (84 MB); its tokenizer is the bundled "bert". It
and its 22.6 million parameters stay as they are and are in no checkpoint; a linear map behind it is
trained. What it is for: things that were never drawn in training (test/unseen_concept), a third of
whose words clip_emoji.py, which has read nothing but captions of emoji, does not know.

Test, unseen things, seeds 0 and 1, 900 steps as clip_emoji.py (in brackets): R@5 0.446 and 0.419
(0.379, 0.382); seed 0: R@10 0.524 (0.458), median rank 9.5 (13.5), classes by their names 0.416
(0.322). 8 minutes on 2 CPU cores, where clip_emoji.py takes 5. The unseen style of seen things
gains nothing: R@1 0.519 (0.643).

`:clipart` adds OpenMoji, clip art and icons, as clip_clipart.py has them, and tests the same
concepts; `:scratch` is the same run with clip_emoji.py's text tower, to compare with. With clip art
the locked tower names classes better, 0.503 (`:clipart,scratch` 0.416), and is not ahead in R@5,
0.335 (0.389), nor clearly in R@10, 0.511 (0.503).
"""

from mmjax.config import relative

SCRATCH = tuple(relative(__file__, "clip_emoji.py").optimizer.groups)
ICONS = {
    "data.train.emoji": dict(name="openmoji", beside=("noto", "fluent"), weight=0.4),
    "data.train.clipart": dict(name="openclipart", split="train", weight=0.4),
    "data.train.icons": dict(name="tabler", split="train", weight=0.2),
    # the bundled emoji are not trained on as such: there is nothing to compare thumbnails with
    "validation.unseen_style.baseline": None,
    "test.unseen_style.baseline": None,
}
MINILM = dict(
    width=384, layers=6, heads=12, hidden=1536, norm="post", norm_epsilon=1e-12,
    initialisation="bert", dtype="bfloat16", unroll=6,
)  # fmt: skip
SMALL = dict(width=64, heads=2, hidden=128, layers=1, unroll=1)

VARIANTS = {
    "clipart": ICONS,
    "scratch": {
        "warm_start": "",
        "model.bert": None,
        "data.processor": dict(
            tokenizer="words", start="<start>", end="<end>", pad="<pad>", max_length=24, pad_to=24
        ),
        "optimizer.groups": SCRATCH,
        "checkpoint.trained_only": False,
    },
    "smoke": {
        "train": dict(steps=20, evaluate_every=10, log_every=1),
        "data.batch_size": 64,
        "optimizer.groups.1.warmup": 5,
        "optimizer.groups.2.warmup": 5,
        "model.image.transformer": SMALL,
        "model.bert.transformer": SMALL,
        "warm_start": "",  # random words: no weights are fetched
    },
}


def get_config():
    config = relative(__file__, "clip_emoji.py")
    # 18: the most that a caption of a training drawing has
    config.data.processor.update(
        tokenizer="bert", start="[CLS]", end="[SEP]", pad="[PAD]", max_length=18, pad_to=18
    )
    config.model.bert = dict(transformer=MINILM, pool="mean")
    config.warm_start = {"text": "minilm"}
    config.optimizer.groups = (
        dict(match="text/.*", optimizer="frozen"),
        *config.optimizer.groups,
    )
    config.train.update(steps=900, evaluate_every=150)
    config.checkpoint.trained_only = True
    config.checkpoint.metric = "validation/unseen_concept/image_to_text/r5"
    return config
