"""A kernel that lacks modules: vrrpctl asks the real one, but for something that no kernel has in the place of what is lacking.

So every answer is the kernel's own: what it says of an expression of nftables, a kind of interface, a protocol of sock_diag that it does
not know, and does not find a module for. Whatever runs vrrpctl on the node, its scripts and the watcher, finds that kernel.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .node import Node

TCP_DIAG, UDP_DIAG = "socket 6", "socket 17"  # by the protocol of the sockets that are asked for, IPPROTO_*
SOCK_DIAG, NFTABLES = "sock_diag any", "nftables any"
VXLAN, MACVLAN = "link vxlan", "link macvlan"
LAUNCHER = """#!/usr/bin/python3 -IS
import runpy, socket, struct, sys

LACKING = {lacking!r}
ROUTE, SOCK_DIAG, NETFILTER = 0, 4, 12
HEADER = struct.Struct("=IHHII")


def of_sock_diag(message):
    family, protocol = message[16:18]
    if ("sock_diag", "any") in LACKING:
        family = 44
    if ("socket", str(protocol)) in LACKING:
        protocol = 199
    return message[:16] + bytes((family, protocol)) + message[18:]


def of_route(message):
    for what, name in LACKING:
        if what == "link":
            message = message.replace(name.encode() + b"\\0", b"?" * len(name) + b"\\0")
    return message


def of_nftables(message):
    if ("nftables", "any") in LACKING:
        message = message[:5] + bytes((15,)) + message[6:]  # a subsystem of nfnetlink that there is not
    for what, name in LACKING:
        expression, _, family = name.partition(" of ")
        if what == "expression" and int(family or message[16]) == message[16]:
            named = struct.pack("=HH", 5 + len(expression), 1) + expression.encode() + b"\\0"
            message = message.replace(named, named[:4] + b"?" * len(expression) + b"\\0")
    return message


CHANGES = {{ROUTE: of_route, SOCK_DIAG: of_sock_diag, NETFILTER: of_nftables}}
genuine = socket.socket.send


def send(self, data, *flags):
    if self.family != socket.AF_NETLINK or self.proto not in CHANGES:
        return genuine(self, data, *flags)
    left, changed = bytes(data), b""
    while left:
        length = (HEADER.unpack_from(left)[0] + 3) & ~3
        message, left = left[:length], left[length:]
        changed += CHANGES[self.proto](message)
    return genuine(self, changed, *flags)


socket.socket.send = send
sys.argv[0] = __file__ + ".real"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def expression(name: str, family: int | None = None) -> str:
    """Name an expression of nftables, of one family, NFPROTO_*, or of all."""
    return f"expression {name}" + (f" of {family}" if family else "")


def take_away(node: "Node", *lacking: str) -> None:
    """From now on, until its packages are installed anew, ``node``'s vrrpctl finds a kernel without ``lacking``."""
    vrrpctl = node.vcap / "packages/vrrp-drain/bin/vrrpctl"
    real = vrrpctl.with_name("vrrpctl.real")
    if not real.exists():
        vrrpctl.rename(real)  # the file itself is shared with other nodes
    else:
        vrrpctl.unlink()
    vrrpctl.write_text(LAUNCHER.format(lacking=[tuple(each.split(" ", 1)) for each in lacking]))
    vrrpctl.chmod(0o755)
