"""Clips of one length become frames, in training with their keys shifted."""

import numpy as np

from mmjax.processors import melody
from mmjax.transforms.audio import Sound

CONFIG = melody.Config(
    seconds=0.5, octaves=2, transpose=2,
    labels=(melody.Label("key", tonal=4), melody.Label("metre")),
)  # fmt: skip


def test_clips_are_cut_or_filled_up():
    processor = melody.build(CONFIG, None, None)
    rng = np.random.default_rng(0)
    long = Sound(rng.normal(size=12_000).astype(np.float32), 16_000)
    short = Sound(long.samples[:4000], 16_000)
    batch = processor.encode([{"audio": long, "metre": 1}, {"audio": short, "metre": -1}])
    assert batch["audio"].shape == (2, 10, 24 + 16)
    assert batch["audio"][0, 9].any() and not batch["audio"][1, 9].any()
    assert batch["metre"].tolist() == [1, -1]
    assert processor.show(batch, 0)["audio"].shape == (24, 10, 3)
    assert processor.sizes == {"bins": 24, "bins_per_octave": 12, "onsets": 4}


def test_training_shifts_keys_and_evaluation_does_not():
    processor = melody.build(CONFIG, None, None)
    example = {**melody.paper(CONFIG), "key": 7}
    keys = set()
    for seed in range(30):
        made = example
        for transform in processor.train:
            made = transform(made, np.random.default_rng(seed))
        keys.add(made["key"])
        assert made["metre"] == 0
    assert keys == {(7 + 4 * semitones) % 48 for semitones in range(-2, 3)}
    assert len(processor.evaluate) == len(processor.train) - 1
