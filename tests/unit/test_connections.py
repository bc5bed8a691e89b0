"""Counting the connections that end here, on a kernel that is not there."""

import errno
import socket
from ipaddress import ip_address
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from vrrp_drain import connections
from vrrp_drain.errors import SystemFault

VIP, VIP6 = ip_address("10.0.0.10"), ip_address("fd00::10")


class FakeDiag:
    """sock_diag: the local addresses of connections, for each family."""

    sockets: dict[int, list[str]] = {}  # noqa: RUF012  (a test sets it anew)
    fault: Exception | None = None

    def __enter__(self) -> "FakeDiag":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def bind(self) -> None:
        if self.fault is not None:
            raise self.fault

    def get_sock_stats(self, *, states: int, family: int) -> tuple[dict[str, Any], ...]:
        assert states & 1 << 1, "established"
        assert not states & 1 << 10, "a listener is no connection"
        return tuple({"idiag_src": each} for each in self.sockets.get(family, []))


@pytest.fixture(autouse=True)
def diag(monkeypatch: pytest.MonkeyPatch) -> type[FakeDiag]:
    fake = type("Diag", (FakeDiag,), {})
    monkeypatch.setattr(connections, "DiagSocket", fake)
    return fake


def test_only_connections_to_a_vip_count(diag: type[FakeDiag]) -> None:
    """Both families, and IPv4 clients of a socket that is open for both; not those to the instance's own address."""
    diag.sockets = {socket.AF_INET: ["10.0.0.10", "10.0.0.1", "127.0.0.1"], socket.AF_INET6: ["::ffff:10.0.0.10", "fd00::10", "fd00::1"]}
    assert connections.count([VIP]) == 2
    assert connections.count([VIP6]) == 1
    assert connections.count([VIP, VIP6]) == 3


@pytest.mark.parametrize("fault", [OSError(errno.EPROTONOSUPPORT, "Protocol not supported"), NetlinkError(errno.EPERM)])
def test_a_kernel_that_does_not_tell(diag: type[FakeDiag], fault: Exception) -> None:
    """It is a fault of the system, said in one line."""
    diag.fault = fault
    with pytest.raises(SystemFault, match=r"^the kernel does not tell its connections"):
        connections.count([VIP])
