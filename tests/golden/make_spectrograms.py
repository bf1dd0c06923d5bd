"""Makes tests/golden/spectrograms.npz: what the extractors of `transformers` give for AST and CLAP.

    python tests/golden/make_spectrograms.py        # needs transformers 5; without torchaudio

Every 25th frame of each; crops that the extractor draws at random are taken from the middle of
where they may lie, as mmjax's do without a generator.
"""

from pathlib import Path

import numpy as np
import transformers

FILE = Path(__file__).with_name("spectrograms.npz")
STEP = 25  # frames


def clip(seconds: float, rate: int) -> np.ndarray:
    """A tone that noise lies over in the first half; the same in tests/transforms."""
    rng = np.random.default_rng(round(seconds * 10))
    time = np.arange(round(seconds * rate)) / rate
    noise = 0.05 * rng.normal(size=len(time)) * (time < seconds / 2)
    return (0.3 * np.sin(2 * np.pi * 440 * time) + noise).astype(np.float32)


def main() -> None:
    """Writes the file."""
    np.random.choice = lambda among: among[len(among) // 2]
    np.random.randint = lambda low, high: (low + high) // 2
    out = {}
    ast = transformers.ASTFeatureExtractor()
    for seconds in (1.5, 11.0):
        found = ast(clip(seconds, 16_000), sampling_rate=16_000, return_tensors="np")
        out[f"ast_{seconds:g}"] = found["input_values"][0, ::STEP]
    for truncation in ("rand_trunc", "fusion"):
        # the published checkpoints' lowest frequency
        clap = transformers.ClapFeatureExtractor(truncation=truncation, frequency_min=50)
        for seconds in (3.2, 11.0):
            found = clap(clip(seconds, 48_000), sampling_rate=48_000, return_tensors="np")
            out[f"{truncation}_{seconds:g}"] = found["input_features"][0, :, ::STEP]
    kept = {name: value.astype(np.float32) for name, value in out.items()}
    np.savez_compressed(FILE, **kept)


if __name__ == "__main__":
    main()
