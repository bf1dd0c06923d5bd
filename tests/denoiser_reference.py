"""U-Nets of clips and autoencoders of `diffusers` with random weights, and what they say: for
golden files and the live comparison. What makes inputs is numpy alone; the rest needs torch."""

import numpy as np

ROWS, LENGTH = 2, 5
# Odd on purpose: levels of different widths, heads of a size that is no power of two.
UNET = dict(
    sample_size=None, in_channels=3, out_channels=3, block_out_channels=[6, 12],
    down_block_types=["CrossAttnDownBlock3D", "DownBlock3D"],
    up_block_types=["UpBlock3D", "CrossAttnUpBlock3D"], layers_per_block=1, norm_num_groups=3,
    cross_attention_dim=7, attention_head_dim=3, mid_block_scale_factor=1.5, norm_eps=1e-4,
)  # fmt: skip
AUTOENCODER = dict(
    block_out_channels=[8, 12], down_block_types=["DownEncoderBlock2D"] * 2,
    up_block_types=["UpDecoderBlock2D"] * 2, layers_per_block=1, norm_num_groups=4,
    latent_channels=3, sample_size=[12, 20], shift_factor=0.2, scaling_factor=0.7,
)  # fmt: skip


def clips(frames, height, width, channels=3):
    """Samples [B, T, H, W, C]."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(ROWS, frames, height, width, channels)).astype(np.float32)


def told(width=7):
    """Times [B], states of a text [B, L, D]."""
    rng = np.random.default_rng(2)
    return np.array([3, 741], np.int32), rng.normal(size=(ROWS, LENGTH, width)).astype(np.float32)


def build(name, **fields):
    """A class of `diffusers` whose weights leave no part without influence."""
    import diffusers
    import torch

    model = getattr(diffusers, name)(**fields)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=random)
            if parameter.ndim > 1:
                drawn *= 0.7 * parameter[0].numel() ** -0.5
            else:
                drawn = 0.2 * drawn + ("norm" in name and name.endswith("weight"))
            parameter.copy_(drawn)
    return model.eval()


def _first(x):
    import torch

    return torch.tensor(x).movedim(-1, 1)


def _last(x):
    return x.movedim(1, -1).numpy()


def said_of_clips(model, samples, times, states):
    """By a U-Net, [B, T, H, W, C]."""
    import torch

    with torch.no_grad():
        out = model(_first(samples), torch.tensor(times), torch.tensor(states)).sample
    return _last(out)


def said_of_pictures(model, images, latents):
    """By an autoencoder: mean and log_variance of the images, divergence, pictures of the
    latents."""
    import torch

    with torch.no_grad():
        posterior = model.encode(_first(images)).latent_dist
        decoded = model.decode(_first(latents)).sample
    return {
        "mean": _last(posterior.mean),
        "log_variance": _last(posterior.logvar),
        "divergence": posterior.kl().numpy(),
        "decoded": _last(decoded),
    }
