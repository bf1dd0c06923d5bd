"""Parameter trees: names, patterns, splitting, comparing."""

import numpy as np
import pytest

from mmjax import tree

PARAMS = {
    "image": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)},
    "text": {"kernel": np.ones(4)},
}


def test_flatten_and_back():
    flat = tree.flatten(PARAMS)
    assert list(flat) == ["image/bias", "image/kernel", "text/kernel"]
    assert tree.flatten(tree.unflatten(flat)) == flat
    assert tree.count(PARAMS) == 13


def test_partition_and_merge_are_inverse():
    kept, rest = tree.partition(PARAMS, lambda path: path.startswith("image/"))
    assert list(tree.flatten(kept)) == ["image/bias", "image/kernel"]
    assert tree.flatten(tree.merge(kept, rest)).keys() == tree.flatten(PARAMS).keys()


def test_patterns_cover_whole_paths_in_order():
    paths = tree.flatten(PARAMS)
    assert tree.assign([".*/bias", ".*"], paths) == {
        "image/bias": 0,
        "image/kernel": 1,
        "text/kernel": 1,
    }
    with pytest.raises(ValueError, match="no pattern .* matches the parameter 'image/bias'"):
        tree.assign([".*/kernel"], paths)
    with pytest.raises(ValueError, match="'imag' matches no parameter"):
        tree.assign(["imag", ".*"], paths)  # not the whole path
    with pytest.raises(ValueError, match="matches no parameter"):
        tree.assign([".*", "text/.*"], paths)  # nothing left for the second


def test_comparison_names_every_difference():
    offered = {
        "image": {"kernel": np.zeros((2, 4))},
        "text": {"kernel": np.ones(4)},
        "x": {"y": np.ones(1)},
    }
    found = tree.compare(PARAMS, offered)
    assert found.matched == ("text/kernel",)
    assert not found.complete
    report = found.report()
    for line in (
        "missing   image/bias",
        "extra     x/y",
        "image/kernel: needs (2, 3), found (2, 4)",
    ):
        assert line in report


def test_a_comparison_folds_what_is_wholly_on_one_side():
    """A part of the tree of which the other side has nothing is one line; single paths stay."""
    leaf = np.zeros(2)
    needed = {"a": {"x": leaf, "y": leaf}, "b": {"c": {"x": leaf}, "d": leaf}}
    offered = {"b": {"d": leaf}, "e": {"f": {"x": leaf, "y": leaf}}, "g": leaf}
    found = tree.compare(needed, offered)
    assert found.summary().splitlines() == [
        "1 tensors match, 3 missing, 3 extra, 0 of another shape",
        "  missing   a/ (2 tensors)",
        "  missing   b/c/x",
        "  extra     e/ (2 tensors)",
        "  extra     g",
    ]
    assert "  missing   a/x" in found.summary(also=["a/z"]).splitlines()
