"""AST on AudioSet as it was published: the full-size recipe.

    python -m mmjax.main --config=configs/audio/ast_audioset.py --workdir=runs/ast_audioset \\
        --config.data.train.clips.path=DATA.jsonl

Paper: https://arxiv.org/abs/2104.01778. Windows of 10.24 seconds at 16 kHz, 128 mel bins, patches
of 16 x 16 every 10; batch 12, 5 passes over the 2 million clips, Adam at 1e-5 with warm-up, halved
after each pass from the second on (here: a cosine), no weight decay to speak of; half of the rows
mixed with another, one mask of 48 bins and one of 192 frames, binary cross-entropy over 527
classes, weights averaged. The paper has 0.459 mAP (one model, averaged weights).

A row of the data has `audio` and `labels`, the numbers of its classes as in AudioSet's
class_labels_indices.csv. Three things differ: rows are mixed in power, not sample by sample, after
the masks; clips are not drawn by how rare their classes are; and of a vision transformer's weights
only the blocks begin as ImageNet's (`--config.warm_start` with "audio/transformer" and
"FOLDER#transformer"), the patches and their places as drawn. NOT run here at this size: what runs
here is `:smoke` (the same path with a tiny tower on the bundled sounds, named by their words).
"""

from mmjax.config import relative

BATCH = 12
CLIPS = 2_000_000  # of the full training set, as the paper counts
NEPERS = 2 * 4.5689974  # that a value of a frame is, behind AST's normalisation
KINDS = (
    "ambience", "bass", "drum", "cymbal", "electronic", "tabla", "vinyl", "loop", "guitar", "bell",
)  # fmt: skip

SMOKE = dict(name="sounds")
VARIANTS = {
    "smoke": {
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.batch_size": 8,
        "data.train.clips": dict(split="train", **SMOKE),
        "data.processor": dict(
            classes=len(KINDS), names=KINDS, field="text", bins=64, frames=256,
            augmentation=dict(frequency_width=16, time_width=48),
        ),
        "optimizer.groups.0.warmup": 2,
        "model.audio": dict(
            frame_stride=16, bin_stride=16,
            transformer=dict(layers=1, width=32, heads=2, hidden=64, dtype="float32", remat="none"),
        ),
        "validation.clips.source": dict(split="all", **SMOKE),
        "test.clips.source": dict(split="all", **SMOKE),
    },
}  # fmt: skip


def get_config():
    config = relative(__file__, "../base.py")
    manifest = dict(name="manifest", columns=dict(audio=dict(), labels=dict(kind="ints")))
    config.data = dict(
        train=dict(clips=dict(path="data/audioset.jsonl", split="train", **manifest)),
        processor=dict(
            name="tagged",
            augmentation=dict(
                frequency_masks=1, frequency_width=48, time_masks=1, time_width=192, time_share=1.0
            ),
        ),
        batch_size=BATCH,
    )
    config.task = dict(
        name="classification", input="audio", several=("label",), mixup=dict(nepers=NEPERS)
    )
    config.model = dict(
        name="audio_classifier",
        audio=dict(name="ast", variant="B", transformer=dict(dtype="bfloat16", remat="dots")),
    )
    config.optimizer.groups = (
        dict(optimizer="adamw", learning_rate=1e-5, b1=0.95, b2=0.999, warmup=1_000),
    )
    config.train = dict(steps=5 * CLIPS // BATCH, log_every=100, evaluate_every=20_000)
    config.ema = 0.9999
    for when in ("validation", "test"):
        config[when] = dict(
            clips=dict(
                source=dict(name="@clips", split=when),
                evaluator=dict(name="average_precision"),
                batch_size=64,
            )
        )
    config.checkpoint = dict(every=20_000, latest=2, best=1)
    config.checkpoint.metric = "validation/clips/map"
    return config
