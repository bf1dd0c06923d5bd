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

`:clipart` adds Open Clip Art (a fifth of the batch, 1,200 steps; `--mode=prepare
--set=openclipart`); `:scratch` and `:clipart,scratch` are the same runs with clip_emoji.py's text
tower, to compare with. With clip art, seed 0, unseen things, and the paired difference from scratch
with its 95% interval:

    R@5      0.436  +0.026 [-0.041, +0.092]      text to image 0.432  +0.008 [-0.054, +0.073]
    R@10     0.559  +0.073 [+0.008, +0.135]      text to image 0.592  +0.097 [+0.030, +0.165]
    classes  0.478  +0.151 [+0.100, +0.203]      median rank   8      (11)
"""

from mmjax.config import relative

SCRATCH = tuple(relative(__file__, "clip_emoji.py").optimizer.groups)
CLIPART = {
    "data.train.emoji": dict(name="emoji", split="train", weight=0.8),
    "data.train.clipart": dict(name="openclipart", split="train", weight=0.2),
    "train.steps": 1200,  # as many on emoji
}
MINILM = dict(
    width=384, layers=6, heads=12, hidden=1536, norm="post", norm_epsilon=1e-12,
    initialisation="bert", dtype="bfloat16", unroll=6,
)  # fmt: skip
SMALL = dict(width=64, heads=2, hidden=128, layers=1, unroll=1)

VARIANTS = {
    "clipart": CLIPART,
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
