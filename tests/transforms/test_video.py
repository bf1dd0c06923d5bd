"""Clips read by time: from files of every container, at any rate, in part, and broken ones.

How the files are made: tests/made_clips.py. A frame's grey says which it is.
"""

import numpy as np
import pytest
from made_clips import HEIGHT, WIDTH, encoded, grey, numbers, webp

from mmjax.data.source import CorruptExample
from mmjax.transforms import images, moving_pictures
from mmjax.transforms.audio import Cut
from mmjax.transforms.video import DecodeVideo, Dense, OnClip, Segments, Uniform, Video, Views

FILES = {
    "mp4": dict(),
    "mp4_without_later_key_frames": dict(key=100),
    "mkv": dict(form="matroska"),
    "webm": dict(form="webm", codec="libvpx-vp9"),
    "avi": dict(form="avi", codec="mpeg4"),
    "gif": dict(form="gif", codec="gif"),
    "without_an_end": dict(form="matroska", options=[("live", "1")]),
}


@pytest.mark.parametrize("kind", [*FILES, "webp"])
def test_frames_of_a_file_by_time(kind):
    data = webp() if kind == "webp" else encoded(**FILES[kind])
    out = DecodeVideo(Uniform(5))({"video": data, "label": 3})
    assert out["label"] == 3 and out["video"].dtype == np.uint8
    assert out["video"].shape == (5, HEIGHT, WIDTH, 3)
    assert numbers(out["video"]) == [2, 6, 10, 14, 18]
    part = DecodeVideo(Uniform(3))({"video": data, "start": 0.9, "end": 1.5})
    assert numbers(part["video"]) == [10, 12, 14] and "start" not in part
    with pytest.raises(CorruptExample, match="no frames from 7 s to the end: the clip has 2.0"):
        DecodeVideo(Uniform(3))({"video": data, "start": 7.0})


def test_every_frame_of_every_time():
    data = encoded()
    choose = lambda start, end: np.arange(20) / 10 + 0.05  # noqa: E731
    found = moving_pictures.taken(data, choose, Cut(0.0, None))
    assert numbers(found.frames) == list(range(20))
    np.testing.assert_allclose(found.times, np.arange(20) / 10, atol=1e-6)
    assert found.end == pytest.approx(2.0)


def test_what_lies_between_is_not_decoded(monkeypatch):
    """Seeking to the key frame before each time: 3 frames of 200 cost 3 groups, not 20."""
    data = encoded(frames=200, key=10)
    decoded = []
    real = moving_pictures._Player._decoded

    def counting(player):
        for frame in real(player):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(moving_pictures._Player, "_decoded", counting)
    out = DecodeVideo(Uniform(3))({"video": data})
    assert numbers(out["video"]) == [n % 25 for n in (33, 100, 166)]
    assert len(decoded) <= 3 * 12


def test_a_seek_lands_before_what_is_sought():
    """Wherever a lone frame is: key frames are shown later than they are decoded."""
    data = encoded(frames=40, key=5, rate=10)
    for number in range(40):
        choose = lambda start, end, at=number: np.array([at / 10 + 0.01])  # noqa: E731
        found = moving_pictures.taken(data, choose, Cut(0.0, None))
        assert numbers(found.frames) == [number % 25], number


def test_a_rate_that_varies():
    """The frame that is shown, not the frame of a number: one of them stays for a second."""
    data = encoded(frames=6, times=[0, 10, 20, 120, 130, 140])
    choose = lambda start, end: np.array([0.05, 0.15, 0.3, 0.7, 1.1, 1.25, 1.4])  # noqa: E731
    found = moving_pictures.taken(data, choose, Cut(0.0, None))
    assert numbers(found.frames) == [0, 1, 2, 2, 2, 3, 5]


def test_dense_frames_and_those_that_are_not_there():
    data = encoded()
    out = DecodeVideo(Dense(4, 4.0, place=0.0))({"video": data})
    assert numbers(out["video"]) == [0, 2, 5, 7] and out["video_mask"].all()
    late = DecodeVideo(Dense(4, 4.0, place=1.0))({"video": data})
    assert numbers(late["video"]) == [10, 12, 15, 17]
    short = DecodeVideo(Dense(6, 2.0, place=0.5))({"video": data})
    assert numbers(short["video"]) == [0, 5, 10, 15, 19, 19]
    assert short["video_mask"].tolist() == [True] * 4 + [False] * 2
    drawn = DecodeVideo(Dense(4, 4.0))
    starts = {
        numbers(drawn({"video": data}, np.random.default_rng(seed))["video"])[0]
        for seed in range(8)
    }
    assert len(starts) > 2 and max(starts) <= 10 and not drawn.deterministic


