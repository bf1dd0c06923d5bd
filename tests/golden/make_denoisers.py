"""Makes tests/golden/denoisers: tiny random checkpoints of `diffusers`, and what they say.

    python tests/golden/make_denoisers.py      # needs torch and diffusers
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import denoiser_reference as reference  # noqa: E402


def main():
    unet = reference.build("UNet3DConditionModel", **reference.UNET)
    folder = HERE / "denoisers" / "unet3d"
    unet.save_pretrained(folder)
    samples = reference.clips(3, 2, 6)
    times, states = reference.told()
    said = reference.said_of_clips(unet, samples, times, states)
    np.savez_compressed(
        folder / "outputs.npz", samples=samples, times=times, states=states, said=said
    )

    autoencoder = reference.build("AutoencoderKL", **reference.AUTOENCODER)
    folder = HERE / "denoisers" / "autoencoder_kl"
    autoencoder.save_pretrained(folder)
    images = reference.clips(1, 6, 10)[:, 0]
    latents = reference.clips(1, 3, 5)[:, 0]
    said = reference.said_of_pictures(autoencoder, images, latents)
    np.savez_compressed(folder / "outputs.npz", images=images, latents=latents, **said)


if __name__ == "__main__":
    main()
