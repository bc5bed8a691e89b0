"""Who is of our group: what the manifest, the link, the machine and the kernel's rules say."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, VIP, FakeIPR, RealClock, address, rendered
from unit.support.machine import FakeMachine
from vrrp_drain.config.model import Config
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handover.membership import Membership
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.election import Electorate

Build = Callable[..., Membership]


@pytest.fixture
def machine(netlink: Netlink) -> FakeMachine:
    return FakeMachine(RealClock(), netlink)


@pytest.fixture
def build(machine: FakeMachine, paths: Paths) -> Build:
    def make(**sections: Any) -> Membership:
        return Membership(Instance.find(Config.parse(rendered(**sections)), paths, machine.netlink), machine)

    return make


def test_the_electorate_is_that_of_the_configuration(build: Build) -> None:
    """Adverts are judged with the manifest's values, the addresses of this machine and the peers of the link."""
    vip, own, loopback, peer = map(ip_address, (VIP, OWN, "127.0.0.1", PEER))
    assert build().electorate() == Electorate(
        1,
        2,
        1.0,
        vip,
        frozenset({own, loopback}),
        frozenset({peer}),
        members=frozenset({peer}),
        closed=True,
        nobody=frozenset({vip, ip_address("10.0.0.255")}),
        token=hello.token("id-0", 1),
    )


@pytest.mark.parametrize(
    ("situation", "own", "closed"),
    [
        (Situation(tables=(4,)), OWN, True),
        (Situation(), OWN, False),
        (None, OWN, False),
        (Situation(tables=(4,)), "10.0.0.9", False),
    ],
    ids=["all is known", "no rules", "the kernel does not tell", "the VIP is on another network"],
)
def test_a_group_is_closed_where_all_addresses_are_known(
    build: Build, machine: FakeMachine, ipr: FakeIPR, situation: Situation | None, own: str, closed: bool
) -> None:
    """Where our adverts come from the address that the link names, so do the peers'; without our rules keepalived hears everybody."""
    ipr.addresses = [address(2, f"{own}/24")]
    if situation is None:
        machine.rules.fault = SystemFault("the kernel does not tell its nftables rules")
    else:
        machine.rules.situation = replace(situation, members=(ip_address("10.0.0.33"),))
    found = build().electorate()
    assert found.closed is closed
    assert (ip_address("10.0.0.33") in found.members) is (situation is not None)


@pytest.mark.parametrize(
    ("keepalived", "peers", "authentication"),
    [
        ({"auth_pass": "cf-lb-1"}, {PEER}, (1, b"cf-lb-1\0")),
        ({"unicast": True, "unicast_peers": [OWN, "10.0.0.6"]}, {PEER, OWN, "10.0.0.6"}, (0, bytes(8))),
    ],
    ids=["auth_pass", "unicast_peers"],
)
def test_the_electorate_knows_password_and_unicast_peers(
    build: Build, keepalived: dict[str, Any], peers: set[str], authentication: tuple[int, bytes]
) -> None:
    """Peers are known by either address, and by the password that they must have."""
    found = build(keepalived=keepalived).electorate()
    assert found.peers == frozenset(map(ip_address, peers))
    assert found.authentication == authentication
