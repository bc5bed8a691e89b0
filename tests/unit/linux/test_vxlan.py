"""VXLAN devices: what is asked of a kernel that is not there. tests/lab/test_tunnel.py has a real one."""

import errno
import socket
import struct
from ipaddress import ip_address

import pytest

from unit.support.netlink import ACKNOWLEDGED, END, ERROR, HEADER, FakeKernel, message, status
from vrrp_drain.linux.netlink import attribute
from vrrp_drain.linux.vxlan import Device, Vxlan

NEWLINK, DELLINK, NEWROUTE, NEWNEIGH, NEWRULE, DELRULE = 16, 17, 24, 28, 32, 33
DEVICE = Device("vrrp-drain4", 7004, b"\2\0\0\0\0\1", ip_address("10.0.0.1"), "eth0", 51, 9923, 1500, 700)
SIXTH = Device("vrrp-drain6", 7006, b"\2\0\0\0\0\6", ip_address("fe80::1"), "eth0", 51, 9923, 1430, 700)
PEER, PEER_MAC = ip_address("10.0.0.2"), b"\2\0\0\0\0\2"


@pytest.fixture(autouse=True)
def _index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: {"eth0": 2, "vrrp-drain4": 7004}.get(name) or _absent())


def _absent() -> int:
    raise OSError(errno.ENODEV, "No such device")


def link(name: str, mac: bytes, mtu: int, flags: int = 1) -> bytes:
    told = attribute(3, name.encode() + b"\0") + attribute(1, mac) + attribute(4, struct.pack("=I", mtu))
    return message(NEWLINK, struct.pack("=BxHiII", 0, 1, 7004, flags, 0) + told)


def neighbour(family: int, index: int, address: str, mac: bytes = PEER_MAC) -> bytes:
    told = attribute(1, ip_address(address).packed) + attribute(2, mac)
    return message(NEWNEIGH, struct.pack("=BxxxiHBB", family, index, 0x80, 0, 0) + told)


def rule(name: str, table: int) -> bytes:
    return message(
        NEWRULE,
        struct.pack("=BBBBBxxBI", 2, 0, 0, 0, 0, 1, 0) + attribute(17, name.encode() + b"\0") + attribute(15, struct.pack("=I", table)),
    )


def kinds(kernel: FakeKernel) -> list[int]:
    return [HEADER.unpack_from(each)[1] for each in kernel.asked]


def test_create(kernel: FakeKernel) -> None:
    """With its index, MAC and MTU, our own end, number and port; it learns nothing. A link-local end needs its interface."""
    kernel.replies = [[ACKNOWLEDGED], [ACKNOWLEDGED]]
    Vxlan().create(DEVICE)
    Vxlan().create(SIXTH)
    first, second = kernel.asked
    assert struct.unpack_from("=BxHiII", first, HEADER.size) == (0, 0, 7004, 0, 0)
    for each in (attribute(3, b"vrrp-drain4\0"), attribute(1, DEVICE.mac), attribute(4, struct.pack("=I", 1500)), attribute(1, b"vxlan\0")):
        assert each in first
    for each in (attribute(1, struct.pack("=I", 51)), attribute(4, bytes((10, 0, 0, 1))), attribute(7, b"\0"), attribute(15, b"\x26\xc3")):
        assert each in first
    by_eth0 = attribute(3, struct.pack("=I", 2))
    assert by_eth0 not in first
    assert by_eth0 in second
    assert attribute(17, SIXTH.local.packed) in second


def test_start(kernel: FakeKernel) -> None:
    """Up, with its address if it has one."""
    kernel.replies = [[ACKNOWLEDGED]] * 3
    Vxlan().start(DEVICE, ip_address("127.0.0.9"))  # type: ignore[arg-type]
    Vxlan().start(DEVICE, None)
    assert kinds(kernel) == [20, NEWLINK, NEWLINK]


