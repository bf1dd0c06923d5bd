import functools
import io
import subprocess
import sys

import numpy as np
import pytest
from evaluation.contexts import context
from PIL import Image

from mmjax.evaluation.drawing import letters, page, pictures
from mmjax.evaluation.retrieval import Retrieval
from mmjax.transforms.video import Video


def colours(image):
    pixels = np.asarray(image).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return {(value >> 16, value >> 8 & 255, value & 255) for value in np.unique(pixels).tolist()}


def rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


def test_text_is_measured_wrapped_and_cut_in_its_middle():
    text = "a rather long caption, that will $never$ fit\n into one line"
    lines = letters.fit(text, 120, lines=2)
    assert len(lines) == 2 and "…" in lines[1] and "…" not in lines[0]
    assert lines[0].startswith("a rather") and lines[1].endswith("line")
    assert all(letters.width_of(line, 12) <= 120 for line in lines)
    assert letters.fit("short", 120) == ["short"] and letters.fit("", 120) == [""]
    cut = letters.fit("x" * 4000 + "y" * 1000, 60)[0]
    assert cut.startswith("x") and cut.endswith("y") and "…" in cut


def test_scripts_without_spaces_break_anywhere():
    lines = letters.fit("中文字" * 8, 80, lines=2)
    assert len(lines) == 2 and "…" not in lines[0] and lines[1].endswith("字")
    assert all(letters.width_of(line, 12) <= 80 for line in lines)


def test_emoji_are_pictures_where_the_system_has_their_font(monkeypatch):
    text = "ok 👩‍🚀 and ❤️, not ✓ 🇨🇭"
    font = letters._emoji_font()
    if font is None:  # nothing is lost: all of it are letters
        assert letters.parts(text) == [text] and not letters.is_emoji("👩‍🚀")
        monkeypatch.setattr(letters, "_emoji_font", lambda: object())
    expected = ["ok ", "👩‍🚀", " and ", "❤️", ", not ✓ ", "🇨🇭"]
    assert letters.parts(text) == expected
    assert [part for part in expected if letters.is_emoji(part)] == expected[1::2]
    if font is not None:
        coloured = np.asarray(letters.emoji("🐝", 24))
        assert coloured.shape == (24, 24, 4) and coloured[..., :3].std() > 20
        drawn = page.Page(80, 40)
        drawn.text(40, 20, "a 🐝", align="center")
        drawn.rising(10, 2, "🐝 b", size=10)
        assert (np.ptp(np.asarray(drawn.render("")), axis=-1) > 100).any()  # colours


def emoji_like(rng, count):
    colour = rng.integers(0, 255, (count, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colour, (count, 8, 8, 3))


@pytest.fixture(scope="module")
def sheets():
    rng = np.random.default_rng(0)
    images = emoji_like(rng, 40)
    vectors = rng.standard_normal((40, 6)).astype(np.float32)
    captions = [f"thing {i}, $x_{i}^" for i in range(40)]

    def decode(index, source=None):
        return {"image": images[index], "text": (captions[index], "再 second")}

    @functools.cache
    def draw(noise):
        text = np.repeat(vectors[:, None], 2, axis=1)
        image = vectors + noise * rng.standard_normal(vectors.shape)
        rows = {"image": image, "text": text, "index": np.arange(40)}
        rows["style"] = np.arange(40) % 2
        return Retrieval(average_over="style").finish(rows, context(decode=decode)).media

    return draw


def as_file(frames):
    """Frames as the bytes of an animated WebP."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=rest, duration=100, lossless=True)
    return file.getvalue()


@pytest.mark.parametrize("form", [np.asarray, lambda frames: Video(frames, 10), as_file])
def test_a_clip_is_drawn_as_its_middle_frame(form):
    """Whatever form the source has it in: a file without a sound too."""
    colours_of = np.random.default_rng(0).integers(60, 200, (8, 3), dtype=np.uint8)
    clips = [np.zeros((3, 8, 8, 3), np.uint8) + np.uint8(255) for _ in colours_of]
    for clip, colour in zip(clips, colours_of, strict=True):
        clip[1] = colour

    def decode(index, source=None):
        return {"video": form(clips[index]), "text": f"clip {index}"}

    vectors = np.eye(8, dtype=np.float32)
    rows = {"video": vectors, "text": vectors, "index": np.arange(8)}
    media = Retrieval(queries="video").finish(rows, context(decode=decode)).media
    assert set(media) == {"video_to_text", "text_to_video", "similarity"}
    drawn = colours(media["text_to_video"])
    assert sum(tuple(int(x) for x in colour) in drawn for colour in colours_of) >= 4


def test_sheets_mark_right_answers_green_and_leave_wrong_ones_neutral(sheets):
    right, wrong = sheets(0.0), sheets(50.0)
    assert set(right) == {"image_to_text", "text_to_image", "similarity"}
    for name in ("image_to_text", "text_to_image"):
        for picture in (right[name], wrong[name]):
            assert rgb(page.GREEN_TINT) in colours(picture)  # what the mark means stands above
            assert rgb("#c93c37") not in colours(picture) and rgb("#fbe3e1") not in colours(picture)
            assert picture.width == page.WIDTH * page.SCALE
    green = [
        (np.asarray(picture["image_to_text"]) == rgb(page.GREEN)).all(-1).sum()
        for picture in (right, wrong)
    ]
    assert green[0] > 2 * green[1]


def test_sheets_have_even_margins(sheets):
    for picture in sheets(50.0).values():
        drawn = np.asarray(picture).min(-1) < 250
        across = np.flatnonzero(drawn.any(0)) / page.SCALE
        assert page.MARGIN - 2 <= across[0] <= page.MARGIN + 2
        assert page.MARGIN - 4 <= picture.width / page.SCALE - across[-1] <= page.MARGIN + 20


def test_pictures_say_what_is_seen(sheets):
    seen = {name: picture.info[page.DESCRIPTION] for name, picture in sheets(0.0).items()}
    assert seen["image_to_text"].startswith("Image to text: the best 5 of 40")
    assert seen["text_to_image"].count(": rank ") == 6
    assert "Mean on the diagonal" in seen["similarity"]
    counts = np.array([[3, 2], [0, 4]])
    confused = pictures.confusion(counts, ["cat", "dog"]).info[page.DESCRIPTION]
    assert "77.8% of 9 right" in confused and "'cat' taken for 'dog', 2 times" in confused
    assert sheets(0.0)["text_to_image"].info[page.IMAGES].count(";") == 6 * 5 - 1


def test_the_grid_shows_what_the_model_sees():
    rng = np.random.default_rng(0)
    images = emoji_like(rng, 5)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    seen = ((images / 255 - np.array(mean)) / np.array(std)).astype(np.float32)
    drawn = pictures.grid(seen, ["a"] * 5, mean=mean, std=std, title="batch 3")
    assert {tuple(image[0, 0].tolist()) for image in images} <= colours(drawn)
    gray = rng.integers(0, 255, (3, 4, 6, 1), dtype=np.uint8)
    assert pictures.grid(gray, ["", "b", "c" * 300]).width == page.WIDTH * page.SCALE


def test_matrices_of_any_size():
    for size in (2, 9, 60):
        counts = np.random.default_rng(0).integers(0, 9, (size, size))
        names = [f"class {i}" for i in range(size)]
        assert pictures.confusion(counts, names).width == page.WIDTH * page.SCALE
        assert pictures.matrix(counts, names, names, "t").width == page.WIDTH * page.SCALE
    assert pictures.confusion(np.zeros((2, 2), int), ["a", "b"])


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, mmjax.evaluation.retrieval; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
