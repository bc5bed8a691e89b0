"""Which packets are of a socket here: each kind of socket and of frontend, through the rules that we really install."""

import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from unit.support.kernel import MARK, NO_MARK, Packet, Table
from vrrp_drain.handoff import sockets
from vrrp_drain.handoff.forwarding import LATEST, LEAVERS, LEAVING
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.situation import TABLE
from vrrp_drain.handoff.tables import installation
from vrrp_drain.linux.nftables.objects import FAMILIES
from vrrp_drain.linux.sock_diag import End
from vrrp_drain.runtime.ip import IPAddress

VIPS: dict[int, IPAddress] = {4: ip_address("10.0.0.10"), 6: ip_address("fd00::10")}
CLIENTS = {4: ip_address("10.0.0.200"), 6: ip_address("fd00::200")}
PEERS = {4: ip_address("10.0.0.2"), 6: ip_address("fd00::2")}
PORT, OTHER_PORT = 80, 443
ACK, SYN, RST = 0x10, 0x02, 0x04
VERSIONS = pytest.mark.parametrize("version", VIPS)


class Frontends(NamedTuple):
    """Ports with frontends that are ``bound`` to the VIP, and with connections that are ``older`` than marks."""

    bound: Sequence[int] = ()
    older: Sequence[int] = ()


WIDE, NARROW, ELSEWHERE = Frontends(), Frontends((PORT,)), Frontends((OTHER_PORT,))
OLDER, OLDER_ELSEWHERE = Frontends((PORT,), (PORT,)), Frontends((PORT, OTHER_PORT), (OTHER_PORT,))


def packet(version: int, flags: int = ACK, sock: str = "", *, port: int = PORT, protocol: int = socket.IPPROTO_TCP) -> Packet:
    source, vip = CLIENTS[version], VIPS[version]
    if version == 4:
        network = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, protocol, 0) + source.packed + vip.packed
    else:
        network = struct.pack("!IHBB", 6 << 28, 20, protocol, 64) + source.packed + vip.packed
    transport = struct.pack("!HHIIBBHHH", 40_000, port, 1, 1, 5 << 4, flags, 0, 0, 0)
    return Packet(bytearray(14), bytearray(network), bytearray(transport), protocol, sock)


def table(version: int, frontends: Frontends, *, left: bool = True) -> Table:
    """Return a table that a peer has left, or nobody."""
    family, vip = FAMILIES[version], VIPS[version]
    bound, older = frontends
    made = Table(installation(Group((vip,), "eth0", 1, 3, bytes(16), window=60.0), 2))
    if bound:
        there: list[End] = [(vip, port) for port in bound]
        clients: list[tuple[End, End]] = [((CLIENTS[version], 40_000), (vip, port)) for port in older]
        for orders in (sockets.marking(family, TABLE, 1 << 28, there), *sockets.telling_apart(family, TABLE, there, clients)):
            for order in orders:
                made.change(order)
    if left:
        made.sets[LEAVERS] = {LATEST: PEERS[version].packed}
        made.sets[LEAVING] = {vip.packed: b""}
    return made


@VERSIONS
@pytest.mark.parametrize(
    ("frontends", "sock", "flags", "stays"),
    [
        pytest.param(WIDE, "connection", ACK, True, id="a connection"),
        pytest.param(WIDE, "marked", ACK, True, id="a connection with somebody's mark"),
        pytest.param(WIDE, "listener", ACK, False, id="a listener"),
        pytest.param(WIDE, "listener with a mark", ACK, False, id="a listener with somebody's mark"),
        pytest.param(WIDE, "listener at the VIP", ACK, True, id="a listener at the VIP of which we do not know"),
        pytest.param(WIDE, "", ACK, False, id="nobody"),
        pytest.param(WIDE, "", RST, False, id="a reset for nobody"),
        pytest.param(WIDE, "", SYN | ACK, False, id="an answer for nobody"),
        pytest.param(WIDE, "TIME_WAIT", ACK, False, id="an earlier connection"),
        pytest.param(WIDE, "handshake", ACK, False, id="a handshake of long ago"),
        pytest.param(WIDE, "listener", SYN, True, id="a new connection"),
        pytest.param(NARROW, "listener at the VIP", ACK, False, id="a listener at the VIP"),
        pytest.param(NARROW, "marked", ACK, True, id="a connection with it"),
        pytest.param(NARROW, "listener at the VIP", SYN, True, id="a new connection with it"),
        pytest.param(NARROW, "TIME_WAIT", ACK, False, id="an earlier connection with it"),
        pytest.param(ELSEWHERE, "connection", ACK, True, id="a connection with the wildcard beside it"),
        pytest.param(ELSEWHERE, "listener", ACK, False, id="a listener at the wildcard beside it"),
        pytest.param(OLDER, "connection", ACK, True, id="a connection that is older than marks"),
        pytest.param(OLDER_ELSEWHERE, "listener at the VIP", ACK, False, id="a listener of whose client another one is older"),
    ],
)
def test_whose_a_packet_is(version: int, frontends: Frontends, sock: str, flags: int, stays: bool) -> None:
    """While a peer has left: what a socket here knows stays, the rest goes on to the peer. While nobody has, all of it stays."""
    kept, copies = table(version, frontends).receive(packet(version, flags, sock))
    assert (kept, len(copies)) == (stays, 0 if stays else 1)
    assert table(version, frontends, left=False).receive(packet(version, flags, sock)) == (True, [])