def test_one_rule(kernel: FakeKernel) -> None:
    """However often it is asked for."""
    kernel.replies = [[rule("vrrp-drain4", 701), END], [ACKNOWLEDGED], [rule("eth9", 700) + rule("vrrp-drain4", 700), END]]
    Vxlan().select(DEVICE)
    Vxlan().select(DEVICE)
    assert kinds(kernel) == [34, NEWRULE, 34]


def test_a_way(kernel: FakeKernel) -> None:
    """Where in the world it is, the neighbour, and a route in the device's own table."""
    kernel.replies = [[ACKNOWLEDGED]] * 6
    Vxlan().add_ways(DEVICE, [(PEER, PEER_MAC)])
    Vxlan().add_ways(SIXTH, [(ip_address("fe80::2"), PEER_MAC)])
    assert kinds(kernel) == [NEWNEIGH, NEWNEIGH, NEWROUTE] * 2
    assert [each[HEADER.size] for each in kernel.asked] == [7, 2, 2, 7, 10, 10]
    by_eth0 = attribute(8, struct.pack("=I", 2))
    assert [by_eth0 in each for each in kernel.asked] == [False, False, False, True, False, False]
    assert kernel.asked[2].endswith(
        attribute(1, PEER.packed) + attribute(4, struct.pack("=I", 7004)) + attribute(15, struct.pack("=I", 700))
    )


def test_ways(kernel: FakeKernel) -> None:
    """A whole one is in both tables; those of other devices do not count."""
    mine = neighbour(2, 7004, "10.0.0.2") + neighbour(2, 7004, "10.0.0.3") + neighbour(2, 2, "10.0.0.4")
    kernel.replies = [[mine, END], [neighbour(7, 7004, "10.0.0.2") + neighbour(7, 9, "10.0.0.3") + neighbour(7, 7004, "10.0.0.4"), END]]
    assert Vxlan().ways(DEVICE) == {PEER}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        pytest.param(link("vrrp-drain4", DEVICE.mac, 1500), True, id="as it was made"),
        pytest.param(link("vrrp-drain4", DEVICE.mac, 1500, flags=0), False, id="down"),
        pytest.param(link("other", DEVICE.mac, 1500), False, id="another's"),
        pytest.param(link("vrrp-drain4", PEER_MAC, 1500), False, id="another MAC"),
        pytest.param(link("vrrp-drain4", DEVICE.mac, 1450), False, id="another MTU"),
        pytest.param(status(ERROR, errno.ENODEV), False, id="gone"),
    ],
)
def test_is_up(kernel: FakeKernel, told: bytes, found: bool) -> None:
    """Only as it was made."""
    kernel.replies = [[told]]
    assert Vxlan().is_up(DEVICE) is found


def test_a_kernel_that_does_not_tell(kernel: FakeKernel) -> None:
    """Whether it is up is not known then."""
    kernel.replies = [[status(ERROR, errno.EPERM)]]
    with pytest.raises(PermissionError):
        Vxlan().is_up(DEVICE)


def test_remove(kernel: FakeKernel) -> None:
    """The device, and each rule of its own; where there is neither, and no such family, nothing is asked to go."""
    kernel.replies = [
        [ACKNOWLEDGED],
        [rule("vrrp-drain4", 700) + rule("vrrp-drain4", 701) + rule("vrrp-drain4", 700), END],
        *[[ACKNOWLEDGED]] * 2,
    ]
    Vxlan().remove(4, "vrrp-drain4", 700)
    assert kinds(kernel) == [DELLINK, 34, DELRULE, DELRULE]
    kernel.asked.clear()
    kernel.replies = [[status(ERROR, errno.EAFNOSUPPORT)]]
    Vxlan().remove(6, "vrrp-drain6", 700)
    assert kinds(kernel) == [34]


def test_mtu(kernel: FakeKernel) -> None:
    """That of the interface."""
    kernel.replies = [[link("eth0", PEER_MAC, 9001)]]
    assert Vxlan().mtu("eth0") == 9001
