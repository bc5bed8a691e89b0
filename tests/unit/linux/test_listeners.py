"""Listeners on a VIP itself, on a kernel that is not there."""

import errno
import os
from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path

import pytest

from vrrp_drain.linux import listeners, proc_net
from vrrp_drain.linux.sock_diag import LISTEN, SockDiag, Socket
from vrrp_drain.runtime import ip
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

VIP, VIP6 = ip_address("10.0.0.10"), ip_address("fd00::10")


class FakeDiag(SockDiag):
    """sock_diag: who listens, with inodes from 100 on."""

    def __init__(self) -> None:
        self.found: list[Socket] = []
        self.fault: OSError | None = None

    def close(self) -> None:
        pass

    def have(self, *listening: tuple[str, int]) -> None:
        self.found = [Socket(LISTEN, ip_address(address), port, inode) for inode, (address, port) in enumerate(listening, start=100)]

    def listeners(self) -> list[Socket]:
        if self.fault is not None:
            raise self.fault
        return self.found


@pytest.fixture(autouse=True)
def diag(monkeypatch: pytest.MonkeyPatch) -> FakeDiag:
    fresh = FakeDiag()
    monkeypatch.setattr(listeners, "SockDiag", lambda: fresh)
    return fresh


def test_only_listeners_on_a_vip_itself_are_bound_to_it(diag: FakeDiag) -> None:
    """Both families, by port and each once: haproxy has a socket for each of its threads. A wildcard or another address is fine."""
    diag.have(
        *(("0.0.0.0", 80), ("10.0.0.10", 443), ("10.0.0.10", 443), ("10.0.0.1", 8080), ("127.0.0.1", 81)),
        *(("::", 80), ("fd00::10", 443), ("10.0.0.10", 25), ("fd00::1", 8080)),
    )
    assert named([VIP, VIP6]) == ["10.0.0.10:25", "10.0.0.10:443", "[fd00::10]:443"]
    assert named([VIP6]) == ["[fd00::10]:443"]
    diag.have(("0.0.0.0", 80), ("::", 80))
    assert listeners.bound_to([VIP, VIP6]) == []


def named(vips: Collection[IPAddress]) -> list[str]:
    return [ip.host_port(*each.end) for each in listeners.bound_to(vips)]


def test_a_kernel_without_sock_diag(diag: FakeDiag, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc tells the same."""
    diag.fault = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    monkeypatch.setattr(proc_net, "listeners", lambda: [Socket(LISTEN, VIP, 80, 4711)])
    assert named([VIP]) == ["10.0.0.10:80"]


def test_a_kernel_that_does_not_tell(diag: FakeDiag, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, not taken for nobody."""
    diag.fault = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    monkeypatch.setattr(proc_net, "FILES", (Path("/nowhere/tcp"),))
    with pytest.raises(SystemFault, match=r"^the kernel does not tell who listens \(\[Errno 1\] Operation not permitted\)$"):
        listeners.bound_to([VIP])


def test_the_advice_names_the_mend() -> None:
    """One listener or several, and what haproxy's configuration should say instead."""
    assert listeners.advice(["10.0.0.10:80"]) == (
        "10.0.0.10:80 is bound to the VIP itself, and the kernel does not tell its connections from the listener: a move cuts them. "
        "Bind it to every address instead, in haproxy: bind *:80"
    )
    assert listeners.advice(["10.0.0.10:80", "[fd00::10]:443"]) == (
        "10.0.0.10:80, [fd00::10]:443 are bound to the VIP itself, and the kernel does not tell their connections from the listener: "
        "a move cuts them. "
        "Bind them to every address instead, in haproxy: bind *:80, bind :::443"
    )


def test_where_a_process_listens(diag: FakeDiag) -> None:
    """Only the sockets of its own count, and only those that connections to the VIP reach: at the VIP, and at the wildcards."""
    diag.have(("0.0.0.0", 443), ("127.0.0.1", 444), ("10.0.0.10", 445), ("0.0.0.0", 446), ("::", 443))
    assert listeners.ports({100, 101, 102}, VIP) == {443, 445}
    assert listeners.ports({102}, VIP6) == set()
    assert listeners.ports({104}, VIP6) == {443}
    assert listeners.ports(set(), VIP) == set()
