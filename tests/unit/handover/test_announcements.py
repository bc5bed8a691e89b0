"""What we say ourselves: hello, a lowered priority, and 0, where the peers hear them. The socket is not a real one."""

import errno
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, VIP, FakeIPR, FakeRules, FakeSocket, rendered
from vrrp_drain.config.model import Config
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handover.announcements import Announcements
from vrrp_drain.handover.membership import Membership
from vrrp_drain.handover.this_machine import ThisMachine
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.keepalived.track_files import TrackFiles
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import GROUP_V4, GROUP_V6, TTL, Packet
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert, parse

OWN6, VIP6 = "fe80::1", "2001:db8::10"
SILENT = (0, bytes(8))


def configured(**keepalived: Any) -> Config:
    return Config.parse(rendered(3, keepalived={"virtual_router_id": 7, "preempt": False, **keepalived}))


def announcements(attachment: Attachment, rules: FakeRules | None = None, **keepalived: Any) -> Announcements:
    paths = Paths(Path("nowhere"))
    instance = Instance(configured(**keepalived), attachment, paths)
    machine = ThisMachine(Netlink(FakeIPR()))
    machine.rules = rules or FakeRules()
    return Announcements(instance, machine, TrackFiles(paths.keepalived_run), Membership(instance, machine))


def send(attachment: Attachment, priority: int = 99, *, resign: bool = True, **keepalived: Any) -> None:
    announcements(attachment, **keepalived).leaving(priority, resign=resign)


def attachment(source: str | None = OWN, *peers: str, further: str | None = None) -> Attachment:
    return Attachment(
        "eth0", "eth0", ip_address(source) if source else None, tuple(map(ip_address, peers)), ip_address(further) if further else None
    )


def say_hello(attachment: Attachment, **keepalived: Any) -> None:
    announcements(attachment, **keepalived).say_hello()


def told(raw_socket: FakeSocket, source: str = OWN) -> list[tuple[str, Advert]]:
    """Return the adverts that a peer reads out of what was sent from ``source``, with whom each was sent to; hellos are none."""
    found = []
    for payload, (to, _) in raw_socket.sent:
        if ip_address(to).version == ip_address(source).version and payload[1]:
            found.append((to, parse(Packet(ip_address(source), ip_address(to), TTL, payload))))
    return found


@pytest.mark.parametrize(
    ("keepalived", "source", "group", "version", "advert_int"),
    [
        ({}, OWN, GROUP_V4, 2, 1.0),
        ({"vrrp_version": 3, "advert_int": 0.2}, OWN, GROUP_V4, 3, 0.2),
        ({"vip": VIP6, "advert_int": 0.2}, OWN6, GROUP_V6, 3, 0.2),
    ],
    ids=["version 2", "version 3", "IPv6"],
)
def test_the_group_hears_that_we_leave(
    raw_socket: FakeSocket, keepalived: dict[str, Any], source: str, group: object, version: int, advert_int: float
) -> None:
    """All adverts are those of our virtual router, for the VIP alone: three times our draining priority, 0, and that priority beside it.

    keepalived hears nothing after the 0: the rest is for all hosts.
    """
    send(attachment(source), vips=["10.0.0.11"], **keepalived)
    vip, everybody = ip_address(keepalived.get("vip", VIP)), "224.0.0.1" if source == OWN else "ff02::1"
    draining, resigned = (Advert(version, 7, priority, advert_int, (vip,), *SILENT) for priority in (99, 0))
    assert told(raw_socket, source) == [
        *[(str(group), draining), (everybody, draining)] * 3,
        (str(group), resigned),
        *[(everybody, draining)] * 3,
    ]
    assert raw_socket.closed


def test_without_a_resignation_peers_hear_the_priority_alone(raw_socket: FakeSocket) -> None:
    """Where nobody is to be hurried: that we leave is said as often, and nobody is told to take over."""
    send(attachment(), resign=False)
    assert {advert.priority for _, advert in told(raw_socket)} == {99}


def test_it_begins_with_a_hello(raw_socket: FakeSocket) -> None:
    """A peer that does not know the address by the link knows it before it hears that its owner leaves."""
    send(attachment())
    vrids = [payload[1] for payload, _ in raw_socket.sent]
    assert vrids == sorted(vrids)
    assert (vrids[0], vrids[-1]) == (0, 7)


@pytest.mark.parametrize(
    ("priority", "found"), [(99, hello.Open.LEFT), (67, hello.Open.LEFT), (66, hello.Open.UNTOLD), (1, hello.Open.UNTOLD)]
)
@pytest.mark.parametrize("act", ["leaving", "reminding"])
def test_the_hello_says_what_the_priority_does(raw_socket: FakeSocket, act: str, priority: int, found: hello.Open) -> None:
    """Connections are left behind here, unless haproxy is ill: its clients get their reset from the next MASTER, at once."""
    ours = announcements(attachment())
    if act == "leaving":
        ours.leaving(priority)
    else:
        ours.remind(priority, ip_address(PEER))
    said = {payload[hello.OPEN_OFFSET] & ~hello.PLACE_BITS for payload, _ in raw_socket.sent if not payload[1]}
    assert said == {found}


