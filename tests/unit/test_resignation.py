"""Our own adverts: a lowered priority and then 0, where the peers hear them. The socket is not a real one."""

import errno
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from unit.fakes import OWN, PEER, VIP, FakeSocket, rendered
from vrrp_drain import resignation
from vrrp_drain.advert import GROUP_V4, GROUP_V6, TTL, Advert, Packet, parse
from vrrp_drain.config import Config
from vrrp_drain.errors import SystemFault
from vrrp_drain.place import Place

OWN6, VIP6 = "fe80::1", "2001:db8::10"
SILENT = (0, bytes(8))


def send(place: Place, priority: int = 99, **keepalived: Any) -> None:
    resignation.send(Config.parse(rendered(3, keepalived={"virtual_router_id": 7, "preempt": False, **keepalived})), place, priority)


def place(source: str | None = OWN, *peers: str) -> Place:
    return Place("eth0", "eth0", ip_address(source) if source else None, tuple(map(ip_address, peers)))


def told(raw_socket: FakeSocket, source: str = OWN) -> list[tuple[str, Advert]]:
    """Return what a peer reads out of what was sent, with whom it was sent to."""
    return [(to, parse(Packet(ip_address(source), ip_address(to), TTL, payload))) for payload, (to, _) in raw_socket.sent]


@pytest.mark.parametrize(
    ("keepalived", "source", "group", "version", "advert_int"),
    [
        ({}, OWN, GROUP_V4, 2, 1.0),
        ({"vrrp_version": 3, "advert_int": 0.2}, OWN, GROUP_V4, 3, 0.2),
        ({"vip": VIP6, "advert_int": 0.2}, OWN6, GROUP_V6, 3, 0.2),
    ],
    ids=["version 2", "version 3", "IPv6"],
)
def test_the_group_hears_that_we_leave(
    raw_socket: FakeSocket, keepalived: dict[str, Any], source: str, group: object, version: int, advert_int: float
) -> None:
    """The two adverts are those of our virtual router: for the VIP alone, first with our draining priority, then with 0."""
    send(place(source), vips=["10.0.0.11"], **keepalived)
    vip = ip_address(keepalived.get("vip", VIP))
    assert told(raw_socket, source) == [(str(group), Advert(version, 7, priority, advert_int, (vip,), *SILENT)) for priority in (99, 0)]
    assert raw_socket.closed


@pytest.mark.parametrize("priority", [99, 66, 1])
def test_the_first_advert_says_why(raw_socket: FakeSocket, priority: int) -> None:
    """A draining priority arms the handoff at the peers, an unhealthy one does not: it is the caller's; the second is always 0."""
    send(place(), priority)
    assert [advert.priority for _, advert in told(raw_socket)] == [priority, 0]


def test_unicast_peers_hear_it_one_by_one(raw_socket: FakeSocket) -> None:
    """With keepalived.unicast every peer gets both adverts, and the group none."""
    send(place(OWN, PEER, "10.0.0.3"), unicast=True)
    assert [(to, advert.priority) for to, advert in told(raw_socket)] == [(PEER, 99), ("10.0.0.3", 99), (PEER, 0), ("10.0.0.3", 0)]


def test_a_password_is_in_them(raw_socket: FakeSocket) -> None:
    """Peers with the same keepalived.auth_pass accept our adverts: type 1, and the password filled up with zeros."""
    send(place(), auth_pass="cf-lb-1")
    assert [(advert.auth_type, advert.auth_data) for _, advert in told(raw_socket)] == [(1, b"cf-lb-1\0")] * 2


@pytest.mark.parametrize(
    ("keepalived", "source", "family", "bound", "options"),
    [
        (
            *({}, OWN, socket.AF_INET, (OWN, 0)),
            [
                (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255),
                (socket.IPPROTO_IP, socket.IP_TTL, 255),
                (socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0),
            ],
        ),
        (
            *({"vip": VIP6}, OWN6, socket.AF_INET6, (OWN6, 0, 0, 2)),
            [
                (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255),
                (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255),
                (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0),
                (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, 2),
            ],
        ),
    ],
    ids=["IPv4", "IPv6"],
)
def test_peers_accept_them_and_our_keepalived_does_not_hear_them(
    raw_socket: FakeSocket, keepalived: dict[str, Any], source: str, family: int, bound: object, options: list[object]
) -> None:
    """They leave our interface from our address with a TTL of 255, and no copy comes back."""
    send(place(source), **keepalived)
    assert raw_socket.opened == (family, socket.SOCK_RAW, 112)
    assert raw_socket.bound == bound
    assert {(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0"), *options} == set(raw_socket.options)


def test_without_an_address_nothing_can_be_said(raw_socket: FakeSocket) -> None:
    """An interface that lost its address is named."""
    with pytest.raises(SystemFault, match=r"^eth0 has no address to send an advert from$"):
        send(place(None))
    assert raw_socket.opened == ()


def test_what_the_kernel_does_not_send_says_so(raw_socket: FakeSocket) -> None:
    """An interface that is down is a fault with the kernel's reason, and no socket stays open."""
    raw_socket.send_error = OSError(errno.ENETDOWN, "Network is down")
    with pytest.raises(SystemFault, match=r"^cannot send an advert on eth0: Network is down$"):
        send(place())
    assert raw_socket.closed


@pytest.mark.parametrize("call", ["socket", "if_nametoindex"])
def test_a_socket_that_cannot_be_had_says_so(raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Neither a missing right nor an interface that went raises anything else."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "refused")

    monkeypatch.setattr(socket, call, refuse)
    with pytest.raises(SystemFault, match=r"^cannot send an advert on eth0: refused$"):
        send(place())


@pytest.mark.parametrize(
    ("password", "known"), [(None, (0, bytes(8))), ("a", (1, b"a" + bytes(7))), ("12345678", (1, b"12345678"))], ids=str
)
def test_authentication(password: str | None, known: tuple[int, bytes]) -> None:
    """No password is type 0; a password is type 1 and always fills eight bytes."""
    assert resignation.authentication(password) == known
