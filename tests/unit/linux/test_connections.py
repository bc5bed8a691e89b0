"""Counting the connections that end here, on a kernel that is not there."""

import errno
import os
import struct
from ipaddress import ip_address

import pytest

from unit.support.netlink import DONE, END, ERROR, FakeKernel, message, status
from vrrp_drain.linux import connections
from vrrp_drain.runtime.errors import SystemFault

VIP, VIP6 = ip_address("10.0.0.10"), ip_address("fd00::10")
FOUND = message(20, bytes(72))  # SOCK_DIAG_BY_FAMILY


def test_what_is_found_is_added_up(kernel: FakeKernel) -> None:
    """In each family that clients of one of the VIPs may come in."""
    kernel.replies = [[FOUND * 3, FOUND, END], [FOUND * 2 + END]]
    assert connections.count([VIP, VIP6]) == 6
    assert kernel.closed == 1


def test_whether_there_is_any(kernel: FakeKernel) -> None:
    """What is asked is never left open: the kernel would go on telling."""
    kernel.replies = [[FOUND * 3]]
    assert connections.some([VIP, VIP6])
    kernel.replies = [[END], [END]]
    assert not connections.some([VIP, VIP6])
    assert kernel.closed == 2


def test_which_states_count(kernel: FakeKernel) -> None:
    """One that somebody still has something to send on counts, a listener and one that only waits for its end do not."""
    kernel.replies = [[END]] * 2
    connections.count([VIP])
    (states,) = struct.unpack_from("=I", kernel.asked[0], 20)
    assert states == sum(1 << number for number in (1, 3, 4, 8))  # established, SYN received, FIN wait 1, close wait; tcp_states.h


def test_a_kernel_that_does_not_tell_those_of_udp(kernel: FakeKernel) -> None:
    """Those of TCP are counted and waited for all the same; whoever asks for QUIC's alone is told that nobody knows."""
    nobody = status(DONE, errno.ENOENT)
    kernel.replies = [[FOUND * 2, END], [FOUND, END], [nobody]]
    assert connections.count([VIP], [443]) == 3
    kernel.replies = [[END], [END], [nobody]]
    assert not connections.some([VIP], [443])
    kernel.replies = [[nobody]]
    with pytest.raises(SystemFault, match=r"^the kernel does not tell its connections \(it has no udp_diag\)$"):
        connections.some_of_quic([VIP], [443])
    kernel.replies = [[END], [END], [status(ERROR, errno.EPERM)]]
    with pytest.raises(SystemFault, match="Operation not permitted"):
        connections.count([VIP], [443])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT)), "Protocol not supported"),
        (TimeoutError("timed out"), "timed out"),
        (status(ERROR, errno.EPERM), "Operation not permitted"),
        (FOUND + status(DONE, errno.ENOENT), "it has no tcp_diag"),
    ],
    ids=["no socket", "no answer", "refused", "could not"],
)
def test_a_kernel_that_does_not_tell(kernel: FakeKernel, answer: bytes | OSError, said: str) -> None:
    """It is a fault of the system, said in one line: what was not counted is never taken for none."""
    kernel.replies = [[answer]]
    with pytest.raises(SystemFault, match=rf"^the kernel does not tell its connections \({said}\)$"):
        connections.count([VIP])
