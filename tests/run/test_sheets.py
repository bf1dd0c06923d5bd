"""Samples as files that the usual readers open."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from mmjax.config import ConfigError
from mmjax.run import sheets

CLIPS = np.zeros((3, 5, 6, 7, 3), np.uint8)
CLIPS[:, :, :3] = 255
CLIPS[1] = 60
CLIPS[2] = np.arange(5)[:, None, None, None] * 50  # every frame is another


@pytest.mark.parametrize("ending", sheets.MOVING)
def test_clips_move(ending, tmp_path):
    page = sheets.enlarged(sheets.grid(CLIPS))
    path = tmp_path / f"clip{ending}"
    sheets.write(path, page, rate=4)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    if ending == ".mp4":
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.streams.video[0].average_rate == 4
    else:
        with Image.open(path) as image:
            assert image.n_frames == 5
            frames = [np.asarray(image.convert("RGB"))]
    assert frames[0].shape[:2] == page.shape[1:3]
    np.testing.assert_allclose(frames[0][20, 20], page[0, 20, 20], atol=8)


def test_a_grid_and_its_stills():
    grid = sheets.grid(CLIPS)
    assert grid.shape == (5, 6 + 4 + 6, 7 + 4 + 7, 3)
    np.testing.assert_array_equal(grid[:, :6, 11:], CLIPS[1])
    assert sheets.grid(CLIPS, columns=3).shape == (5, 6, 3 * 7 + 2 * 4, 3)
    assert sheets.grid(CLIPS[:, 0]).shape == (16, 18, 3)
    line = Image.open(io.BytesIO(sheets.content(CLIPS[0], ".png")))
    assert line.size == (5 * 7 + 4 * 4, 6)
    picture = Image.open(io.BytesIO(sheets.content(CLIPS[0, 0], ".webp")))
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")).shape, (6, 7, 3))


def test_endings_that_are_none():
    with pytest.raises(ConfigError, match="clips are written as .*mp4.*, not .avi"):
        sheets.check(".avi", moving=True)
    with pytest.raises(ConfigError, match="pictures are written as .*, not .mp4"):
        sheets.check(".mp4", moving=False)
