"""Two small towers for some hundred to some thousand sounds and texts, from nothing on a CPU.

    config = relative(__file__, "../recipes/small_sounds.py")

Not a run by itself: it names no data and asks no split.

* 4 seconds of a sound at most: in training a stretch at random, in evaluation the middle; patches
  of 160 ms in a spectrogram transformer, of which the mean is taken.
* Texts are bags of the whole words that training holds, any of which may be missing.
* Few sounds are heard hundreds of times: faster and slower, louder and quieter, with noise, with
  stripes of the spectrogram left out.
"""

from mmjax.config import relative

BLOCK = dict(width=128, heads=2, hidden=512)


def get_config():
    config = relative(__file__, "../recipes/small_pairs.py")
    config.data.batch_size = 48
    config.data.processor = dict(
        name="audio_text",
        audio=dict(
            kind="mel",
            bins=64,
            longest=4.0,
            shortest=0.0,
            long="cut",
            alike=0,
            buckets=(1.0, 2.0, 4.0),
            augmentation=dict(
                speed=(0.9, 1.12), gain=(-9.0, 3.0), noise=(15.0, 40.0), frequency_masks=1,
                frequency_width=10, time_masks=1, time_width=30,
            ),
        ),
        max_length=24,
        pad_to=24,
        tokenizer="words",
        vocab_size=4000,
        drop_words=0.3,
    )  # fmt: skip
    config.task = dict(name="contrastive", loss="softmax")
    config.model = dict(
        name="clap",
        audio=dict(
            name="ast",
            bins=64,
            frames=402,
            patch_size=16,
            frame_stride=16,
            bin_stride=16,
            pool="mean",
            transformer=dict(layers=3, unroll=3, dropout=0.1, **BLOCK),
        ),
        text=dict(name="text", pool="mean", causal=False, transformer=dict(layers=0, **BLOCK)),
        embedding=128,
        scale_init=10.0,
        scale_max=20.0,
    )
    config.train = dict(steps=300, log_every=10, evaluate_every=100)
    return config
