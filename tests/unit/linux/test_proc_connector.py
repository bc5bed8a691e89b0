"""Whether the kernel tells of processes that end: asked for, and let go again. The socket is not a real one."""

import errno
import os
import socket
import struct

import pytest

from unit.support.fakes import FakeSocket
from vrrp_drain.linux import proc_connector

NETLINK_CONNECTOR, CN_IDX_PROC, CN_VAL_PROC, NLMSG_DONE = 11, 1, 1, 3  # linux/netlink.h, linux/connector.h
LISTEN, IGNORE = 1, 2  # linux/cn_proc.h


def message(operation: int) -> bytes:
    """A struct nlmsghdr, a struct cn_msg, and the operation."""
    return struct.pack("=IHHII IIIIHH I", 40, NLMSG_DONE, 0, 0, os.getpid(), CN_IDX_PROC, CN_VAL_PROC, 0, 0, 4, 0, operation)


def test_a_kernel_that_answers_tells_of_processes(raw_socket: FakeSocket) -> None:
    """The proc connector is subscribed, its answer is awaited, and the subscription ends: nothing goes on after the question."""
    raw_socket.inbox = [b"acknowledged"]
    assert proc_connector.available() == ""
    assert raw_socket.opened == (socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_CONNECTOR)
    assert raw_socket.bound == (0, CN_IDX_PROC)
    assert raw_socket.sent == [(message(LISTEN),), (message(IGNORE),)]
    assert raw_socket.closed


def test_a_kernel_that_is_silent_does_not_hold_us_up(raw_socket: FakeSocket) -> None:
    """In a network namespace of its own nobody answers: after a second that is the reason."""
    raw_socket.inbox = [TimeoutError("timed out")]
    assert proc_connector.available() == "the kernel did not answer within 1 s"
    assert raw_socket.timeout == 1
    assert raw_socket.closed


@pytest.mark.parametrize("step", ["open", "bind", "send"])
def test_a_kernel_that_refuses_gives_the_reason(raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Without the connector or the right to it, its error is the reason, whatever it was that failed."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(*((socket, "socket", refuse) if step == "open" else (raw_socket, step, refuse)))
    assert proc_connector.available() == "Operation not permitted"
    assert raw_socket.closed is (step != "open")
