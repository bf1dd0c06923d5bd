"""ViViT-B/16x2 on Kinetics-400, as its authors trained it: the full-size recipe.

    python -m mmjax.main --config=configs/video/vivit_k400.py --workdir=runs/vivit_k400 \\
        --config.data.train.k400.path=k400/train.csv

Paper: https://arxiv.org/abs/2103.15691; the numbers are those of the authors' config. 32 frames of
224 pixels, every other frame of 25 a second, 3,137 tokens; batch 64, 30 passes over 214,834 clips,
momentum SGD at 0.1 with 2.5 passes of warm-up, gradients clipped at 1. Reported: 79.9% top-1, 4
clips x 3 crops (`test` here does the same). Theirs begins from a ViT of ImageNet-21k inflated in
time; the warm start here takes such a ViT's blocks, and the tubelets begin as they are drawn.

The manifest has columns video and label. NOT run here at this size: what runs here is `:smoke`
(seconds, moving digits). `--mode=plan --devices=64` says what a step needs, of `:divided`
(TimeSformer's attention in the same tower) too: experiments/video/README.md.
"""

from mmjax.config import relative, variants

CLIPS = 214_834
BATCH = 64
PASS = CLIPS // BATCH  # steps
VARIANTS = {
    "divided": {
        "model.video": dict(attention="divided", positions="space_time", tubelet=1),
    },
    **variants(__file__, "../recipes/kinetics.py"),
}  # fmt: skip
VARIANTS["smoke"] = {**VARIANTS["smoke"], "optimizer.groups.0.warmup": 1}


def get_config():
    config = relative(__file__, "../recipes/kinetics.py")
    config.data.batch_size = BATCH
    config.data.processor.frames = dict(
        frames=32, pick="pace", rate=12.5, decoded_side=256, clips=4, crops=3
    )
    config.data.processor.augmentation = dict(
        crop=(0.5, 1.0), flip=0.5, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.2
    )
    body = dict(dtype="bfloat16", stream="bfloat16", remat="dots")
    config.model = dict(
        name="video_classifier",
        video=dict(name="video_vit", variant="ViViT-B/16x2", transformer=body),
        classes=400,
    )
    config.warm_start = {"video/transformer": "google/vit-base-patch16-224-in21k#image/transformer"}
    config.task = dict(name="classification", input="video")
    config.train = dict(steps=30 * PASS, log_every=50, evaluate_every=PASS)
    config.optimizer.groups = (
        dict(optimizer="sgd", learning_rate=0.1, b1=0.9, warmup=int(2.5 * PASS)),
    )
    return config
