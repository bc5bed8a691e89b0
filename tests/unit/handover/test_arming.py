"""Whose connections are left with it when we take the VIP over."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, VIP, Clock, FakeIPR, address, carries, rendered
from unit.support.machine import FakeMachine
from vrrp_drain.config.model import Config
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handover.arming import Arming
from vrrp_drain.handover.membership import Membership
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp.advert import Advert

ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
VIP6, OWN6, PEER6 = "fd00::10", "fe80::1", "fe80::2"
Build = Callable[..., Arming]


@pytest.fixture
def machine(clock: Clock, netlink: Netlink) -> FakeMachine:
    return FakeMachine(clock, netlink)


@pytest.fixture
def build(machine: FakeMachine, paths: Paths) -> Build:
    def make(**sections: Any) -> Arming:
        instance = Instance.find(Config.parse(rendered(**sections)), paths, machine.netlink)
        return Arming(instance, machine, Membership(instance, machine))

    return make


@pytest.mark.parametrize(("network", "armed"), [("10.0.0.1/24", [([VIP], PEER)]), ("10.0.0.1/32", [])], ids=["here", "behind a router"])
def test_what_is_handed_on_crosses_no_router(
    build: Build, machine: FakeMachine, ipr: FakeIPR, network: str, armed: list[tuple[list[str], str]]
) -> None:
    """A router would send it back to whoever has the VIP."""
    ipr.addresses = [each for each in ipr.addresses if each.get_attr("IFA_ADDRESS") != OWN] + [address(2, network)]
    arming = build(keepalived={"unicast": True, "unicast_hops": 1})
    machine.hears(carries(replace(ADVERT, priority=200), PEER, OWN), after=0.1)
    arming.leave_with_the_master()
    assert machine.rules.arms == armed


def test_through_a_tunnel_it_does(build: Build, machine: FakeMachine, ipr: FakeIPR) -> None:
    """The router sees a packet from instance to instance; there is a way to the MASTER before anything is sent to it."""
    ipr.addresses = [each for each in ipr.addresses if each.get_attr("IFA_ADDRESS") != OWN] + [address(2, "10.0.0.1/32")]
    arming = build(keepalived={"unicast": True, "unicast_hops": 1}, vrrp_drain={"handoff_transport": "tunnel"})
    machine.vxlan.to["vrrp-drain4"] = {}
    machine.hears(carries(replace(ADVERT, priority=200), PEER, OWN), after=0.1)
    arming.leave_with_the_master()
    assert machine.rules.arms == [([VIP], PEER)]
    assert [*map(str, machine.vxlan.to["vrrp-drain4"])] == [PEER]


def test_there_is_a_way_to_one_that_only_lives_too(build: Build, machine: FakeMachine, ipr: FakeIPR) -> None:
    """Whyever its connections are left with it."""
    ipr.addresses = [each for each in ipr.addresses if each.get_attr("IFA_ADDRESS") != OWN] + [address(2, "10.0.0.1/32")]
    arming = build(keepalived={"unicast": True, "unicast_hops": 1}, vrrp_drain={"handoff_transport": "tunnel"})
    machine.vxlan.to["vrrp-drain4"] = {}
    assert [*map(str, arming.leave_with_who_lives(ip_address(PEER)))] == [PEER]
    assert machine.rules.arms == [([VIP], PEER)]
    assert [*map(str, machine.vxlan.to["vrrp-drain4"])] == [PEER]


@pytest.mark.parametrize(
    ("advert", "source", "armed"),
    [
        pytest.param(replace(ADVERT, priority=200), PEER, [([VIP], PEER)], id="the MASTER that we take the VIP from"),
        pytest.param(replace(ADVERT, vrid=9), PEER, [], id="another virtual router"),
        pytest.param(ADVERT, OWN, [], id="ourselves"),
        pytest.param(ADVERT, "10.0.0.77", [], id="nobody of a closed group"),
        pytest.param(ADVERT, VIP, [], id="the VIP"),
        pytest.param(ADVERT, "10.0.0.255", [], id="a broadcast address"),
        pytest.param(ADVERT, "224.0.0.18", [], id="a multicast address"),
        pytest.param(replace(ADVERT, addresses=(ip_address("10.0.0.20"),)), PEER, [], id="another VIP"),
        pytest.param(replace(ADVERT, version=3), PEER, [], id="another version"),
        pytest.param(replace(ADVERT, auth_type=1), PEER, [], id="another authentication"),
        pytest.param(replace(ADVERT, priority=254), PEER, [], id="a MASTER that we do not outrank"),
        pytest.param(replace(ADVERT, priority=66), PEER, [], id="an unhealthy MASTER"),
    ],
)
def test_connections_are_left_with_the_master(
    build: Build, machine: FakeMachine, advert: Advert, source: str, armed: list[tuple[list[str], str]]
) -> None:
    """Before the priority is raised, the MASTER's address is known: it goes on serving the connections that it has."""
    machine.hears(carries(advert, source), after=0.5)
    build().leave_with_the_master()
    assert machine.rules.arms == armed


