"""Which packets of QUIC are handed on, and that nothing else of UDP is: through the rules that we really install."""

import socket
import struct
from ipaddress import ip_address

import pytest

from unit.support.kernel import Packet, Table
from vrrp_drain.handoff.forwarding import LATEST, LEAVERS, LEAVING
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.quic import OPENED
from vrrp_drain.handoff.tables import installation
from vrrp_drain.runtime.ip import IPAddress

VIPS = [ip_address("10.0.0.10"), ip_address("fd00::10")]
LEAVER = {4: ip_address("10.0.0.1"), 6: ip_address("fd00::1")}
CLIENT = {4: ip_address("10.0.0.200"), 6: ip_address("fd00::200")}
PORT, OTHER = 443, 53
INITIAL, ZERO_RTT, HANDSHAKE = 0xC3, 0xD3, 0xE3  # RFC 9000 section 17.2, version 1
INITIAL2, HANDSHAKE2 = 0xD3, 0xF3  # RFC 9369 section 3.2, version 2
SHORT = (0x40, 0x43, 0x7F, 0x23)  # RFC 9000 section 17.3; the last without the fixed bit, RFC 9287
STAYS, HANDED_ON = (True, 0), (False, 1)


def packet(vip: IPAddress, first: int | None, sock: str = "listener", *, port: int = PORT, client_port: int = 40_000) -> Packet:
    """A datagram whose first byte is ``first``, or an empty one."""
    data = b"" if first is None else bytes((first,)) + bytes(30)
    datagram = struct.pack("!HHHH", client_port, port, 8 + len(data), 0) + data
    if vip.version == 4:
        network = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0)
    else:
        network = struct.pack("!IHBB", 6 << 28, len(datagram), socket.IPPROTO_UDP, 64)
    ends = CLIENT[vip.version].packed + vip.packed
    return Packet(bytearray(14), bytearray(network + ends), bytearray(datagram), socket.IPPROTO_UDP, sock)


def table(vip: IPAddress, *ports: int, armed: bool = True) -> Table:
    """A new MASTER to which one has left its clients."""
    made = Table(installation(Group((vip,), "eth0", 1, 3, bytes(16), window=60.0, quic_ports=ports), 2))
    if armed:
        made.sets[LEAVERS], made.sets[LEAVING] = {LATEST: LEAVER[vip.version].packed}, {vip.packed: b""}
    return made


def outcome(made: Table, sent: Packet) -> tuple[bool, int]:
    """Return whether it stays, and how many were sent on."""
    stays, copies = made.receive(sent)
    return stays, len(copies)


@pytest.mark.parametrize("vip", VIPS, ids=str)
@pytest.mark.parametrize("sock", ["listener", ""])
def test_what_is_of_a_connection_that_nobody_here_knows(vip: IPAddress, sock: str) -> None:
    """Short headers and the end of a handshake go on, to whoever left; where nobody has left, they stay."""
    for first in (*SHORT, HANDSHAKE, HANDSHAKE2):
        assert outcome(table(vip, PORT), packet(vip, first, sock)) == HANDED_ON
        assert outcome(table(vip, PORT, armed=False), packet(vip, first, sock)) == STAYS


@pytest.mark.parametrize("vip", VIPS, ids=str)
@pytest.mark.parametrize("first", [*SHORT, HANDSHAKE, INITIAL])
def test_what_a_connection_here_knows(vip: IPAddress, first: int) -> None:
    """Its socket is connected, and bound to the VIP."""
    assert outcome(table(vip, PORT), packet(vip, first, "connection")) == STAYS


@pytest.mark.parametrize("vip", VIPS, ids=str)
@pytest.mark.parametrize("first", [INITIAL, ZERO_RTT, INITIAL2])
def test_who_opens_a_connection_has_it_here(vip: IPAddress, first: int) -> None:
    """Also where haproxy has one socket for all: what comes from there next stays, and nobody else's does."""
    made = table(vip, PORT)
    assert outcome(made, packet(vip, first)) == STAYS
    assert outcome(made, packet(vip, SHORT[0])) == STAYS
    assert outcome(made, packet(vip, SHORT[0], client_port=40_001)) == HANDED_ON


def test_too_many_that_open_connections() -> None:
    """Under a flood of invented sources who comes then is not remembered; haproxy's sockets tell, as long as each has its own."""
    vip = VIPS[0]
    made = table(vip, PORT)
    made.sets[OPENED] = {number.to_bytes(16, "big"): b"" for number in range(1 << 16)}
    assert outcome(made, packet(vip, INITIAL)) == STAYS
    assert outcome(made, packet(vip, SHORT[0], "connection")) == STAYS


@pytest.mark.parametrize("vip", VIPS, ids=str)
def test_other_services_are_left_alone(vip: IPAddress) -> None:
    """Whatever they send: at a port that is not named, at any where none is, and what has no first byte."""
    for first in (*SHORT, HANDSHAKE, INITIAL, None):
        assert outcome(table(vip, PORT), packet(vip, first, port=OTHER)) == STAYS
        assert outcome(table(vip), packet(vip, first)) == STAYS
    assert outcome(table(vip, 8443, PORT), packet(vip, SHORT[0])) == HANDED_ON


def test_a_frontend_that_is_bound_to_the_vip() -> None:
    """Its listener looks like a connection: a move cuts its connections, as without the rules, and no new one."""
    assert outcome(table(VIPS[0], PORT), packet(VIPS[0], SHORT[0], "listener at the VIP")) == STAYS
