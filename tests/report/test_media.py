"""Pictures, clips and sounds in the report: the newest shown or played, the earlier small."""

import numpy as np
import pytest
from PIL import Image

from mmjax.report import document
from mmjax.report.media import EARLIER, media
from mmjax.training.writer import Writer
from mmjax.transforms.audio import Sound
from mmjax.transforms.video import Video


@pytest.fixture
def workdir(tmp_path):
    writer = Writer(tmp_path, -1, tensorboard=False)
    for step in range(1, 10):
        clip = np.stack([np.full((24, 32, 3), 20 * t + step, np.uint8) for t in range(6)])
        tone = Sound(np.sin(np.arange(400) / step).astype(np.float32), 8000)
        writer.media(step, "test/clip", clip)
        writer.media(step, "test/tone", tone)
        writer.media(step, "test/film", Video(clip, 3, tone))
        writer.media(step, "test/sheet", Image.new("RGB", (2000, 100)))
        writer.media(step, "test/words", f"<b> at {step}")
    return tmp_path


def test_a_clip_moves_and_a_sound_and_a_video_have_players(workdir):
    page = document.write(workdir).read_text(encoding="utf-8")
    assert page.count('<audio controls preload="metadata" src="data:audio/wav;base64,') == 1
    assert page.count('<video controls preload="metadata" src="data:video/mp4;base64,') == 1
    assert page.count("<figcaption><b>test / ") == 5
    assert page.count("step 9") == 5
    assert "<pre>&lt;b&gt; at 9</pre>" in page
    # the newest of the two kinds of pictures, and some of the earlier ones
    stills = page.count('src="data:image/webp;base64,')
    assert 2 + 2 <= stills <= 2 + 2 * EARLIER
    assert 'width="32" height="24"' in page and 'width="1720" height="86"' in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page


def test_the_newest_that_is_whole_is_shown(workdir):
    for name in ("clip.webp", "film.mp4", "tone.wav", "sheet.png", "words.txt"):
        (workdir / "pictures" / "00000009" / "test" / name).write_bytes(b"")
    found = media(workdir / "pictures")
    assert found.count("step 8.") == 5 and "step 9" not in found


def test_nothing_to_show(tmp_path):
    assert media(tmp_path) == ""
