"""VideoMAE ViT-B on Kinetics-400 in its two stages, as its authors trained it: full size.

    python -m mmjax.main --config=configs/video/videomae_k400.py --workdir=runs/videomae_k400 \\
        --config.data.train.k400.path=k400/train.csv
    python -m mmjax.main --config=configs/video/videomae_k400.py:finetune \\
        --workdir=runs/videomae_k400_finetuned --config.data.train.k400.path=k400/train.csv

Paper: https://arxiv.org/abs/2203.12602; the numbers are those of the authors' scripts for 64 GPUs.

* Pre-training: 16 frames of 224 pixels, every fourth of 25 a second; 90% of the tubes hidden,
  pixels normalised per tubelet; batch 2,048, 1,600 passes over some 240,000 clips with 40 of
  warm-up, AdamW at 1.5e-4 per 256 clips, b2 0.95, weight decay 0.05.
* `:finetune`: batch 768 (384 clips, two parts of each), 75 passes with 5 of warm-up, AdamW at 5e-4
  per 256, weight decay 0.05; 5 clips x 3 crops in `test`. Reported: 80.9% top-1 (authors' list).
* Not here, and in theirs: a learning rate that falls with depth (0.75 a layer), stochastic depth,
  mixup and cutmix, RandAugment. The figure is therefore theirs, not what this reaches.

NOT run here at this size: what runs here is `:smoke` and `:finetune_smoke` (seconds, moving
digits). `--mode=plan --devices=64` says what a step needs: experiments/video/README.md.
"""

from mmjax.config import relative, variants

CLIPS = 240_000  # about
BATCH = 2_048
PASS = CLIPS // BATCH  # steps
FINETUNE_BATCH = 768
FINETUNE_PASS = CLIPS * 2 // FINETUNE_BATCH  # two parts of each clip
FIRST_STAGE = "runs/videomae_k400"
MIXED = dict(dtype="bfloat16", stream="bfloat16", remat="dots")
SMOKE = variants(__file__, "../recipes/kinetics.py")["smoke"]
VARIANTS = {
    "finetune": {
        "data.batch_size": FINETUNE_BATCH,
        "data.processor.frames": dict(clips=5, crops=3),
        "data.processor.augmentation": dict(crop=(0.08, 1.0), flip=0.5),
        "model": dict(
            name="video_classifier",
            video=dict(name="video_vit", variant="VideoMAE-B", transformer=MIXED),
            classes=400,
        ),
        "task": dict(name="classification", input="video"),
        "warm_start": dict(video=f"{FIRST_STAGE}#video"),
        "train": dict(steps=75 * FINETUNE_PASS, evaluate_every=FINETUNE_PASS),
        "optimizer.groups": (
            dict(
                optimizer="adamw", learning_rate=5e-4 * FINETUNE_BATCH / 256, b2=0.999,
                weight_decay=0.05, warmup=5 * FINETUNE_PASS,
            ),
        ),
        "validation.clips.evaluator": dict(name="classification", rows=2000, keep=4),
        "test.clips.evaluator": dict(name="classification", keep=4),
        "checkpoint.metric": "validation/clips/accuracy/top1",
    },
    "smoke": {
        **{name: value for name, value in SMOKE.items() if name != "model.classes"},
        "data.processor.frames": dict(frames=8, pick="pace", rate=1.0, decoded_side=0),
        "model.decoder": SMOKE["model.video.transformer"],
        "optimizer.groups.0.warmup": 1,
    },
}  # fmt: skip
VARIANTS["finetune_smoke"] = {
    **VARIANTS["finetune"],
    **SMOKE,
    "data.processor.frames": dict(frames=8, pick="pace", rate=1.0, decoded_side=0, clips=2),
    "optimizer.groups.0.warmup": 1,
}


def get_config():
    config = relative(__file__, "../recipes/kinetics.py")
    config.data.batch_size = BATCH
    config.data.processor.frames = dict(frames=16, pick="pace", rate=6.25, decoded_side=256)
    config.data.processor.normalisation = "imagenet"
    config.data.processor.augmentation = dict(crop=(0.5, 1.0), flip=0.5)
    config.model = dict(
        name="video_mae", variant="B", video=dict(transformer=MIXED), decoder=MIXED
    )
    config.task = dict(name="masked_video", masking="tubes", hidden=0.9)
    config.train = dict(steps=1600 * PASS, log_every=50, evaluate_every=20 * PASS)
    config.optimizer.groups = (
        dict(
            optimizer="adamw", learning_rate=1.5e-4 * BATCH / 256, b2=0.95, weight_decay=0.05,
            warmup=40 * PASS,
        ),
    )  # fmt: skip
    for split in (config.validation, config.test):
        split.clips.evaluator = dict(name="reconstruction", rows=2000, keep=4)
    config.checkpoint.metric = "validation/clips/below_mean"
    return config
