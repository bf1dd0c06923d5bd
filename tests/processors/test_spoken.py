"""Recordings and their letters: what is learned, padded, refused, shown and saved."""

import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Mixture
from mmjax.data.source import CorruptExample, InMemory
from mmjax.processors import hearing, spoken
from mmjax.tokenizers import letters
from mmjax.transforms import augment_audio
from mmjax.transforms.audio import Sound

RATE = 8_000
TEXTS = ["Press 1.", "Don't press!", "no", "a longer text, that says more", "ha", "press"]
SECONDS = [0.5, 0.7, 0.2, 1.6, 0.3, 3.0]


def sounds():
    rng = np.random.default_rng(0)
    rows = []
    for text, seconds in zip(TEXTS, SECONDS, strict=True):
        samples = rng.normal(size=round(seconds * RATE)).astype(np.float32)
        rows.append({"audio": Sound(0.1 * samples, RATE), "text": text})
    return InMemory(rows)


def built(**fields):
    audio = hearing.Config(rate=RATE, bins=8, longest=2.0, alike=2, **fields)
    return spoken.build(spoken.Config(audio), lambda: [sounds()], None)


def test_what_is_learned():
    processor = built()
    batch = processor.encode([sounds()[0], sounds()[1]])
    assert batch["audio"].shape == (2, 70, 8) and batch["audio_mask"].sum(1).tolist() == [50, 70]
    assert processor.tokenizer.vocab_size == processor.sizes["letters"]
    texts = [processor.show(batch, row)["text"] for row in range(2)]
    assert texts == ["press one", "don't press"]
    assert processor.show(batch, 0)["audio"].shape == (8, 50, 3)
    assert processor.said("Press 7?") == "press se en"  # no "v" in the texts
    with pytest.raises(CorruptExample, match="'!!' holds no letter that is known"):
        processor.encode([{"text": "!!"}])


def test_training_batches_and_rows_that_are_refused():
    """Of one step, three rows are read; the recording that is too long keeps its place."""
    augmentation = augment_audio.Config(speed=(0.8, 1.2), time_masks=1)
    processor = built(augmentation=augmentation, buckets=(0.4, 1.0))
    source = sounds()
    plan = processor.plan(Mixture((6,), 3, seed=1), [source])
    assert plan.largest_shape == {"text": (28,), "audio": (201,)}
    pipeline = Pipeline([source], plan, processor.train, threads=0, max_corrupt_share=1.0)
    refused = []
    for step in range(2):
        arrays, corrupt = pipeline.batch(step)
        assert arrays["audio"].shape[1] in (41, 101, 201) and arrays["text"].shape == (3, 28)
        refused += corrupt
    assert [one.index for one in refused] == [5]
    assert "3.00 seconds of sound; from 0.1 to 2 are taken" in refused[0].reason


def test_samples_for_wav2vec2():
    processor = built(kind="samples")
    made = processor.inputs({"audio": [sounds()[2]["audio"]]})
    assert made["samples"].shape == (1, 1600) and made["mask"].all()
    assert abs(float(made["samples"].mean())) < 1e-6 and "bins" not in processor.sizes
    masked = built(kind="samples", augmentation=augment_audio.Config(time_masks=1))
    with pytest.raises(ConfigError, match="masks are of spectrograms"):
        _ = masked.train


def test_letters_of_a_checkpoint(tmp_path):
    """Those of the published wav2vec 2.0 are upper case."""
    vocab = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    letters.Letters({name: number for number, name in enumerate(vocab)}).save(tmp_path)
    processor = spoken.build(spoken.Config(letters=str(tmp_path)), lambda: [sounds()], None)
    assert processor.said("Don't press 1.") == "DON'T PRESS ONE"
    ids = processor.encode([{"text": "no"}])["text"][0]
    assert processor.tokenizer.decode(ids) == "NO"


def test_what_is_saved_is_found_again(tmp_path):
    processor = built()
    processor.save(tmp_path)
    again = spoken.build(processor.config, None, tmp_path)
    assert again.tokenizer.vocab == processor.tokenizer.vocab
    paper = spoken.build(spoken.Config(), None, None)
    made = paper.encode([spoken.paper(paper.config)])
    assert made["audio"].shape[1] == 2000 and made["text"].shape[1] > 250


def test_a_recording_does_not_meet_itself():
    """Rows are dealt out by length among no more batches than the set has rows for."""
    source = sounds()
    plan = built().plan(Mixture((6,), 2, seed=1), [source])
    for step in range(6):
        index = plan(step).index.tolist()
        assert len(set(index)) == 2, index
    small = built().plan(Mixture((6,), 4, seed=1), [source])
    assert small(0).index.tolist() == Mixture((6,), 4, seed=1)(0).index.tolist()
