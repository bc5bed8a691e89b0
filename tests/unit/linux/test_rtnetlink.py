"""The kernel's links, routes and addresses, over an rtnetlink that is not there."""

import errno
import os
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from unit.support.fakes import MAC, OWN, VIP, FakeIPR, FakeSocket, Message, address, link, route
from vrrp_drain.linux.obstacle import Obstacle
from vrrp_drain.linux.rtnetlink import AddressWatch, Netlink
from vrrp_drain.runtime.errors import ConfigError, SystemFault

IPV4, IPV6 = ip_address(VIP), ip_address("2001:db8::10")
MAIN_TABLE = 254


@pytest.mark.parametrize(
    ("vip", "routes", "interface"),
    [
        pytest.param(VIP, [route("10.0.0.0/24", 2)], "eth0", id="the connected network"),
        pytest.param(VIP, [route("10.0.0.0/8", 2), route("10.0.0.0/28", 3)], "eth1", id="the longest prefix, last"),
        pytest.param(VIP, [route("10.0.0.0/28", 3), route("10.0.0.0/8", 2)], "eth1", id="the longest prefix, first"),
        pytest.param(VIP, [route("10.0.0.0/24", 2), route("10.0.0.0/24", 3)], "eth0", id="the kernel's first of equals"),
        pytest.param(VIP, [route("10.0.0.0/24", 1), route("10.0.0.0/16", 2)], "eth0", id="not lo"),
        pytest.param(VIP, [route(f"{VIP}/32", 3), route("10.0.0.0/24", 2)], "eth0", id="no host route"),
        pytest.param(VIP, [route("10.0.0.0/25", 3, gateway="10.1.0.1"), route("10.0.0.0/24", 2)], "eth0", id="no gateway"),
        pytest.param(VIP, [route("0.0.0.0/0", 3), route("10.0.0.0/24", 2)], "eth0", id="no default route"),
        pytest.param(VIP, [route("10.0.1.0/24", 3), route("10.0.0.0/24", 2)], "eth0", id="no other network"),
        pytest.param(VIP, [route("10.0.0.0/25", 9), route("10.0.0.0/24", 2)], "eth0", id="no interface that went meanwhile"),
        pytest.param(str(IPV6), [route("fe80::/64", 2), route("2001:db8::/64", 3)], "eth1", id="IPv6"),
    ],
)
def test_auto_finds_the_interface_of_the_vip(vip: str, routes: list[Message], interface: str) -> None:
    """auto is the interface with the most specific connected network that has the VIP in it."""
    ipr = FakeIPR(routes=routes)
    assert Netlink(ipr).interface_for(ip_address(vip), "auto") == interface
    assert ipr.asked_tables == [MAIN_TABLE]


@pytest.mark.parametrize("routes", [[], [route("0.0.0.0/0", 2, gateway="10.0.0.254")], [route("192.168.0.0/16", 2)]])
def test_auto_without_a_network_is_refused(routes: list[Message]) -> None:
    """Where no interface has the VIP's network, the operator is told to name one."""
    with pytest.raises(ConfigError, match=rf"^keepalived.interface is 'auto': no interface has a connected network with {VIP}"):
        Netlink(FakeIPR(routes=routes)).interface_for(IPV4, "auto")


def test_a_named_interface_is_taken(netlink: Netlink) -> None:
    """A name in the manifest wins over the routes."""
    assert netlink.interface_for(IPV4, "eth1") == "eth1"


def test_a_missing_interface_is_refused(netlink: Netlink) -> None:
    """The message gives the names that there are."""
    with pytest.raises(ConfigError, match=r"^keepalived.interface is 'eth7': must be auto or one of eth0, eth1, lo$"):
        netlink.interface_for(IPV4, "eth7")


def test_index_and_macs(netlink: Netlink) -> None:
    """An interface has its own index and link-layer address, the machine has all of them."""
    assert netlink.index("eth1") == 3
    assert netlink.mac("eth0") == MAC
    assert netlink.macs() == {MAC, "02:00:00:00:01:01", "00:00:00:00:00:00"}


@pytest.mark.parametrize("mac", ["00:00:5e:00:01:07", "00:00:5e:00:02:07"], ids=["IPv4", "IPv6"])
def test_a_virtual_mac_is_nobodys_own(ipr: FakeIPR, mac: str) -> None:
    """VRRP's virtual MAC answers from whoever is MASTER: that we have it as well does not make the answer ours."""
    ipr.links.append(link(4, "vrrp.7", mac))
    assert mac not in Netlink(ipr).macs()


@pytest.mark.parametrize("ask", [Netlink.index, Netlink.mac])
def test_an_interface_that_went_is_a_fault_of_the_system(netlink: Netlink, ask: Callable[[Netlink, str], object]) -> None:
    """Asking what an interface is that is gone says so."""
    with pytest.raises(SystemFault, match="interface eth7 does not exist"):
        ask(netlink, "eth7")


def test_an_interface_that_is_not_there_has_no_address(netlink: Netlink) -> None:
    """A virtual MAC's interface comes and goes with keepalived: without it the VIP is not on it."""
    assert netlink.addresses_on("vrrp.7", 4) == []
    assert not netlink.has_address("vrrp.7", ip_address(OWN))


