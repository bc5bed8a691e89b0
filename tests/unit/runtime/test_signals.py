"""SIGTERM and SIGINT become something to wait for, and nothing else."""

import os
import select
import signal

import pytest

from vrrp_drain.runtime.signals import Cancellation


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted(cancellation: Cancellation, number: int) -> None:
    """A signal, also a second one, makes the descriptor readable and interrupts nothing."""
    assert not cancellation.requested
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    assert cancellation.requested
    assert select.select([cancellation.fileno()], [], [], 0)[0] == [cancellation.fileno()]


def test_without_a_signal_nothing_is_readable(cancellation: Cancellation) -> None:
    """The descriptor of an untouched cancellation is quiet."""
    assert select.select([cancellation.fileno()], [], [], 0)[0] == []


def test_the_handlers_come_back() -> None:
    """Afterwards signals do what they did before, and no descriptor stays open."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with Cancellation() as entered:
        fd = entered.fileno()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
