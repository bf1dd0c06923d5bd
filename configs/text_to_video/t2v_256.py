"""Clips of 16 x 256 x 256 pixels from sentences, in latents: the full-size recipe.

    python -m mmjax.main --config=configs/text_to_video/t2v_256.py --workdir=runs/t2v_256 \\
        --config.data.train.clips.path=DATA.jsonl
    python -m mmjax.main --config=configs/text_to_video/t2v_256.py --mode=plan --devices=64 \\
        --hardware=H100

After ModelScope's text-to-video (https://arxiv.org/abs/2308.06571): a U-Net of 1.4 billion
parameters over latents of 16 x 32 x 32, Stable Diffusion's autoencoder and the text tower of CLIP
H/14, both loaded and frozen. v-prediction with a terminal step of noise alone
(https://arxiv.org/abs/2305.08891), Min-SNR weights, a tenth of the texts dropped, averaged weights.
The manifest holds clips of a few seconds, "video" and "text". NOT run here at this size: what runs
here is `:smoke`, the same path in seconds with an autoencoder and a U-Net of a few channels on
moving digits, nothing of it loaded.
"""

from mmjax.config import relative

FROZEN = r"(text|autoencoder)/.*"
VARIANTS = {
    "smoke": {
        "train": dict(steps=4, evaluate_every=4, log_every=1),
        "data.train.clips": dict(
            name="moving_digits", split="train", rows=32, frames=12, side=24, most=1
        ),
        "data.batch_size": 8,
        "data.processor": dict(
            image_size=24, frames=dict(frames=4, pick="parts"), max_length=20, pad_to=20
        ),
        "model": dict(
            name="text_diffusion",
            text=dict(transformer=dict(width=16, layers=1, heads=2, hidden=32)),
            denoiser=dict(
                channels=4, text_width=16, widths=(8,), attention=(True,), layers=1, head_size=4,
                groups=4, frames=4, dtype="bfloat16",
            ),
            autoencoder=dict(widths=(4, 8), layers=1, groups=4, attention=False),
            nothing="empty",
        ),
        "warm_start": "",
        "optimizer.groups.1": dict(learning_rate=1e-3, warmup=0),
        "optimizer.accumulate": 2,
        "execution.mesh.fsdp": 1,
        "task.sampler.steps": 2,
        "validation.clips.source": dict(
            name="moving_digits", split="validation", rows=8, frames=12, side=24, most=1
        ),
    },
}  # fmt: skip


def get_config():
    config = relative(__file__, "../base.py")
    config.data = dict(
        train=dict(clips=dict(name="manifest", path="data/clips.jsonl", split="train")),
        processor=dict(
            name="illustrated",
            tokenizer="clip",
            max_length=77,
            pad_to=77,
            image_size=256,
            frames=dict(frames=16, pick="pace", rate=8.0, decoded_side=288),
            augmentation=dict(crop=(0.8, 1.0)),
        ),
        batch_size=512,
    )
    config.model = dict(
        name="text_diffusion",
        variant="latent",
        denoiser=dict(dtype="bfloat16", stream="bfloat16", remat="full"),
        autoencoder=dict(dtype="bfloat16"),
        text=dict(transformer=dict(dtype="bfloat16")),
    )
    config.warm_start = {
        "text": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K#text",
        "autoencoder": "stabilityai/sd-vae-ft-mse",
    }
    config.task = dict(
        name="diffusion",
        schedule=dict(
            kind="scaled_linear", beta_start=0.00085, beta_end=0.012, zero_terminal=True
        ),
        sampling=dict(target="v", guidance=7.5, rescale=0.7),
        sampler=dict(name="ddim", steps=50),
        min_snr=5.0,
        drop=0.1,
    )  # fmt: skip
    config.train = dict(steps=200_000, log_every=50, evaluate_every=5000)
    config.optimizer.groups = (
        dict(match=FROZEN, optimizer="frozen"),
        dict(optimizer="adamw", learning_rate=5e-5, warmup=1000, weight_decay=0.01, b2=0.999),
    )
    config.optimizer.accumulate = 8  # a clip of each of 64 devices at a time
    config.execution.mesh = dict(fsdp=8)
    config.ema = 0.9999
    config.checkpoint = dict(every=1000, latest=2, keep_every=20_000, trained_only=True)
    config.validation = dict(
        clips=dict(
            source=dict(name="@clips", split="validation"),
            evaluator=dict(name="denoising", rows=512),
            batch_size=64,
        )
    )
    return config
