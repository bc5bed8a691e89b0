"""Links, routes and addresses: what is asked of a kernel that is not there, and what the real one says of lo."""

import errno
import os
import socket
import struct

import pytest

from unit.support.netlink import ACKNOWLEDGED, END, FakeKernel, message, status
from vrrp_drain.linux.route_socket import RouteSocket

NEW_ADDRESS, DELETE_ADDRESS, NEW_ROUTE = 20, 21, 24
REQUEST, ACK, CREATE_ONLY = 1, 4, 0x600  # NLM_F_CREATE | NLM_F_EXCL


def route(table: int, target: bytes) -> bytes:
    """Return a route to a network of 24 bits, in ``table``."""
    return message(NEW_ROUTE, struct.pack("=BBBBBBBBI", 2, 24, 0, 0, table, 0, 0, 0, 0) + struct.pack("=HH", 8, 1) + target)


def test_lo_as_it_is() -> None:
    """The real kernel tells its name, number and address, of one link as of all of them."""
    rtnetlink = RouteSocket()
    (index,) = rtnetlink.link_lookup("lo")
    assert index == socket.if_nametoindex("lo")
    (link,) = rtnetlink.get_links(index)
    assert (link["index"], link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_ADDRESS")) == (index, "lo", "00:00:00:00:00:00")
    assert "lo" in [each.get_attr("IFLA_IFNAME") for each in rtnetlink.get_links()]
    on_lo = [each.get_attr("IFA_ADDRESS") for each in rtnetlink.get_addr(family=socket.AF_INET, index=index)]
    assert on_lo == [each.get_attr("IFA_ADDRESS") for each in rtnetlink.get_addr() if (each["index"], each["family"]) == (index, 2)]
    rtnetlink.close()


def test_a_link_that_is_not_there() -> None:
    """By name it is found nowhere; by number the kernel says that there is no such device."""
    rtnetlink = RouteSocket()
    assert rtnetlink.link_lookup("no-such-link") == []
    with pytest.raises(OSError, match="No such device"):
        rtnetlink.get_links(2**31 - 1)
    rtnetlink.close()


def test_only_routes_of_one_table(kernel: FakeKernel) -> None:
    """The kernel tells those of all tables."""
    kernel.replies = [[route(254, bytes((10, 0, 0, 0))) + route(255, bytes((10, 0, 1, 0))), END]]
    (found,) = RouteSocket().get_routes(socket.AF_INET, 254)
    assert (found["dst_len"], found.get_attr("RTA_DST")) == (24, "10.0.0.0")


@pytest.mark.parametrize(
    ("command", "kind", "flags"), [("add", NEW_ADDRESS, REQUEST | ACK | CREATE_ONLY), ("del", DELETE_ADDRESS, REQUEST | ACK)]
)
def test_an_address_is_added_and_deleted(kernel: FakeKernel, command: str, kind: int, flags: int) -> None:
    """struct ifaddrmsg, and the address as local and as peer's: the kernel deletes by the first."""
    kernel.replies = [[ACKNOWLEDGED]]
    RouteSocket().addr(command, index=7, address="10.0.0.10", prefixlen=32, scope=254)
    (asked,) = kernel.asked
    assert struct.unpack_from("=HH", asked, 4) == (kind, flags)
    assert struct.unpack_from("=BBBBI", asked, 16) == (socket.AF_INET, 32, 0, 254, 7)
    attributes = {asked[at + 2]: asked[at + 4 : at + 8] for at in (24, 32)}  # IFA_ADDRESS, IFA_LOCAL
    assert attributes == {1: bytes((10, 0, 0, 10)), 2: bytes((10, 0, 0, 10))}


def test_an_address_that_nothing_is_sent_from(kernel: FakeKernel) -> None:
    """IPv6: preferred for no time, valid for ever, and nobody is asked whether it is used already."""
    kernel.replies = [[ACKNOWLEDGED]]
    lifetimes = {"ifa_preferred": 0, "ifa_valid": 2**32 - 1}
    RouteSocket().addr("add", index=1, address="fd00::10", prefixlen=128, flags=2, IFA_CACHEINFO=lifetimes)
    (asked,) = kernel.asked
    assert struct.unpack_from("=BBBBI", asked, 16) == (socket.AF_INET6, 128, 2, 0, 1)
    assert asked.endswith(struct.pack("=HHIIII", 20, 6, 0, 2**32 - 1, 0, 0))


def test_an_address_that_the_kernel_refuses(kernel: FakeKernel) -> None:
    """Its reason comes through."""
    kernel.replies = [[status(2, errno.EEXIST)]]
    with pytest.raises(FileExistsError, match=os.strerror(errno.EEXIST)):
        RouteSocket().addr("add", index=1, address="10.0.0.10", prefixlen=32)