@pytest.mark.parametrize(("peers", "to"), [((), "224.0.0.1"), ((PEER, "10.0.0.3"), "10.0.0.3")], ids=["multicast", "unicast"])
def test_the_successor_is_told_once_more(raw_socket: FakeSocket, peers: tuple[str, ...], to: str) -> None:
    """By itself where there are unicast peers, otherwise where keepalived does not hear it: it would answer each with an advert."""
    announcements(attachment(OWN, *peers), unicast=bool(peers)).remind(99, ip_address("10.0.0.3"))
    assert [(where, advert.priority) for where, advert in told(raw_socket)] == [(to, 99)]


@pytest.mark.parametrize(("advert_int", "said"), [(1, 1.0), (200, 40.95)])
@pytest.mark.parametrize("act", ["leaving", "remind"])
def test_the_other_family_is_told_as_well(raw_socket: FakeSocket, act: str, advert_int: int, said: float) -> None:
    """Its first VIP stands in adverts of version 3, whose interval is bounded; of priority 0 nobody there needs to hear."""
    ours = announcements(attachment(OWN, further="fe80::1"), vips=["fd00::10", "fd00::11"], advert_int=advert_int)
    if act == "leaving":
        ours.leaving(99)
    else:
        ours.remind(99, ip_address(PEER))
    assert told(raw_socket, "fe80::1") == [("ff02::1", Advert(3, 7, 99, said, (ip_address("fd00::10"),)))] * 3


@pytest.mark.parametrize("priority", [99, 66, 1])
def test_the_first_advert_says_why(raw_socket: FakeSocket, priority: int) -> None:
    """A draining priority arms the handoff at the peers, an unhealthy one does not: it is the caller's; the second is always 0."""
    send(attachment(), priority)
    assert [advert.priority for to, advert in told(raw_socket) if to == str(GROUP_V4)] == [priority] * 3 + [0]


def test_unicast_peers_hear_it_one_by_one(raw_socket: FakeSocket) -> None:
    """With keepalived.unicast every peer gets them, no group any, and nothing follows the 0: it would undo it."""
    send(attachment(OWN, PEER, "10.0.0.3"), unicast=True)
    expected = [(PEER, 99), ("10.0.0.3", 99)] * 3 + [(PEER, 0), ("10.0.0.3", 0)]
    assert [(to, advert.priority) for to, advert in told(raw_socket)] == expected


def test_a_password_is_in_them(raw_socket: FakeSocket) -> None:
    """Peers with the same keepalived.auth_pass accept our adverts: type 1, and the password filled up with zeros."""
    send(attachment(), auth_pass="cf-lb-1")
    assert {(advert.auth_type, advert.auth_data) for _, advert in told(raw_socket)} == {(1, b"cf-lb-1\0")}