def test_the_master_arms_nothing(build: Build, machine: FakeMachine, ipr: FakeIPR) -> None:
    """Who has the VIP already takes it from nobody."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    machine.hears(carries(ADVERT, PEER), after=0.5)
    build().leave_with_the_master()
    assert (machine.rules.arms, machine.listeners) == ([], [])


@pytest.mark.parametrize(
    ("properties", "priority", "armed"),
    [
        ({}, 253, True),
        ({}, 254, False),
        ({}, 99, False),
        ({}, 66, False),
        ({"keepalived": {"preempt": False}}, 253, False),
        ({"vrrp_drain": {"connection_handoff": False}}, 253, False),
    ],
    ids=["a healthy MASTER below us", "one that outranks us", "one that leaves", "one that is ill", "no preemption", "not wanted"],
)
def test_whose_connections_are_left_with_it(
    build: Build, machine: FakeMachine, properties: dict[str, Any], priority: int, armed: bool
) -> None:
    """A MASTER from which we are about to take the VIP, and that goes on serving."""
    build(**properties).leave_with(ip_address(PEER), priority)
    assert machine.rules.arms == ([([VIP], PEER)] if armed else [])


def test_a_handoff_that_cannot_be_armed_is_a_warning(build: Build, machine: FakeMachine, log: pytest.LogCaptureFixture) -> None:
    """The move happens all the same, and cuts what is open."""
    machine.rules.fault = SystemFault("nftables refuses")
    build().leave_with(ip_address(PEER), 253)
    assert log.messages == ["nftables refuses"]


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("asks", [True, False], ids=["a promotion", "the watcher"])
def test_clients_packets_go_to_nobody_who_has_proven_nothing(
    build: Build, machine: FakeMachine, log: pytest.LogCaptureFixture, proven: bool, asks: bool
) -> None:
    """In an open group whoever adverts our VIP is MASTER; its machine must answer for a peer's address too, which a promotion asks."""
    unknown = "10.0.0.77"
    machine.rules.situation = Situation()
    machine.proofs = [unknown] if proven else []
    if asks:
        machine.hears(carries(ADVERT, unknown), after=0.5)
        build().leave_with_the_master()
    else:
        build().leave_with(ip_address(unknown), 253)
    assert machine.proven == ([(unknown, [PEER], 0.5)] if asks else []), "the watcher would wait"
    assert machine.rules.arms == ([([VIP], unknown)] if proven and asks else [])
    assert ("has not proven to be an instance of this group" in log.text) is not (proven and asks)


@pytest.fixture
def dual_stack(machine: FakeMachine, ipr: FakeIPR) -> dict[str, Any]:
    """Give the properties of a group with VIPs of both families, on a machine that has an address of each."""
    ipr.addresses.append(address(2, f"{OWN6}/64"))
    return {"vips": ["10.0.0.11", VIP6]}


def test_connections_of_the_other_family_are_left_there_too(build: Build, machine: FakeMachine, dual_stack: dict[str, Any]) -> None:
    """Adverts do not name the MASTER's address there: its hello has, and another instance's is none of its business."""
    machine.rules.others = {ip_address("10.0.0.3"): ip_address("fe80::3"), ip_address(PEER): ip_address(PEER6)}
    build(keepalived=dual_stack).leave_with(ip_address(PEER), 253)
    assert machine.rules.arms == [([VIP, "10.0.0.11", VIP6], f"{PEER} {PEER6}")]


@pytest.mark.parametrize(
    "told", [None, VIP6, OWN6, "ff02::1", "::", "2001:db8::2"], ids=["nothing", "the VIP", "ourselves", "a group", "no address", "far away"]
)
def test_where_the_master_is_not_known_in_the_other_family(
    build: Build, machine: FakeMachine, dual_stack: dict[str, Any], told: str | None, log: pytest.LogCaptureFixture
) -> None:
    """Its connections of this one are left with it, those of the other are cut, which is said: nobody else gets their packets."""
    machine.rules.others = {} if told is None else {ip_address(PEER): ip_address(told)}
    build(keepalived=dual_stack).leave_with(ip_address(PEER), 253)
    assert machine.rules.arms == [([VIP, "10.0.0.11", VIP6], PEER)]
    assert log.messages == [f"{PEER} is MASTER, and has not told its address of the other family: open connections to {VIP6} are cut"]
