import subprocess
import sys

import numpy as np
import pytest
from evaluation.contexts import context

from mmjax.evaluation import page, pictures
from mmjax.evaluation.retrieval import Retrieval
from mmjax.report import charts, curves

RUN = [
    {"step": step, "train/loss": 5 / (1 + step), "train/scale": 14.0, "train/scale/text": 3.0}
    for step in range(30)
]
for step, share in ((10, 0.2), (20, 0.4)):
    RUN.append(
        {
            "step": step,
            "validation/seen/loss": 2.0,
            "validation/seen/image_to_text/r1": share,
            "validation/seen/image_to_text/r5": round(share + 0.3, 1),
            "validation/chance/seen/image_to_text/r1": 0.005,
            "validation/seen/image_to_text/median_rank": 7 - step / 5,
            "text": "not a number",
        }
    )


def colours(image):
    pixels = np.asarray(image).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return {(value >> 16, value >> 8 & 255, value & 255) for value in np.unique(pixels).tolist()}


def rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


def test_panels_put_together_what_belongs_together():
    panels = {panel.title: panel for panel in curves.panels(RUN)}
    assert list(panels) == [
        "loss",
        "validation/seen/image_to_text",
        "validation/seen/image_to_text/median_rank",
        "train/scale",
    ]
    assert list(panels["loss"].lines) == ["train", "seen"]
    assert list(panels["train/scale"].lines) == ["scale", "text"]
    recall = panels["validation/seen/image_to_text"]
    assert recall.lines == {"r1": ([10, 20], [0.2, 0.4]), "r5": ([10, 20], [0.5, 0.7])}
    assert recall.baselines == {"r1": {"chance": 0.005}}


def test_values_that_are_not_finite_leave_a_gap():
    rows = [{"step": 1, "train/loss": 2.0}, {"step": 2, "train/loss": float("nan")}]
    rows += [{"step": 3, "train/loss": "inf"}, {"step": 4, "train/loss": 1.0}]
    assert curves.panels(rows)[0].lines == {"train": ([1, 4], [2.0, 1.0])}


def test_charts_are_svg_in_the_colours_of_the_page():
    svg = "".join(charts.chart(panel) for panel in curves.panels(RUN))
    assert svg.count("<svg") == 4 and "var(--s1)" in svg and "dashed: chance" in svg
    assert "<title>r1 at step 20: 0.4</title>" in svg and "nan" not in svg
    constant = charts.chart(curves.panels([{"step": 5, "train/<b>": 0.0}])[0])
    assert "&lt;b&gt;" in constant and "nan" not in constant


def test_long_lines_are_thinned_but_keep_their_extremes():
    steps, values = list(range(10_000)), np.random.default_rng(0).random(10_000).tolist()
    points = charts._thin(steps, values)
    assert len(points) <= 305 and points[-1] == (9999, values[-1])
    assert {min(values), max(values)} <= {value for _, value in points}
    assert [step for step, _ in points] == sorted(step for step, _ in points)


@pytest.mark.parametrize("low, high", [(0, 1), (0.13, 0.71), (-3, 92_000), (1e-7, 3e-6), (5, 5)])
def test_axes_have_round_marks_within_their_ends(low, high):
    bottom, top, marks = charts._scale(low, high)
    assert bottom <= low and high <= top and bottom < top and 2 <= len(marks) <= 6
    assert all(bottom <= mark <= top + 1e-12 for mark in marks)


def test_numbers_are_short():
    shown = {0.5412: "0.541", 93: "93", 2.5e-6: "2.5e-6", 0: "0", 123456.7: "123,457", 1: "1"}
    assert {value: pictures.number(value) for value in shown} == shown


def test_labels_are_spread_and_keep_their_order():
    places = pictures.spread([0.5, 0.51, 0.1, 0.99, 0.995], 0.1)
    assert np.argsort(places).tolist() == [2, 0, 1, 3, 4]
    assert np.diff(sorted(places)).min() > 0.09 and min(places) >= 0 and max(places) <= 1


def test_text_is_measured_wrapped_and_cut():
    text = "a rather long caption, that will $never$ fit\n into one line"
    lines = page.fit(text, 120, lines=2)
    assert len(lines) == 2 and lines[1].endswith("…") and not lines[0].endswith("…")
    assert all(page._width(line, 12, False) <= 120 for line in lines)
    assert page.fit("short", 120) == ["short"] and page.fit("", 120) == [""]
    assert page.fit("x" * 5000, 60)[0].endswith("…")


def emoji_like(rng, count):
    colour = rng.integers(0, 255, (count, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colour, (count, 8, 8, 3))


@pytest.fixture
def sheets():
    rng = np.random.default_rng(0)
    images = emoji_like(rng, 40)
    vectors = rng.standard_normal((40, 6)).astype(np.float32)
    captions = [f"thing {i}, $x_{i}^" for i in range(40)]

    def decode(index, source=None):
        return {"image": images[index], "text": (captions[index], "再 second")}

    def draw(noise, text_noise=0.0):
        text = vectors[:, None] + text_noise * rng.standard_normal((40, 2, 6))
        image = vectors + noise * rng.standard_normal(vectors.shape)
        rows = {"image": image, "text": text, "index": np.arange(40)}
        rows["style"] = np.arange(40) % 2
        return Retrieval(average_over="style").finish(rows, context(decode=decode)).media

    return draw


def test_sheets_mark_right_answers_green_and_wrong_ones_red(sheets):
    right, wrong = sheets(0.0), sheets(50.0)
    assert set(right) == {"image_to_text", "text_to_image", "similarity"}
    for name in ("image_to_text", "text_to_image"):
        assert rgb(page.GREEN_TINT) in colours(right[name])
        assert rgb(page.RED_TINT) in colours(wrong[name])
        assert right[name].width == page.WIDTH * page.SCALE
    green = [
        (np.asarray(picture["text_to_image"]) == rgb(page.GREEN)).all(-1).sum()
        for picture in (right, wrong)
    ]
    assert green[0] > 2 * green[1]


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
