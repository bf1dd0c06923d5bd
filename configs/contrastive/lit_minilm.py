"""LiT (https://arxiv.org/abs/2111.07991) on emoji: a locked MiniLM reads, a new image tower learns.

    python -m mmjax.main --config=configs/contrastive/lit_minilm.py --workdir=runs/lit_minilm

The text tower is all-MiniLM-L6-v2, fetched once (84 MB); its tokenizer is the bundled "bert". It
and its 22.6 million parameters stay as they are and are in no checkpoint; a linear map behind it is
trained. What it is for: things that were never drawn in training (test/unseen_concept), a third of
whose words clip_emoji.py, which has read nothing but captions of emoji, does not know.

`:clipart` adds Open Clip Art (a fifth of the batch, 1,200 steps; `--mode=prepare
--set=openclipart`), whose captions hold words enough to learn some of them: beside MiniLM stands a
bag of trained token vectors (mmjax/models/bagged.py). In training each caption is read by one of
the two, in evaluation by both, so that neither leans on the other. `:scratch` and
`:clipart,scratch` are the same runs with the text tower of recipes/small_pairs.py, which
clip_emoji.py has too, to compare with:

    C=configs/contrastive/lit_minilm.py
    for s in 0 1 2; do
      python -m mmjax.main --config=$C:clipart,seed=$s --workdir=runs/lit$s
      python -m mmjax.main --config=$C:clipart,scratch,seed=$s --workdir=runs/scratch$s
    done
    python -m mmjax.main --mode=compare --workdir=runs/lit0,runs/lit1,runs/lit2 \\
        --against=runs/scratch0,runs/scratch1,runs/scratch2 --split=test

Test, unseen things, means of three seeds, and the paired difference from scratch with its 95%
interval:

                        emoji alone                         with clip art
    R@5                 0.432  +0.058 [+0.004, +0.112]      0.473  +0.060 [+0.009, +0.114]
      text to image     0.440  +0.046 [-0.011, +0.103]      0.485  +0.049 [-0.003, +0.101]
    R@10                0.529  +0.053 [-0.005, +0.114]      0.608  +0.104 [+0.046, +0.161]
    classes by name     0.422  +0.089 [+0.024, +0.153]      0.482  +0.144 [+0.095, +0.195]

The unseen style of seen things loses: R@1 0.503 and 0.557, from scratch 0.654 and 0.651.
`:clipart,stamps` adds Tux Paint's stamps. Clip art without the bag (`:clipart,without_bag`): R@5
0.431, +0.018 [-0.039, +0.074], and classes 0.455. The figures with clip art are of runs whose bag
was a part of clip.py: as a tower of its own it draws other coins and another first projection, so
that a seed gives another run. Tried without a gain on validation beyond noise: no words left out,
no projection of MiniLM's vectors with a higher scale, its word vectors beside its sentences,
trained vectors that are always added to its own. 8 minutes on 2 CPU cores, where clip_emoji.py
takes 5.
"""

from mmjax.config import relative

SMALL_PAIRS = relative(__file__, "../recipes/small_pairs.py")
MINILM = dict(
    name="bert",
    transformer=dict(
        width=384, layers=6, heads=12, hidden=1536, norm="post", norm_epsilon=1e-12,
        initialisation="bert", dtype="bfloat16", unroll=6,
    ),
    pool="mean",
    context_length=512,  # rows of its table of positions
)  # fmt: skip
CLIPART = {
    "data.train.emoji": dict(name="emoji", split="train", weight=0.8),
    "data.train.clipart": dict(name="openclipart", split="train", weight=0.2),
    "train.steps": 1200,  # as many on emoji
    "model.text": dict(name="bagged", width=192, tower=MINILM),
    "model.text_projection": False,  # the tower has its own
    "model.embedding": 384,
    "warm_start": {"text": "", "text/tower": "minilm"},
    "optimizer.groups.0.match": "text/tower/.*",
}
SMALL = dict(width=64, heads=2, hidden=128, layers=1, unroll=1)

VARIANTS = {
    "clipart": CLIPART,
    "without_bag": {
        "model.text": MINILM,
        "model.text_projection": True,
        "model.embedding": 192,
        "warm_start": {"text": "minilm", "text/tower": ""},
        "optimizer.groups.0.match": "text/.*",
    },
    # Tux Paint's stamps as well: `:clipart,stamps`
    "stamps": {"data.train.stamps": dict(name="tuxpaint", split="train", weight=0.1)},
    # the recipe's text tower, trained like all else
    "scratch": {
        "warm_start": "",
        "model.text": dict(name="text", **SMALL_PAIRS.model.text),
        "model.text_projection": True,
        "model.embedding": 192,
        "data.processor": dict(
            tokenizer="words", start="<start>", end="<end>", pad="<pad>", max_length=24, pad_to=24
        ),
        "optimizer.groups": tuple(SMALL_PAIRS.optimizer.groups),
        "checkpoint.trained_only": False,
    },
    "smoke": {
        "train": dict(steps=20, evaluate_every=10, log_every=1),
        "data.batch_size": 64,
        "optimizer.groups.1.warmup": 5,
        "optimizer.groups.2.warmup": 5,
        "model.image.transformer": SMALL,
        "model.text.transformer": SMALL,
        "warm_start": "",  # random words: no weights are fetched
    },
}


def get_config():
    config = relative(__file__, "../recipes/small_pairs.py")
    config.update(relative(__file__, "../recipes/emoji.py"))
    # 18: the most that a caption of a training drawing has
    config.data.processor.update(
        tokenizer="bert", start="[CLS]", end="[SEP]", pad="[PAD]", max_length=18, pad_to=18
    )
    config.model.text = MINILM
    config.warm_start = {"text": "minilm"}
    config.optimizer.groups = (
        dict(match="text/.*", optimizer="frozen"),
        *config.optimizer.groups,
    )
    config.checkpoint.trained_only = True
    config.checkpoint.metric = "validation/unseen_concept/image_to_text/r5"
    return config
