"""Who has an address tells the segment: the packets, as another implementation reads them. The socket is not a real one."""

import errno
import socket
from ipaddress import ip_address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from unit.support.fakes import MAC, VIP, FakeSocket
from vrrp_drain.linux.announcement import announce
from vrrp_drain.linux.neighbour import announced_mac
from vrrp_drain.runtime.errors import SystemFault

V6 = "fd00::10"


def test_an_ipv4_address(raw_socket: FakeSocket) -> None:
    """A gratuitous ARP request to everybody: sender and target are the address (RFC 5227 section 2.3). A client learns the MAC of it."""
    announce("eth0", MAC, ip_address(VIP))
    ((frame,),) = raw_socket.sent
    read = Ether(frame)
    assert (read.dst, read.src) == ("ff:ff:ff:ff:ff:ff", MAC)
    assert (read[ARP].op, read[ARP].hwsrc, read[ARP].psrc, read[ARP].pdst) == (1, MAC, VIP, VIP)
    assert announced_mac(frame[14:], ip_address(VIP)) == MAC
    assert (raw_socket.opened, raw_socket.bound, raw_socket.closed) == ((socket.AF_PACKET, socket.SOCK_RAW), ("eth0", 0), True)


def test_an_ipv6_address(raw_socket: FakeSocket) -> None:
    """A neighbour advertisement to all nodes that overrides (RFC 4861 section 7.2.6); its hop limit proves that it is of this segment."""
    announce("eth0", MAC, ip_address(V6))
    ((message, where),) = raw_socket.sent
    read = ICMPv6ND_NA(message)
    assert (read.tgt, read.R, read.S, read.O, read[ICMPv6NDOptDstLLAddr].lladdr) == (V6, 0, 0, 1, MAC)
    assert where == ("ff02::1", 0, 0, 2)
    assert (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255) in raw_socket.options
    assert announced_mac(bytes(IPv6(hlim=255) / ICMPv6ND_NA(message)), ip_address(V6)) == MAC


@pytest.mark.parametrize("address", [VIP, V6])
def test_an_interface_that_is_away(raw_socket: FakeSocket, address: str) -> None:
    """The reason is told."""
    raw_socket.send_error = OSError(errno.ENETDOWN, "")
    with pytest.raises(SystemFault, match=rf"^cannot announce {address} on eth0: Network is down$"):
        announce("eth0", MAC, ip_address(address))
