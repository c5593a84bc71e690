"""Signals while a run trains, and after it has failed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from restore_hub.train.stopping import StopRequest


@pytest.fixture
def handler() -> Iterator[list[int]]:
    """A handler of this process's own, which counts the SIGTERMs that reach it."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    yield came
    signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_is_a_request_and_the_handler_comes_back(handler: list[int]) -> None:
    with StopRequest() as stop:
        terminate()
        assert stop.asked
    terminate()
    assert handler == [signal.SIGTERM]


@pytest.mark.usefixtures("handler")
def test_a_failed_process_of_several_lives_to_report_its_error() -> None:
    """`torchrun` ends those that are left as soon as the first has ended."""
    with pytest.raises(ValueError, match="lost"), StopRequest(launched=True):
        raise ValueError("lost")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.parametrize("launched", [False, True])
def test_after_a_run_that_went_well_signals_act_as_before(handler: list[int], launched: bool) -> None:
    with StopRequest(launched=launched):
        pass
    terminate()
    assert handler == [signal.SIGTERM]