@VERSIONS
@pytest.mark.parametrize("frontends", [WIDE, NARROW], ids=["wildcard", "VIP"])
@pytest.mark.parametrize("sock", ["handshake", "listener", "listener at the VIP", "TIME_WAIT", ""])
def test_a_handshake_stays_where_it_began(version: int, frontends: Frontends, sock: str) -> None:
    """Its last packet finds a request, or with SYN cookies the listener alone. Both ends tell: what the client opened elsewhere from the
    same port is none of it."""
    made = table(version, frontends)
    assert made.receive(packet(version, SYN, sock))[0]
    assert made.receive(packet(version, ACK, sock))[0]
    assert not made.receive(packet(version, ACK, "listener", port=OTHER_PORT))[0]


@VERSIONS
def test_a_flood_is_remembered_for_less(version: int) -> None:
    """Beyond so many SYNs a second each is remembered as well, by another rule; one for which there is no room is let in all the same."""
    made = table(version, WIDE)
    one = packet(version, SYN, "listener")
    one.flooded = True
    assert made.receive(one)[0]
    assert len(made.sets[sockets.OPENING]) == 1
    rule = next(rule for chain, rule, comment in sockets.remembering(FAMILIES[version], "armed") if comment == "a flood of handshakes")
    (timeout,) = (dict(each["attrs"][1][1]["attrs"])["NFTA_DYNSET_TIMEOUT"] for each in rule if each["attrs"][0][1] == "dynset")
    assert timeout == 1000
    made.sets[sockets.OPENING] = dict.fromkeys((bytes((n >> 16, n >> 8 & 255, n & 255)) for n in range(1 << 18)), b"")
    assert made.receive(packet(version, SYN, "listener", port=OTHER_PORT))[0]


@VERSIONS
@pytest.mark.parametrize(
    ("port", "protocol", "before", "after"),
    [
        pytest.param(PORT, socket.IPPROTO_TCP, NO_MARK, MARK, id="to a frontend at the VIP"),
        pytest.param(PORT, socket.IPPROTO_TCP, b"\1\0\0\0", b"\1\0\0\0", id="with somebody's mark"),
        pytest.param(OTHER_PORT, socket.IPPROTO_TCP, NO_MARK, NO_MARK, id="to another one"),
        pytest.param(PORT, socket.IPPROTO_UDP, NO_MARK, NO_MARK, id="no TCP"),
    ],
)
def test_who_gets_our_mark(version: int, port: int, protocol: int, before: bytes, after: bytes) -> None:
    """As the last thing before a socket, and whether somebody has left or not."""
    one = packet(version, SYN, port=port, protocol=protocol)
    one.mark = before
    assert table(version, NARROW, left=False).receive(one, chain=sockets.MARKS) == (True, [])
    assert one.mark == after


def test_older_ones_come_before_their_listener() -> None:
    """In portions that a message has room for; what is told to be a listener at last is so in the last transaction alone."""
    vip, family = VIPS[4], FAMILIES[4]
    older: list[tuple[End, End]] = [((ip_address(0x0A010000 + n), 40_000), (vip, PORT)) for n in range(1100)]
    portions = [*sockets.telling_apart(family, TABLE, [(vip, PORT)], older)]
    names = [[dict(order.attributes)["NFTA_SET_ELEM_LIST_SET"] for order in orders] for orders in portions]
    assert names == [["older"]] * 4 + [["bound"]]
    made = Table([*installation(Group((vip,), "eth0", 1, 3, bytes(16), window=60.0), 2), *(each for some in portions for each in some)])
    assert len(made.sets["older"]) == 1100


def test_an_end_is_read_as_it_is_written() -> None:
    for there in ((VIPS[4], 80), (VIPS[6], 443)):
        assert sockets.end_of(sockets.end(there), FAMILIES[there[0].version]) == there
