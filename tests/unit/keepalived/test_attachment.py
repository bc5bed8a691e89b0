"""Our place in the virtual router, as the machine's interfaces and addresses make it."""

from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, VIP, FakeIPR, address, rendered, route
from vrrp_drain.config.model import Config
from vrrp_drain.keepalived import attachment
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import ConfigError

VIP6, OWN6 = "2001:db8::10", "2001:db8::1"
SECOND = "10.0.0.5"  # eth0 has it too


def find(ipr: FakeIPR | None = None, **keepalived: Any) -> Attachment:
    return attachment.find(Config.parse(rendered(3, keepalived=keepalived)), Netlink(ipr or machine()))


def machine(*addresses: str) -> FakeIPR:
    """A machine whose eth0 has these addresses, or those of the ordinary case."""
    on_eth0 = addresses or (f"{OWN}/24", f"{SECOND}/24", "fe80::1/64")
    routes = [route("10.0.0.0/24", 2), route("2001:db8::/64", 2)]
    return FakeIPR(routes=routes, addresses=[address(1, "127.0.0.1/8"), *(address(2, each) for each in on_eth0)])


@pytest.mark.parametrize(
    ("keepalived", "source"),
    [
        ({}, OWN),
        ({"mcast_src_ip": SECOND}, SECOND),
        ({"mcast_src_ip": "10.0.0.4/30"}, SECOND),
        ({"mcast_src_ip": "10.0.0.0/24"}, OWN),
        ({"vip": f"{VIP6}/64", "mcast_src_ip": "fe80::/10"}, "fe80::1"),
    ],
    ids=str,
)
def test_multicast_comes_from_the_first_address_or_the_one_that_is_named(keepalived: dict[str, Any], source: str) -> None:
    """mcast_src_ip names it, by itself or by a network; the group is the only destination."""
    assert find(**keepalived) == Attachment("eth0", "eth0", ip_address(source), ())


def test_a_virtual_address_is_not_where_adverts_come_from() -> None:
    """A MASTER has the VIPs on its interface as well, even in front; keepalived sends from what is the machine's own."""
    assert find(machine(f"{VIP}/24", "10.0.0.11/24", f"{OWN}/24"), vips=["10.0.0.11/24"]).source == ip_address(OWN)


def test_ipv6_speaks_from_the_link_local_address() -> None:
    """RFC 5798 section 5.1.2.1; that it is not the interface's first does not matter."""
    assert find(machine(f"{OWN6}/64", "fe80::1/64"), vip=VIP6).source == ip_address("fe80::1")


@pytest.mark.parametrize(("addresses", "vip"), [(["fe80::1/64"], VIP), ([f"{OWN6}/64"], VIP6)], ids=["no IPv4", "no link-local"])
def test_without_an_address_there_is_a_place_without_a_source(addresses: list[str], vip: str) -> None:
    """An interface that has no address yet is no fault of the manifest."""
    assert find(machine(*addresses), vip=vip).source is None


@pytest.mark.parametrize(
    ("keepalived", "source", "peers"),
    [
        ({}, OWN, [PEER, "10.0.0.3"]),
        ({"unicast_peers": [PEER, OWN]}, OWN, [PEER]),
        ({"unicast_peers": [SECOND, "10.0.0.6"]}, SECOND, ["10.0.0.6"]),
        ({"unicast_src_ip": SECOND}, SECOND, [PEER, "10.0.0.3"]),
        ({"unicast_src_ip": "10.0.0.4/30", "unicast_peers": [OWN, "10.0.0.6"]}, SECOND, ["10.0.0.6"]),
    ],
    ids=str,
)
def test_unicast_goes_to_the_others(keepalived: dict[str, Any], source: str, peers: list[str]) -> None:
    """The peers are unicast_peers or the link's instances, without ourselves; we are unicast_src_ip, or the one of them that is here."""
    assert find(unicast=True, **keepalived) == Attachment("eth0", "eth0", ip_address(source), tuple(map(ip_address, peers)))


@pytest.mark.parametrize(
    ("keepalived", "message"),
    [
        (
            {"mcast_src_ip": PEER},
            rf"^keepalived\.mcast_src_ip is '{PEER}/32': must be an address of eth0, or its network: {OWN}, {SECOND}$",
        ),
        (
            {"unicast": True, "unicast_src_ip": "10.9.0.0/16"},
            r"^keepalived\.unicast_src_ip is '10\.9\.0\.0/16': must be an address of eth0",
        ),
        ({"unicast": True, "unicast_src_ip": VIP}, r"^keepalived\.unicast_src_ip is "),
    ],
    ids=["mcast", "unicast", "the VIP"],
)
def test_a_source_that_is_not_here_is_refused(keepalived: dict[str, Any], message: str) -> None:
    """The message names the property and the addresses that there are; a virtual address is none of them."""
    with pytest.raises(ConfigError, match=message):
        find(machine(f"{OWN}/24", f"{SECOND}/24", f"{VIP}/24"), **keepalived)


@pytest.mark.parametrize(("addresses", "has"), [(["10.0.0.9/24"], "10.0.0.9"), (["fe80::1/64"], "no address")])
def test_unicast_from_an_unknown_address_is_refused(addresses: list[str], has: str) -> None:
    """Peers that do not know our address would ignore our adverts: how to tell them is said."""
    link = f"or let both jobs consume the keepalived link with the `network` of the VIP: eth0 has {has}, the link says {OWN}"
    allowed = f"give it, or name our address in keepalived.unicast_peers, {link}"
    with pytest.raises(ConfigError, match=rf"^keepalived\.unicast_src_ip is None: {allowed}$"):
        find(machine(*addresses), unicast=True)


@pytest.mark.parametrize(("keepalived", "interface"), [({}, "eth0"), ({"use_vmac": True, "virtual_router_id": 7}, "vrrp.7")])
def test_only_a_virtual_mac_has_an_interface_of_its_own(keepalived: dict[str, Any], interface: str) -> None:
    """With use_vmac the VIP is on vrrp.VRID, also while that is not there; adverts are on the real interface all the same."""
    found = find(**keepalived)
    assert (found.interface, found.vip_interface) == ("eth0", interface)
    config = Config.parse(rendered(keepalived=keepalived))
    places = {each: attachment.interface_of(ip_address(each), config, "eth0") for each in (VIP, "10.0.0.11", "fd00::10")}
    assert places == {VIP: interface, "10.0.0.11": interface, "fd00::10": "eth0"}, "the other family has no virtual MAC"


def test_a_vip_of_no_network_has_no_place() -> None:
    """Where no interface has the VIP's network, keepalived.interface is asked for."""
    with pytest.raises(ConfigError, match=r"^keepalived\.interface is 'auto'"):
        find(vip="192.0.2.10")
