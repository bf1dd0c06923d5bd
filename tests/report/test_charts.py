"""Curves of a run as charts: what belongs together in one panel, axes that can be read."""

import numpy as np
import pytest

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


def test_panels_put_together_what_belongs_together():
    panels = {panel.title: panel for panel in curves.panels(RUN)}
    assert list(panels) == [
        "loss",
        "validation/seen/image_to_text",
        "validation/seen/median_rank",
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
    page = "".join(charts.chart(panel, 30) for panel in curves.panels(RUN))
    assert page.count("<svg") == 4 and "var(--s1)" in page
    assert page.count("<i class=dashes></i> chance") == 1  # of the panel that has any
    assert "<title>r1 at step 20: 0.4</title>" in page and "nan" not in page
    constant = charts.chart(curves.panels([{"step": 5, "train/<b>": 0.0}])[0], 5)
    assert "&lt;b&gt;" in constant and "nan" not in constant


def test_charts_say_what_is_seen():
    panel = curves.panels(RUN)[1]
    label = 'aria-label="Chart of validation, seen, image to text: R@1 from 0.2 at step 10 to 0.4'
    assert label in charts.chart(panel, 30)
    assert "its chance is 0.005; R@5 from 0.5" in charts.chart(panel, 30)


def test_all_panels_have_the_range_of_the_whole_run():
    plots = [charts._Plot(panel, 900) for panel in curves.panels(RUN)]
    assert {plot.x(0) for plot in plots} == {charts.LEFT}
    assert {plot.x(900) for plot in plots} == {charts.WIDTH - charts.RIGHT}
    assert plots[0].stops == [0, 250, 500, 750, 900]
    assert charts.LEFT + charts.RIGHT < 0.2 * charts.WIDTH  # no gutter for labels


@pytest.mark.parametrize("last", [1, 2, 3, 4, 7, 10, 40, 99, 245, 900, 12_345, 10**6])
def test_stops_are_whole_steps_that_do_not_touch(last):
    stops = charts._stops(last)
    assert stops[0] == 0 and stops[-1] == last and 2 <= len(stops) <= 6
    assert all(stop == int(stop) for stop in stops)
    assert np.diff(stops).min() > 0.1 * last


@pytest.mark.parametrize("low, high", [(9.9998, 10.0001), (0.33331, 0.33336), (123_456, 123_460)])
def test_no_label_of_an_axis_comes_twice(low, high):
    labels = charts._labels(charts._scale(low, high)[2])
    assert len(set(labels)) == len(labels) > 1


def test_ranks_have_a_logarithmic_axis():
    rows = [{"step": 1, "validation/a/x/median_rank": 93.0, "validation/a/y/median_rank": 90.0}]
    rows += [{"step": 2, "validation/a/x/median_rank": 1.0, "validation/a/y/median_rank": 3.0}]
    (panel,) = curves.panels(rows)
    assert panel.title == "validation/a/median_rank" and list(panel.lines) == ["x", "y"]
    plot = charts._Plot(panel, 2)
    assert plot.marks == [1, 2, 5, 10, 20, 50, 100]
    assert plot.y(1) - plot.y(10) == pytest.approx(plot.y(10) - plot.y(100))
    assert not charts._Plot(curves.panels(RUN)[0], 2).logarithmic


@pytest.mark.parametrize("low, high", [(1, 1), (1, 3), (1.5, 93), (12, 15), (1, 40_000)])
def test_logarithmic_axes_hold_their_values(low, high):
    bottom, top, marks = charts._ranks(low, high)
    assert bottom <= low and high <= top and 2 <= len(marks) <= 8


def test_titles_are_distinct_and_optimizer_groups_have_names():
    rows = [{"step": 1, "train/learning_rate/0": 0.02, "train/learning_rate/text": 0.01}]
    for name in ("a/image_to_text", "a/text_to_image", "b/image_to_text"):
        rows += [{"step": 1, f"validation/{name}/r1": 0.1, f"validation/{name}/median_rank": 2}]
    panels = curves.panels(rows, {"0": "muon"})
    titles = [charts._title(panel) for panel in panels]
    assert len(set(titles)) == len(titles) == 6
    assert ("a / image to text", "validation") in titles
    assert list(panels[-1].lines) == ["muon", "text"]


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
