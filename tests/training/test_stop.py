"""Signals that end a run early; whole runs that are stopped are in tests/proofs."""

import signal

import pytest

from mmjax.training import stop


@pytest.mark.parametrize("number", [*stop.SIGNALS, signal.SIGINT])
def test_a_signal_is_remembered_until_the_step_is_over(number, capfd):
    before = signal.getsignal(number)
    with stop.Stop() as stopped:
        assert not stopped.reached(1) and stopped.reason == ""
        signal.raise_signal(number)
        assert stopped.reached(2) and stopped.number == number and stopped.reason == number.name
    assert signal.getsignal(number) == before
    assert ("Ctrl-C again stops at once" in capfd.readouterr().err) == (number == signal.SIGINT)


def test_the_first_signal_is_the_reason_and_ctrl_c_after_it_ends_at_once():
    with stop.Stop() as stopped:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert stopped.reason == "SIGUSR1"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop.Stop() as stopped:
            signal.raise_signal(signal.SIGHUP)
            assert not stopped.reached(1)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_exit_statuses_are_those_of_a_shell():
    assert stop.exit_status(0) == 0
    assert stop.exit_status(signal.SIGTERM) == 143 and stop.exit_status(signal.SIGINT) == 130
