"""What is measured and drawn of clips: what was made up, sheets of frames, one frame alone."""

import io

import numpy as np
import pytest
from evaluation.contexts import context
from PIL import Image

from mmjax.data.source import InMemory
from mmjax.datasets import emoji
from mmjax.evaluation import one_frame, reconstruction
from mmjax.evaluation.drawing import clip_sheet
from mmjax.transforms.video import Video


def test_error_beside_the_mean_is_a_ratio_of_sums():
    """A clip with little in it counts for little."""
    rows = {
        "error": np.array([0.5, 0.0, 0.3]), "mean_error": np.array([1.0, 0.0, 0.2]),
        "index": np.arange(3), "source": np.zeros(3, int),
    }  # fmt: skip
    found = reconstruction.Reconstruction().finish(rows, context())
    assert found.metrics["below_mean"] == pytest.approx(1 - 0.8 / 1.2)
    assert found.metrics["error"] == pytest.approx(0.8 / 3)
    assert found.baselines["tubelet_mean"] == {"error": pytest.approx(0.4), "below_mean": 0.0}
    assert found.queries["below_mean"].value == found.metrics["below_mean"]


def test_sheets_of_frames_say_what_is_seen():
    frames = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    shares = np.array([0.1, 0.6, 0.3])
    clips = [
        clip_sheet.Clip("left: right", (frames,), right=True, shares=shares),
        clip_sheet.Clip("clip 7", (frames, frames // 2), ("clip", "made up")),
    ]
    sheet = clip_sheet.draw(clips, "50.0% of 2 clips are right")
    said = sheet.info["Description"]
    assert "left: right, looking most at part 2 of 3; clip 7" in said
    places = sheet.info["Images"].split(";")
    assert len(places) == 3 * clip_sheet.MOST  # of twenty frames sixteen are drawn


@pytest.mark.slow
def test_one_frame_of_clips_is_what_the_picture_is():
    concepts = [one for one in emoji.concepts() if one.split == "train" and one.images[1]][:12]
    rows = []
    for number, one in enumerate(concepts):
        picture = np.asarray(Image.open(io.BytesIO(one.images[1])).convert("RGB"))
        clip = Video(np.stack([picture * 0, picture, picture * 0]), 3)
        rows.append({"video": clip, "text": emoji.text(one, 3), "group": number, "id": one.key})
    source = InMemory(rows, "emoji that blink")
    found = one_frame.measure(one_frame.Config(), context(source))
    assert found.metrics["video_to_text/r1"] >= 10 / 12
    assert found.queries["video_to_text/index"].tolist() == list(range(12))
