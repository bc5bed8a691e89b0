"""Which addresses a machine has. Who waits for one asks a hundred times a second: netlink would take a tenth of a core for that."""

import array
import fcntl
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from .namespace import Namespace

_SIOCGIFCONF = 0x8912  # netdevice(7): the IPv4 addresses of all interfaces
_MOST = 256  # with dozens of VIPs, each on lo as well
_ENTRY = struct.Struct("16s4x4s16x")  # struct ifreq with a struct sockaddr_in


Found = Iterator[tuple[str, IPv4Address | IPv6Address]]  # the interface's name and an address of it


def has_address(machine: Namespace, address: str) -> bool:
    """Tell whether ``address`` is on an interface of the machine but lo, as a rule eth0."""
    wanted = ip_address(address)
    found = _of_ipv4(machine) if isinstance(wanted, IPv4Address) else _of_ipv6(machine)
    return any(name != "lo" and each == wanted for name, each in found)


def _of_ipv4(machine: Namespace) -> Found:
    entries = array.array("B", bytes(_MOST * _ENTRY.size))
    with machine.in_network(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as opened:
        told = fcntl.ioctl(opened, _SIOCGIFCONF, struct.pack("iP", len(entries), entries.buffer_info()[0]))
    length, _ = struct.unpack("iP", told)
    for name, packed in _ENTRY.iter_unpack(entries[:length].tobytes()):
        yield name.rstrip(b"\0").decode(), IPv4Address(packed)


def _of_ipv6(machine: Namespace) -> Found:
    for line in Path(f"/proc/{machine.pid}/net/if_inet6").read_text().splitlines():
        packed, *_, name = line.split()
        yield name, IPv6Address(bytes.fromhex(packed))