@pytest.mark.parametrize(
    ("keepalived", "source", "family", "bound", "options"),
    [
        (
            *({}, OWN, socket.AF_INET, (OWN, 0)),
            [
                (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255),
                (socket.IPPROTO_IP, socket.IP_TTL, 255),
                (socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0),
            ],
        ),
        (
            *({"vip": VIP6}, OWN6, socket.AF_INET6, (OWN6, 0, 0, 2)),
            [
                (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255),
                (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255),
                (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0),
                (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, 2),
            ],
        ),
    ],
    ids=["IPv4", "IPv6"],
)
def test_peers_accept_them_and_our_keepalived_does_not_hear_them(
    raw_socket: FakeSocket, keepalived: dict[str, Any], source: str, family: int, bound: object, options: list[object]
) -> None:
    """They leave our interface from our address with a TTL of 255, and no copy comes back."""
    send(attachment(source), **keepalived)
    assert raw_socket.opened == (family, socket.SOCK_RAW, 112)
    assert raw_socket.bound == bound
    assert {(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0"), *options} == set(raw_socket.options)


def test_without_an_address_nothing_can_be_said(raw_socket: FakeSocket) -> None:
    """An interface that lost its address is named."""
    with pytest.raises(SystemFault, match=r"^eth0 has no address to send an advert from$"):
        send(attachment(None))
    assert raw_socket.opened == ()


def test_what_the_kernel_does_not_send_says_so(raw_socket: FakeSocket) -> None:
    """An interface that is down is a fault with the kernel's reason, and no socket stays open."""
    raw_socket.send_error = OSError(errno.ENETDOWN, "Network is down")
    with pytest.raises(SystemFault, match=r"^cannot send an advert on eth0: Network is down$"):
        send(attachment())
    assert raw_socket.closed


@pytest.mark.parametrize("call", ["socket", "if_nametoindex"])
def test_a_socket_that_cannot_be_had_says_so(raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Neither a missing right nor an interface that went raises anything else."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "refused")

    monkeypatch.setattr(socket, call, refuse)
    with pytest.raises(SystemFault, match=r"^cannot send an advert on eth0: refused$"):
        send(attachment())


def test_every_peer_gets_its_own_token(raw_socket: FakeSocket) -> None:
    """All hosts of the segment hear them; each knows its own alone. One has our own: a machine that was made anew beside us has our ID."""
    say_hello(attachment())
    assert {(payload[8:], to) for payload, (to, _) in raw_socket.sent} == {(hello.token(f"id-{n}", 7), "224.0.0.1") for n in (0, 1, 2)}
    assert len(raw_socket.sent) == 6, "twice: one may be lost"


def test_unicast_peers_are_told_one_by_one(raw_socket: FakeSocket) -> None:
    """Where there is no multicast, every peer gets all of them: unicast_peers does not say which instance has which address."""
    say_hello(attachment(OWN, "10.0.0.2", "10.0.0.3"), unicast=True)
    assert {to for _, (to, _) in raw_socket.sent} == {"10.0.0.2", "10.0.0.3"}


def test_who_was_given_another_address_is_told_too(raw_socket: FakeSocket) -> None:
    """Hellos, and that we leave, go to whoever has introduced himself from an address of his own; with multicast to the group alone."""
    rules = FakeRules()
    rules.situation = Situation((4,), members=tuple(map(ip_address, (PEER, "10.0.0.51", OWN6, VIP))), tables=(4,))
    for peers, everybody in (((PEER,), {PEER, "10.0.0.51"}), ((), {"224.0.0.1", "224.0.0.18"})):
        raw_socket.sent.clear()
        announcements(attachment(OWN, *peers), rules, unicast=bool(peers)).leaving(99)
        assert {to for _, (to, _) in raw_socket.sent} == everybody


def test_further_vips_of_the_other_family_need_one_there_too(raw_socket: FakeSocket) -> None:
    """The rules of each family know its own addresses."""
    say_hello(attachment(OWN, further=OWN6), vips=["2001:db8::10"])
    assert {to for _, (to, _) in raw_socket.sent} == {"224.0.0.1", "ff02::1"}


def test_peers_learn_our_address_of_the_other_family(raw_socket: FakeSocket) -> None:
    """First of all, so that whoever answers the hello itself can answer there too; a hello of the other family has nothing to add."""
    say_hello(attachment(OWN, PEER, further=OWN6), vips=["2001:db8::10"], unicast=True)
    first = [payload for payload, (to, _) in raw_socket.sent if to == PEER]
    assert {payload[hello.FURTHER_OFFSET :] for payload in first[:3]} == {ip_address(OWN6).packed}
    assert {payload[8 : hello.FURTHER_OFFSET] for payload in first[:3]} == {hello.token(f"id-{n}", 7) for n in (0, 1, 2)}
    assert all(len(payload) == hello.FURTHER_OFFSET for payload in first[3:6])
    assert all(len(payload) == hello.FURTHER_OFFSET for payload, (to, _) in raw_socket.sent if ":" in to)


def test_without_vips_of_the_other_family_no_address_there_is_told(raw_socket: FakeSocket) -> None:
    """Nothing is said that nobody needs."""
    say_hello(attachment(OWN))
    assert {len(payload) for payload, _ in raw_socket.sent} == {hello.FURTHER_OFFSET}


def test_with_unicast_the_other_family_is_told_one_by_one(raw_socket: FakeSocket) -> None:
    """Where each peer is there, as far as it has told; and all hosts of the segment, for those who have not."""
    rules = FakeRules()
    rules.others = {ip_address(PEER): ip_address("fe80::2"), ip_address("10.0.0.3"): ip_address(VIP6)}
    ours = announcements(attachment(OWN, PEER, "10.0.0.3", further=OWN6), rules, unicast=True, vips=[VIP6])
    acts: list[Callable[[], None]] = [ours.say_hello, lambda: ours.leaving(99), lambda: ours.remind(99, ip_address(PEER))]
    for act in acts:
        raw_socket.sent.clear()
        act()
        assert {to for _, (to, _) in raw_socket.sent if ":" in to} == {"fe80::2", "ff02::1"}
    assert {to for to, _ in told(raw_socket, OWN6)} == {"fe80::2", "ff02::1"}


def test_with_multicast_all_hosts_are_enough(raw_socket: FakeSocket) -> None:
    """Nobody gets the same twice."""
    rules = FakeRules()
    rules.others = {ip_address(PEER): ip_address("fe80::2")}
    announcements(attachment(OWN, further=OWN6), rules, vips=[VIP6]).leaving(99)
    assert {to for _, (to, _) in raw_socket.sent if ":" in to} == {"ff02::1"}
