"""Pictures, clips and sounds as files that every browser shows, and in TensorBoard."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmjax.training import media
from mmjax.training.writer import Writer
from mmjax.transforms.audio import Sound

CLIP = np.stack([np.full((24, 32, 3), 20 * t, np.uint8) for t in range(6)])
TONE = Sound(np.sin(np.arange(8000) / 5).astype(np.float32), 16_000)


def test_a_clip_moves():
    ending, data = media.encoded(CLIP)
    with Image.open(io.BytesIO(data)) as image:
        assert ending == ".webp" and image.size == (32, 24) and image.n_frames == 6
        image.seek(4)
        assert abs(int(np.asarray(image.convert("RGB")).mean()) - 80) < 8
    frames = [Image.fromarray(frame) for frame in CLIP]
    assert media.encoded(frames)[1] == data


def test_a_sound_is_heard():
    ending, data = media.encoded(TONE)
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert ending == ".wav" and rate == 16_000
    np.testing.assert_allclose(samples, TONE.samples, atol=1e-4)
    loud, _ = soundfile.read(io.BytesIO(media.encoded(Sound(3 * TONE.samples, 16_000))[1]))
    assert np.abs(loud).max() <= 1  # clipped, not wrapped around


def test_files_have_the_ending_of_their_kind(tmp_path):
    writer = Writer(tmp_path, -1)
    writer.media(3, "test/sheet", Image.new("RGB", (20, 10)))
    writer.media(3, "test/clip", CLIP)
    writer.media(3, "test/tone", TONE)
    writer.media(3, "test/words", "what was said")
    writer.close()
    names = {path.name for path in (tmp_path / "pictures" / "00000003" / "test").iterdir()}
    assert names == {"sheet.png", "clip.webp", "tone.wav", "words.txt"}
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(TypeError, match="a clip uint8 .* a Sound or a str, not int"):
        media.encoded(3)
    with pytest.raises(TypeError, match=r"uint8 \[H, W, 3\], not float32 \[24, 32, 3\]"):
        media.encoded(CLIP.astype(np.float32))
