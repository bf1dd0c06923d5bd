"""What takes the noise out of moving digits, 24 x 24 pixels: sentences, a text tower, a U-Net.

    config = relative(__file__, "../recipes/digit_denoiser.py")

Not a run by itself: it names no data. t2i_digits.py trains it on single frames, t2v_digits.py on
clips; 6 x 6 pixels of a frame are one place of the U-Net, whose places attend to all frames at
once.

Frames of a clip show the same digit again and again, and so show it through more noise than one
picture would: with `shift` more of the times are such. The model says the clean sample: noise fills
all 36 numbers of a place, a digit few of them (https://arxiv.org/abs/2511.13720).
"""

from mmjax.config import relative


def get_config():
    config = relative(__file__, "../base.py")
    config.data.processor = dict(
        name="illustrated", tokenizer="words", image_size=24, frames=dict(frames=12), grey=True,
        max_length=14, pad_to=14,
    )  # fmt: skip
    config.model = dict(
        name="text_diffusion",
        text=dict(transformer=dict(width=64, layers=1, heads=2, hidden=128), causal=False),
        denoiser=dict(
            channels=36, text_width=64, widths=(64, 128), attention=(True, True), layers=1,
            head_size=64, groups=8, time="joint", film=True, frames=12, size=(4,),
        ),
        fold=6,
    )  # fmt: skip
    config.task = dict(
        name="diffusion",
        schedule=dict(kind="cosine", zero_terminal=True, shift=3.0),
        sampling=dict(target="clean", guidance=4.0),
        sampler=dict(name="ddim", steps=20),
        drop=0.1,
    )
    config.optimizer.groups = (
        dict(optimizer="muon", learning_rate=0.02, adam_learning_rate=2e-3, warmup=50),
    )
    config.ema = 0.99
    return config
