"""What mmjax does to its host's loggers and hooks: nothing, unless it is the program itself."""

import logging
import signal
import sys
import time
import types
import warnings

import pytest
from toy import SGD, Pairs, pairs, planned

from mmjax.training import echoes
from mmjax.training.checkpoint import Checkpoints


@pytest.fixture
def restored(monkeypatch):
    """Puts everything back that `silence` changes."""
    logger = logging.getLogger("asyncio")
    filters = list(logger.filters)
    level = logging.getLogger("absl").level
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    # a worker of `pytest -n` leaves Ctrl-C to the first process
    answer = signal.signal(signal.SIGINT, signal.default_int_handler)
    with warnings.catch_warnings():
        yield
    signal.signal(signal.SIGINT, answer)
    logger.filters[:] = filters
    logging.getLogger("absl").setLevel(level)


def test_checkpoints_leave_loggers_and_hooks_alone(tmp_path):
    before = sys.unraisablehook, logging.getLogger("absl").level
    filters = list(logging.getLogger("asyncio").filters)
    plan, _ = planned(Pairs(), pairs(), SGD)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(plan.init())
    checkpoints.close()
    assert (sys.unraisablehook, logging.getLogger("absl").level) == before
    assert logging.getLogger("asyncio").filters == filters


def test_what_repeats_an_error_is_left_out(restored):
    passed_on = []
    sys.unraisablehook = passed_on.append
    echoes.silence()
    echoes.silence()  # a second command in one process changes nothing more
    for text in ("Event loop is closed", "a bug"):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(text)))
    assert [str(event.exc_value) for event in passed_on] == ["a bug"]
    logger = logging.getLogger("asyncio")
    for text, shown in (
        ("Error in OCDBT database x", False),
        ("Task exception was never retrieved", False),
        ("Task was destroyed", True),
    ):
        record = logger.makeRecord("asyncio", logging.ERROR, "", 0, text, (), None)
        assert bool(logger.filter(record)) == shown
    assert logging.getLogger("absl").level == logging.CRITICAL


def test_ctrl_c_in_a_callback_is_heard_after_it(restored):
    """Python would print it with a traceback, and forget it."""
    reported = []
    sys.unraisablehook = reported.append
    echoes.silence()
    with pytest.raises(KeyboardInterrupt):
        sys.unraisablehook(types.SimpleNamespace(exc_value=KeyboardInterrupt()))
        time.sleep(10)
    assert not reported
