"""Listeners on a VIP itself, on a kernel that is not there."""

import errno
import socket
from ipaddress import ip_address
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from vrrp_drain.linux import listeners
from vrrp_drain.runtime.errors import SystemFault

VIP, VIP6 = ip_address("10.0.0.10"), ip_address("fd00::10")


class FakeDiag:
    """sock_diag: addresses and ports of listeners, for each family."""

    listeners: dict[int, list[tuple[str, int]]] = {}  # noqa: RUF012  (a test sets it anew)
    fault: Exception | None = None

    def __enter__(self) -> "FakeDiag":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def bind(self) -> None:
        if self.fault is not None:
            raise self.fault

    def get_sock_stats(self, *, states: int, family: int) -> tuple[dict[str, Any], ...]:
        assert states == 1 << 10, "TCP_LISTEN"
        found = enumerate(self.listeners.get(family, []), start=100)
        return tuple({"idiag_src": address, "idiag_sport": port, "idiag_inode": inode} for inode, (address, port) in found)


@pytest.fixture(autouse=True)
def diag(monkeypatch: pytest.MonkeyPatch) -> type[FakeDiag]:
    fresh = type("FreshDiag", (FakeDiag,), {})
    monkeypatch.setattr(listeners, "DiagSocket", fresh)
    return fresh


def test_only_listeners_on_a_vip_itself_are_bound_to_it(diag: type[FakeDiag]) -> None:
    """Both families, by port and each once: haproxy has a socket for each of its threads. A wildcard or another address is fine."""
    diag.listeners = {
        socket.AF_INET: [("0.0.0.0", 80), ("10.0.0.10", 443), ("10.0.0.10", 443), ("10.0.0.1", 8080), ("127.0.0.1", 81)],
        socket.AF_INET6: [("::", 80), ("fd00::10", 443), ("::ffff:10.0.0.10", 25), ("fd00::1", 8080)],
    }
    assert listeners.bound_to([VIP, VIP6]) == ["10.0.0.10:25", "10.0.0.10:443", "[fd00::10]:443"]
    assert listeners.bound_to([VIP6]) == ["[fd00::10]:443"]
    diag.listeners = {socket.AF_INET: [("0.0.0.0", 80)], socket.AF_INET6: [("::", 80)]}
    assert listeners.bound_to([VIP, VIP6]) == []


@pytest.mark.parametrize("fault", [PermissionError(errno.EPERM, "not permitted"), NetlinkError(errno.EPERM)])
def test_a_kernel_that_does_not_tell(diag: type[FakeDiag], fault: Exception) -> None:
    """It is said, not taken for nobody."""
    diag.fault = fault
    with pytest.raises(SystemFault, match=r"^the kernel does not tell who listens"):
        listeners.bound_to([VIP])


def test_the_advice_names_the_mend() -> None:
    """One listener or several, and what haproxy's configuration should say instead."""
    assert listeners.advice(["10.0.0.10:80"]) == (
        "10.0.0.10:80 is bound to the VIP itself: a move cuts its open connections. Bind it to every address instead, in haproxy: bind *:80"
    )
    assert listeners.advice(["10.0.0.10:80", "[fd00::10]:443"]) == (
        "10.0.0.10:80, [fd00::10]:443 are bound to the VIP itself: a move cuts their open connections. "
        "Bind them to every address instead, in haproxy: bind *:80, bind :::443"
    )


def test_where_a_process_listens(diag: type[FakeDiag]) -> None:
    """Only the sockets of its own count, and only those that connections to the VIP reach: at the VIP, and at the wildcards."""
    diag.listeners = {
        socket.AF_INET: [("0.0.0.0", 443), ("127.0.0.1", 444), ("10.0.0.10", 445), ("0.0.0.0", 446)],
        socket.AF_INET6: [("::", 443)],
    }
    assert listeners.ports({100, 101, 102}, VIP) == {443, 445}
    assert listeners.ports({102}, VIP6) == set()
    assert listeners.ports({100}, VIP6) == {443}
    assert listeners.ports(set(), VIP) == set()
