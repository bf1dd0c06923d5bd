"""Baselines are told from names alone, and stand beside their numbers wherever these are shown."""

import pytest

from mmjax.report import curves, table
from mmjax.report.baselines import Names

VALUES = {
    "seen/image_to_text/r1": 0.5,
    "chance/seen/image_to_text/r1": 0.1,
    "probe/accuracy/top1": 0.6,
    "probe/held_out/accuracy/top1": 0.7,
    "speech/wer": 0.2,
    "silence/speech/wer": 1.0,
    "majority/probe/accuracy/top1": 0.3,
    "thumbnail_neighbour/seen/image_to_text/r50": 0.9,  # which the model was not asked
    "validation/seen/image_to_text/r1": 0.4,
    "validation/chance/seen/image_to_text/r1": 0.2,
    "parameters": 12,
    "train/loss": 0.1,
}


def test_whatever_wrote_its_name_before_that_of_an_evaluation_is_a_baseline():
    names = Names(VALUES)
    assert names.baselines == ("chance", "silence", "majority", "thumbnail_neighbour")
    assert names.split("silence/speech/wer") == ("silence", "speech/wer")
    assert names.split("probe/held_out/accuracy/top1") == ("", "probe/held_out/accuracy/top1")
    split = names.split("validation/chance/seen/image_to_text/r1")
    assert split == ("chance", "validation/seen/image_to_text/r1")
    assert names.split("parameters").baseline == ""


@pytest.mark.parametrize("metric, baselines", [
    ("seen/image_to_text/r1", {"chance": 0.1}),
    ("validation/seen/image_to_text/r1", {"chance": 0.2}),
    ("speech/wer", {"silence": 1.0}),
    ("probe/held_out/accuracy/top1", {}),
])  # fmt: skip
def test_a_number_has_its_own_baselines_and_those_of_no_other(metric, baselines):
    assert Names(VALUES).of(metric, VALUES) == baselines


def test_a_baseline_of_the_test_is_none_of_the_validation():
    values = {"thumbnail_neighbour/seen/r1": 0.42, "seen/r1": 0.5, "validation/seen/r1": 0.6}
    assert Names(values).of("validation/seen/r1", values) == {}


def test_an_evaluation_may_share_a_name_with_a_part_of_a_metric():
    values = {"probe/held_out/accuracy/top1": 0.7, "probe/accuracy/top1": 0.6}
    assert Names(values | {"held_out/accuracy/top1": 0.5}).baselines == ()


def test_the_table_and_the_panels_put_them_beside_their_numbers():
    lines = table.results(VALUES).splitlines()
    head = lines[0].split("  ")
    assert [word.strip() for word in head if word.strip()] == [
        "held out", "model", "chance", "silence", "majority", "thumbnail neighbour",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[2:]] == [
        "seen/image_to_text/r1", "probe/accuracy/top1", "probe/held_out/accuracy/top1",
        "speech/wer", "train/loss",
    ]  # fmt: skip
    panels = {panel.title: panel for panel in curves.panels([{"step": 1, **VALUES}])}
    assert panels["speech/wer"].baselines == {"wer": {"silence": 1.0}}
    assert not any(title.startswith(("chance", "silence")) for title in panels)