def test_a_moment_of_each_part():
    clip = Video(np.stack([grey(number) for number in range(24)]), 12)
    pick = DecodeVideo(Segments(4))
    seen = set()
    for seed in range(20):
        found = numbers(pick({"video": clip}, np.random.default_rng(seed))["video"])
        assert [number // 6 for number in found] == [0, 1, 2, 3]
        seen.add(tuple(found))
    assert len(seen) > 15
    # an array is one frame a second
    out = DecodeVideo(Uniform(2))({"video": clip.frames[:4], "start": 2.0})
    assert numbers(out["video"]) == [2, 3]


def test_frames_are_reduced_as_they_come():
    out = DecodeVideo(Uniform(2), side=16)({"video": encoded()})
    assert out["video"].shape == (2, 16, 24, 3)
    assert DecodeVideo(Uniform(2), side=16)({"video": webp()})["video"].shape == (2, 16, 24, 3)
    whole = DecodeVideo(Uniform(2), side=99)({"video": encoded()})
    assert whole["video"].shape == (2, HEIGHT, WIDTH, 3)


BROKEN = {
    "empty file": lambda: b"",
    "not a readable video file": lambda: b"this is no video, whatever its name says" * 9,
    "may be cut short": lambda: encoded()[:-700],  # its index is at the end
    "the file holds sound alone": lambda: encoded(frames=None, sound=16_000),
    "no frames": lambda: encoded(form="avi", codec="mpeg4", frames=0),
    "broken or cut short behind .* of 10.0 seconds": lambda: half(
        encoded(frames=100, options=[("movflags", "faststart")])
    ),
    "cut short: .* of 10.. seconds": lambda: half(encoded(form="matroska", frames=100)),
    "cut short: .* bytes are there": lambda: half(webp()),
    "more than max_pixels=3000": lambda: encoded(size=(64, 64)),
}  # fmt: skip


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_broken_is_named(message):
    limit = 3000 if "pixels" in message else 64_000_000
    with pytest.raises(CorruptExample, match=message):
        DecodeVideo(Uniform(8), max_pixels=limit)({"video": BROKEN[message]()})


def half(data):
    """The file with its second half lost."""
    return data[: len(data) * 6 // 10]


def test_pictures_besides_sound():
    out = DecodeVideo(Uniform(2))({"video": encoded(form="mp4", sound=32_000)})
    assert numbers(out["video"]) == [5, 15]


def test_one_crop_flip_and_colour_for_all_frames():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    clip = np.stack([frame] * 3)
    steps = (
        OnClip(images.RandomResizedCrop(16)), OnClip(images.RandomFlip()),
        OnClip(images.ColorJitter(0.4, 0.4, 0.4, 0.1)), OnClip(images.RandomAffine(16, (0.5, 2.0))),
    )  # fmt: skip
    results = []
    for seed in range(3):
        draw = np.random.default_rng(seed)
        example = {"video": clip, "label": 1}
        for step in steps:
            example = step(example, draw)
        assert (example["video"] == example["video"][:1]).all() and example["label"] == 1
        results.append(example["video"][0].tobytes())
    assert len(set(results)) == 3
    # contrast is about the mean of the clip, not of each frame
    mixed = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (40, 200)])
    jitter = OnClip(images.ColorJitter(contrast=0.9))
    distances = []
    for seed in range(5):
        levels = jitter({"video": mixed}, np.random.default_rng(seed))["video"][:, 0, 0, 0]
        distances.append(int(levels[1]) - int(levels[0]))
    assert max(abs(distance - 160) for distance in distances) > 20
    pixels = OnClip(images.Normalize())({"video": mixed})["video"]
    np.testing.assert_allclose(pixels[1], 200 / 127.5 - 1, atol=1e-6)


def test_views_of_one_clip():
    """Clips from its beginning, middle and end, and the left, the middle and the right of each."""
    frames = np.stack([grey(number) for number in range(24)])
    frames[:, :, :8] = 0
    picks = tuple(DecodeVideo(Dense(2, 2.0, place)) for place in (0.0, 0.5, 1.0))
    out = Views(picks, HEIGHT, 3, images.Normalize())({"video": Video(frames, 10), "label": 4})
    assert out["label"] == 4 and out["video"].shape == (9, 2, HEIGHT, HEIGHT, 3)
    assert out["video_mask"].shape == (9, 2) and out["video_mask"].all()
    shown = (out["video"] + 1) * 127.5
    bright = np.rint(shown[:, :, 0, -1, 0] / 10).astype(int)
    assert bright[0].tolist() == [0, 5] and bright[3].tolist() == [7, 12]
    assert bright[8].tolist() == [14, 19]
    dark = (shown[3:6, 0] < 5).all((1, 3)).sum(1)  # columns of the left edge that each crop has
    assert dark.tolist() == [8, 0, 0]


def test_frames_of_the_right_size_are_left_alone():
    """Pixel for pixel what resizing and cropping each of them would give."""
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    for step in (images.Resize(16), images.CenterCrop(16)):
        out = OnClip(step)({"video": clip}, rng)["video"]
        assert out is clip
        each = [step({"image": frame})["image"] for frame in clip]
        np.testing.assert_array_equal(out, each)
    assert OnClip(images.Resize(8))({"video": clip}, rng)["video"].shape == (3, 8, 8, 3)
