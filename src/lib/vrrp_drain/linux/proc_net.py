"""Listeners as /proc/net/tcp and tcp6 tell them (proc_pid_net(5)): on kernels without the module inet_diag.

It says less than sock_diag: not how many connections may wait, nor whether a listener at an IPv6 address has IPv4 clients as well.
"""

import ipaddress
import sys
from pathlib import Path

from vrrp_drain.runtime.ip import IPAddress

from .sock_diag import LISTEN, Socket

FILES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_WORD = 8  # hexadecimal digits, in the byte order of the machine
_LOCAL, _STATE, _INODE = 1, 3, 9  # columns


def listeners() -> list[Socket]:
    """Return who listens, in both families. Raises OSError, and ValueError where the kernel writes something else."""
    found = []
    for file in FILES:
        if not file.exists() and file is not FILES[0]:
            continue  # no IPv6
        for line in file.read_text().splitlines()[1:]:
            columns = line.split()
            if len(columns) > _INODE and int(columns[_STATE], 16) == LISTEN:
                address, _, port = columns[_LOCAL].partition(":")
                found.append(Socket(LISTEN, _address(address), int(port, 16), int(columns[_INODE])))
    return found


def _address(digits: str) -> IPAddress:
    words = (int(digits[at : at + _WORD], 16) for at in range(0, len(digits), _WORD))
    return ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
