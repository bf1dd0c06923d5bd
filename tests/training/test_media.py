"""Pictures, clips and sounds as files that every browser shows, and in TensorBoard."""

import io

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from mmjax.training import media
from mmjax.training.writer import Writer
from mmjax.transforms.audio import Sound
from mmjax.transforms.video import Video

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


@pytest.mark.parametrize("sound", [None, TONE])
def test_a_video_has_its_rate_and_its_sound(sound):
    frames = np.pad(CLIP, [(0, 0), (0, 1), (0, 1), (0, 0)])  # odd sides
    ending, data = media.encoded(Video(frames, 12, sound))
    assert ending == ".mp4"
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 12 and (stream.width, stream.height) == (32, 24)
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert np.abs(np.stack(images).mean((1, 2, 3)) - CLIP.mean((1, 2, 3))).max() < 3
    with av.open(io.BytesIO(data)) as container:
        assert len(container.streams.audio) == (sound is not None)
        if sound is not None:
            heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
            heard = heard[: len(sound.samples)]
            assert np.corrcoef(heard, sound.samples[: len(heard)])[0, 1] > 0.99


def test_files_have_the_ending_of_their_kind(tmp_path):
    writer = Writer(tmp_path, -1)
    writer.media(3, "test/sheet", Image.new("RGB", (20, 10)))
    writer.media(3, "test/clip", CLIP)
    writer.media(3, "test/tone", TONE)
    writer.media(3, "test/film", Video(CLIP, 12))
    writer.media(3, "test/words", "what was said")
    writer.close()
    names = {path.name for path in (tmp_path / "pictures" / "00000003" / "test").iterdir()}
    assert names == {"sheet.png", "clip.webp", "tone.wav", "words.txt", "film.mp4"}
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(TypeError, match="a clip uint8 .* a Sound or a str, not int"):
        media.encoded(3)
    with pytest.raises(TypeError, match=r"uint8 \[H, W, 3\], not float32 \[24, 32, 3\]"):
        media.encoded(CLIP.astype(np.float32))