@pytest.mark.parametrize(("family", "addresses"), [(4, [OWN, VIP]), (6, ["2001:db8::1", "fe80::1"])])
def test_addresses_of_an_interface_keep_their_order(ipr: FakeIPR, family: int, addresses: list[str]) -> None:
    """The first one is what keepalived sends from; other families and interfaces are left out."""
    ipr.addresses += [address(2, each) for each in ("2001:db8::1/64", f"{VIP}/32", "fe80::1/64")] + [address(3, "10.0.0.3/24")]
    assert Netlink(ipr).addresses_on("eth0", family) == [ip_address(each) for each in addresses]


@pytest.mark.parametrize(("index", "length", "here"), [(2, 32, True), (2, 24, True), (1, 32, False), (3, 32, False)])
def test_has_address_means_that_interface(index: int, length: int, here: bool) -> None:
    """The VIP on lo or on another interface is not the VIP on ours; its prefix length does not matter."""
    netlink = Netlink(FakeIPR(addresses=[address(2, f"{OWN}/24"), address(index, f"{VIP}/{length}")]))
    assert netlink.has_address("eth0", IPV4) is here


def test_ipv6_addresses_are_compared_by_value() -> None:
    """Another spelling of the same IPv6 address is the same address."""
    netlink = Netlink(FakeIPR(addresses=[address(2, "2001:0db8:0:0::10/64")]))
    assert netlink.has_address("eth0", IPV6)


def test_addresses_are_those_of_the_whole_machine(netlink: Netlink) -> None:
    """All interfaces count, loopback too."""
    assert netlink.addresses() == {ip_address("127.0.0.1"), ip_address(OWN)}


def test_remove_address_takes_exactly_the_vip(ipr: FakeIPR, netlink: Netlink) -> None:
    """The VIP leaves our interface with whatever prefix lengths it has there; every other address stays."""
    others = list(ipr.addresses)
    on_lo = address(1, f"{VIP}/32")
    ipr.addresses = [*others, on_lo, address(2, f"{VIP}/32"), address(2, f"{VIP}/24")]
    netlink.remove_address("eth0", IPV4)
    assert ipr.addresses == [*others, on_lo]


def test_remove_address_forgives_that_somebody_was_faster(ipr: FakeIPR, netlink: Netlink) -> None:
    """An address that went between the look and the deletion is no error."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    ipr.deletion_error = errno.EADDRNOTAVAIL
    netlink.remove_address("eth0", IPV4)


def test_remove_address_says_why_it_could_not(ipr: FakeIPR, netlink: Netlink) -> None:
    """Any other refusal of the kernel is a fault that names address and interface."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    ipr.deletion_error = errno.EPERM
    with pytest.raises(SystemFault, match=f"{VIP} could not be taken off eth0: Operation not permitted"):
        netlink.remove_address("eth0", IPV4)


def test_the_socket_is_closed(ipr: FakeIPR) -> None:
    """Leaving the context closes rtnetlink."""
    with Netlink(ipr):
        assert not ipr.closed
    assert ipr.closed


def test_the_watch_hears_addresses_and_links(raw_socket: FakeSocket) -> None:
    """The groups are those of rtnetlink(7): links, IPv4 addresses, IPv6 addresses."""
    AddressWatch()
    assert raw_socket.bound == (0, 0x1 | 0x10 | 0x100)


def test_a_lost_message_is_as_good_as_a_message(raw_socket: FakeSocket) -> None:
    """When the kernel had to drop notifications, the watch still empties its socket and goes on."""
    raw_socket.inbox = [b"message", OSError(errno.ENOBUFS, "lost"), b"message"]
    watch = AddressWatch()
    assert watch.fileno() == raw_socket.fileno()
    watch.drain()
    assert raw_socket.inbox == []
    watch.close()
    assert raw_socket.closed


def test_a_broken_watch_is_no_silence(raw_socket: FakeSocket) -> None:
    """Any other error of the socket is not swallowed."""
    raw_socket.inbox = [OSError(errno.EBADF, "closed")]
    with pytest.raises(OSError, match="closed"):
        AddressWatch().drain()


def test_what_keeps_packets_from_an_interface() -> None:
    """Down is told from unplugged; an interface that works has no obstacle."""
    ipr = FakeIPR()
    assert Netlink(ipr).obstacle("eth0") is None
    ipr.links[1] = link(2, "eth0", MAC, carrier=0)
    assert Netlink(ipr).obstacle("eth0") is Obstacle.NO_CARRIER
    ipr.links[1] = link(2, "eth0", MAC, up=False, carrier=0)
    assert Netlink(ipr).obstacle("eth0") is Obstacle.DOWN


def test_where_the_default_route_leaves() -> None:
    """It is the route of length 0; there may be none."""
    ipr = FakeIPR()
    assert Netlink(ipr).default_interface(4) is None
    ipr.routes.append(route("0.0.0.0/0", 3, "10.0.0.254"))
    assert Netlink(ipr).default_interface(4) == "eth1"


def test_networks_of_an_interface() -> None:
    """Each address with its length."""
    assert [str(each) for each in Netlink(FakeIPR()).networks_on("eth0", 4)] == [f"{OWN}/24"]


def test_a_mac_of_an_interface_that_goes_meanwhile(netlink: Netlink, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when its number was asked: still the error of the library, not the one of the socket."""

    def gone(*indexes: int) -> list[object]:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(ipr, "get_links", gone)
    with pytest.raises(SystemFault, match=r"^interface eth0 does not exist \(any more\): No such device$"):
        netlink.mac("eth0")
