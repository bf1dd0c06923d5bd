"""Pictures, clips and sounds in the report: the newest shown or played, the earlier small."""

import numpy as np
import pytest
from PIL import Image

from mmjax.evaluation.drawing.page import GREEN, INK, Page
from mmjax.report import document
from mmjax.report.dark import dark
from mmjax.report.media import EARLIER, Samples
from mmjax.report.style import DARK_PAPER
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
    assert page.count(", step 9.") == 5
    assert "<pre>&lt;b&gt; at 9</pre>" in page
    # the newest of the two kinds of pictures, and some of the earlier ones
    stills = page.count('src="data:image/webp;base64,')
    assert 2 + 2 <= stills <= 2 + 2 * EARLIER
    assert 'width="32" height="24" class=small style="width:320px"' in page
    assert 'width="1720" height="86"' in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page


def test_the_newest_that_is_whole_is_shown(workdir):
    for name in ("clip.webp", "film.mp4", "tone.wav", "sheet.png", "words.txt"):
        (workdir / "pictures" / "00000009" / "test" / name).write_bytes(b"")
    found = Samples(workdir / "pictures").section()
    assert found.count("step 8.") == 5 and "step 9" not in found


def test_nothing_to_show(tmp_path):
    samples = Samples(tmp_path)
    assert samples.section() == "" and samples.nearest(["unseen/image_to_text/r1"]) == ""


def test_one_sample_stands_on_top_and_validation_is_folded(tmp_path):
    writer = Writer(tmp_path, -1, tensorboard=False)
    for name in ("test/a/x", "test/b/x", "test/b/y", "validation/b/y"):
        writer.media(1, name, Image.new("RGB", (20, 10)))
    samples = Samples(tmp_path / "pictures")
    assert "<b>test / b / y</b>" in samples.nearest(["b/y/r1", "a/x/r1"])
    rest = samples.section()
    assert "<b>test / b / y</b>" not in rest  # not twice
    order = ["<b>test / a / x", "<b>test / b / x", "<details class=rest>", "<b>validation / b / y"]
    places = [rest.index(part) for part in order]
    assert places == sorted(places)


def test_validation_alone_is_open(tmp_path):
    writer = Writer(tmp_path, -1, tensorboard=False)
    for name in ("validation/a", "validation/b"):
        writer.media(1, name, Image.new("RGB", (20, 10)))
    samples = Samples(tmp_path / "pictures")
    assert "<b>validation / a</b>" in samples.nearest(["validation/a/r1"])
    assert "<details" not in samples.section()


def sheet():
    page = Page(100, 60)
    page.text(10, 10, "right", color=GREEN)
    page.box(10, 20, 20, 20, fill=INK)
    page.image(60, 20, 30, np.full((8, 8, 3), (250, 240, 10), np.uint8))
    return page.render("a <yellow> square")


def test_a_sheet_says_what_is_seen_and_has_a_dark_form(tmp_path):
    writer = Writer(tmp_path, -1, tensorboard=False)
    writer.media(1, "test/sheet", sheet())
    writer.media(1, "test/photograph", Image.new("RGB", (20, 10), "white"))
    found = Samples(tmp_path / "pictures").section()
    assert 'alt="a &lt;yellow&gt; square"' in found
    assert 'alt="test/photograph, step 1"' in found
    assert found.count('<source media="(prefers-color-scheme: dark)" srcset="data:') == 1


def test_dark_turns_the_page_and_leaves_its_images():
    light = sheet()
    night = dark(light.convert("RGB"), light)
    assert night.getpixel((2, 2)) == DARK_PAPER
    assert min(night.getpixel((40, 60))) > 200  # ink has become light
    assert night.getpixel((150, 70)) == light.getpixel((150, 70)) == (250, 240, 10)
    small = dark(light.resize((100, 60)).convert("RGB"), light)
    assert small.getpixel((75, 35)) == (250, 240, 10) and small.getpixel((1, 1)) == DARK_PAPER
    assert dark(Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8))) is None
