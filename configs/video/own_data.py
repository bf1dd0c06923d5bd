"""A classifier of your own videos: a folder for each class, or a JSONL or CSV manifest.

    python -m mmjax.main --config=configs/video/own_data.py --workdir=runs/own_videos \\
        --config.data.train.own.path=clips
    python -m mmjax.main --config=configs/video/own_data.py:manifest --workdir=runs/own_videos \\
        --config.data.train.own.path=clips/list.csv
    python -m mmjax.main --mode=evaluate --workdir=runs/own_videos --split=test

A folder has a folder of files for each class (clips/jumps/1.mp4, clips/runs/2.webm): MP4, WebM,
MKV, AVI, GIF or animated WebP. A manifest has columns video (path beside it) and label (the class);
`:manifest,parts` cuts files by its columns start and end, in seconds. Rows are split 80 / 10 / 10
by a hash of their file, so adding rows moves none. Look first: add `--mode=inspect`.
Files that are cut short, hold sound alone or no frame are named in corrupt.jsonl and left out.

16 frames at even places of each clip, 64 pixels, a small ViViT from nothing: enough for some
hundred clips of things that move differently. `:clip` begins with the image tower of CLIP
(600 MB from the hub) at 224 pixels on 8 frames, which knows what is seen; a GPU helps there. Then

    import mmjax
    mmjax.restore("runs/own_videos").classify("new.mp4", field="video").best

Without a path it runs on 48 clips of a spot that lie beside it, to show the form.
"""

from pathlib import Path

from mmjax.config import relative

EXAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "own_data" / "clips"
LISTED = dict(name="manifest", path="clips/list.csv", split="train", image="", text="")
VARIANTS = {
    "manifest": {"data.train.own": dict(LISTED, columns=dict(video=dict()))},
    "parts": {"data.train.own.columns": dict(start=dict(), end=dict())},
    "clip": {
        "data.processor.image_size": 224,
        "data.processor.frames": dict(frames=8, decoded_side=256),
        "data.batch_size": 16,
        "model.video": dict(name="frame_tower", variant="B/32"),
        "warm_start": {"video/image": "openai/clip-vit-base-patch32#image"},
        "optimizer.groups": (
            dict(match="video/image/.*", learning_rate=1e-5, weight_decay=0.05, warmup=50),
            dict(learning_rate=5e-4, weight_decay=0.05, warmup=50),
        ),
    },
    "smoke": {
        "train": dict(steps=4, evaluate_every=2, log_every=1),
        "data.batch_size": 8,
        "data.processor.image_size": 32,
        "optimizer.groups.0.warmup": 2,
        "model.video.transformer": dict(width=32, layers=1, heads=2, hidden=64),
    },
}


def held_out(split: str) -> dict:
    """The classes of a split of the same data."""
    return dict(
        own=dict(
            source=dict(name="@own", split=split),
            evaluator=dict(name="classification"),
            baseline=dict(name="majority"),
            batch_size=32,
        )
    )


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(
            own=dict(
                name="folder", path=str(EXAMPLE), split="train", media="video", layout="classes"
            )
        ),
        processor=dict(
            name="video",
            image_size=64,
            frames=dict(frames=16, decoded_side=80, outside="black"),
            augmentation=dict(
                zoom=(0.8, 1.2), stretch=(0.9, 1.1), degrees=5.0, translate=0.06, brightness=0.2,
                contrast=0.2, saturation=0.3,
            ),
            classes=True,
        ),
        batch_size=16,
    )  # fmt: skip
    config.model = dict(
        name="video_classifier",
        video=dict(
            name="video_vit", patch_size=16, tubelet=2, pool="mean", norm="pooled",
            stem=(dict(width=64, stride=4),),
            transformer=dict(width=128, layers=4, heads=2, hidden=512, dropout=0.1),
        ),
    )  # fmt: skip
    config.task = dict(name="classification", input="video", smoothing=0.05)
    config.train = dict(steps=600, log_every=20, evaluate_every=100)
    config.optimizer.groups = (
        dict(optimizer="adamw", learning_rate=1e-3, b2=0.98, weight_decay=0.05, warmup=50),
    )
    config.ema = 0.99
    config.checkpoint.metric = "validation/own/accuracy/top1"
    config.validation = held_out("validation")
    config.test = held_out("test")
    return config
