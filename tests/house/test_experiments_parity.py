"""The parity table: what a comparison is called, and what is written down of it."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

PATH = Path(__file__).resolve().parents[2] / "experiments" / "parity" / "measure.py"
spec = importlib.util.spec_from_file_location("parity_measure", PATH)
measure = importlib.util.module_from_spec(spec)
spec.loader.exec_module(measure)


def named(actual, desired=None, **fields):
    """As `assert_allclose` is called."""
    return measure.called_with(sys._getframe(1))


def close(actual):
    assert_allclose = named
    return assert_allclose(actual)


def test_a_comparison_is_called_as_it_is_written():
    assert_allclose, hidden, out = named, np.ones(3), {"logits": np.ones(2)}
    assert assert_allclose(hidden[:, None], hidden, atol=1e-4) == "hidden"
    for field in out:
        found = assert_allclose(out[field])
        assert found == "logits, saved here and opened there"
    assert close(hidden) == "hidden"


class Item:
    name, path = "test_clip[one head, uneven]", Path("test_clip.py")


def test_the_largest_difference_is_kept():
    recorder, original = measure.Recorder(), np.testing.assert_allclose
    running = recorder.pytest_runtest_call(Item)
    next(running)
    ours = np.zeros(3)
    for apart in (1e-5, 3e-5, 2e-5):
        np.testing.assert_allclose(ours, ours + apart, atol=1e-4)
    np.testing.assert_allclose(ours, ours, err_msg="hidden")
    try:
        running.send(None)
    except StopIteration:
        pass
    assert np.testing.assert_allclose is original
    rows = recorder.rows
    assert rows[("clip", "clip: one head, uneven", "hidden")] == 0.0
    np.testing.assert_allclose(rows[("clip", "clip: one head, uneven", "ours")], 3e-5)
    rows = [dict(family=f, config=c, what=w, max_abs_diff=x) for (f, c, w), x in rows.items()]
    assert "| clip | 1 | 2 | 3.0e-05 (clip: one head, uneven, ours) |" in measure.table(rows)
