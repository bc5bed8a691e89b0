"""Whose adverts keepalived hears and who may arm the handoff, asked of the kernel: one machine with our rules, and a sender."""

import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from lab.conftest import nft
from lab.fabric.cluster import Cluster
from lab.fabric.kernel_rules import ID, VRID, WINDOW, group, hold, situation
from lab.fabric.namespace import Namespace
from lab.fabric.ruleset import normal
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, ALL_HOSTS_V6, GROUP_V4, GROUP_V6, IPAddress, internet_checksum
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert, build

PEER, STRANGER = "10.0.0.200", "10.0.0.66"
PEER6 = "fe80::200"
VIP, VIP6 = ip_address("10.0.0.10"), ip_address("fd00::10")
LEAVES = 98
BROADCAST = "10.0.0.255"
ETHERNET = {4: bytes.fromhex("01005e000012"), 6: bytes.fromhex("333300000012")}


@pytest.fixture
def node(bench: Cluster) -> Iterator[Namespace]:
    """A machine of the group without any process; it hears all hosts' groups, and VRRP's by the frame's address."""
    yield bench.nodes[0].machine
    bench.nodes[0].machine.in_network(Rules().release)


def send(
    bench: Cluster,
    payload: bytes,
    source: str = PEER,
    *,
    to: str = "",
    ttl: int = 255,
    mac: str = "0200000000c8",
    options: bytes = b"",
    extension: int = 0,
) -> None:
    """Send a whole frame of protocol 112, so that every field of it can be wrong.

    ``options`` are IPv4's, or with IPv6 a whole extension header, of the kind ``extension``.
    """
    sender, target = ip_address(source), ip_address(to or ("224.0.0.18" if "." in source else "ff02::12"))
    if sender.version == 4:
        length = 20 + len(options) + len(payload)
        head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, length, 0, 0, ttl, 112, 0) + sender.packed + target.packed + options
        head = head[:10] + internet_checksum(head).to_bytes(2, "big") + head[12:]
    else:
        first = extension if options else 112
        head = struct.pack("!IHBB", 6 << 28, len(options + payload), first, ttl) + sender.packed + target.packed + options
    kind = b"\x08\x00" if sender.version == 4 else b"\x86\xdd"
    frame = ETHERNET[sender.version] + bytes.fromhex(mac) + kind + head + payload

    def out() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            raw.send(frame.ljust(60, b"\0"))

    bench.client.in_network(out)


def advert(
    priority: int = LEAVES, *, version: int = 3, vrid: int = VRID, vips: tuple[IPAddress, ...] = (VIP,), source: str = PEER
) -> bytes:
    to = GROUP_V4 if "." in source else GROUP_V6
    return build(Advert(version, vrid, priority, 1.0, vips), ip_address(source), to)


def armed(node: Namespace) -> list[str]:
    return [str(each.peer) for each in situation(node).armed]


@pytest.mark.parametrize(
    ("change", "arms"),
    [
        pytest.param({}, True, id="as-it-should-be"),
        pytest.param({"priority": 67}, True, id="lowest-draining"),
        pytest.param({"priority": 99}, True, id="highest-draining"),
        pytest.param({"priority": 66}, False, id="unhealthy"),
        pytest.param({"priority": 100}, False, id="above-draining"),
        pytest.param({"priority": 0}, False, id="resigned"),
        pytest.param({"vrid": 2}, False, id="other-router"),
        pytest.param({"version": 2}, False, id="other-version"),
        pytest.param({"vips": (ip_address("10.0.0.11"),)}, False, id="other-vip"),
        pytest.param({"vips": (VIP, ip_address("10.0.0.11"))}, False, id="two-vips"),
        pytest.param({"vips": (ip_address("10.0.0.11"), VIP)}, False, id="the-vip-second"),
    ],
)
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_which_adverts_of_a_member_arm(bench: Cluster, node: Namespace, change: dict[str, object], arms: bool, closed: bool) -> None:
    """Those of our virtual router and version, for our VIP, whole, of the draining band."""
    hold(node, group(str(VIP), members=[PEER], closed=closed))
    send(bench, advert(**change))  # type: ignore[arg-type]
    assert armed(node) == ([PEER] if arms else [])


@pytest.mark.kernel("handoff rules")
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("source", [STRANGER, BROADCAST, "224.0.0.18", "0.0.0.0", str(VIP), "255.255.255.255", "10.0.0.1"])
def test_nobody_else_arms(bench: Cluster, node: Namespace, source: str, closed: bool) -> None:
    """Neither a stranger, nor an address that is no host's, nor our own, be it named as a member or introduced by a hello."""
    hold(node, group(str(VIP), members=[PEER, BROADCAST, str(VIP), "10.0.0.1"], closed=closed, nobody=[BROADCAST, "10.0.0.1"]))
    if source != STRANGER:
        send(bench, hello.build(hello.token(ID, VRID), VRID, ip_address(source), ALL_HOSTS_V4), source)
    send(bench, advert(), source)
    assert armed(node) == []
    assert [str(each) for each in situation(node).members] == [PEER]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"ttl": 254}, id="from-behind-a-router"),
        pytest.param({"options": bytes((1, 1, 1, 0))}, id="ip-options"),
        pytest.param({"mac": "0300000000c8"}, id="a-groups-mac"),
    ],
)
def test_a_packet_that_no_peer_sends_arms_nothing(bench: Cluster, node: Namespace, version: int, wrong: dict[str, object]) -> None:
    """Whatever its content, a peer's comes from this segment, without options, from one machine."""
    hold(node, group(str(VIP), members=[PEER], version=version))
    send(bench, advert(version=version), **wrong)  # type: ignore[arg-type]
    assert armed(node) == []


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("size", [7, 8, 12, -4, -1, 1, 4, 16, 24, 200])
def test_a_packet_of_another_length_arms_nothing(bench: Cluster, node: Namespace, version: int, size: int) -> None:
    """Neither a shorter one nor a longer one; CARP's, of the same protocol and first byte, are 56 bytes."""
    hold(node, group(str(VIP), members=[PEER], version=version))
    whole = advert(version=version)
    send(bench, whole[:size] if size in (7, 8) or size < 0 else whole + bytes(size))
    assert armed(node) == []
    send(bench, whole)
    assert armed(node) == [PEER], "the whole one does"


@pytest.mark.kernel("handoff rules", short=True)
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("vip", [VIP, VIP6], ids=str)
def test_a_hello_makes_a_member(bench: Cluster, node: Namespace, vip: IPAddress, closed: bool) -> None:
    """Before it the sender's advert arms nothing, after it it does, in IPv4 and from a link-local address."""
    source, everybody = (STRANGER, ALL_HOSTS_V4) if vip.version == 4 else (PEER6, ALL_HOSTS_V6)
    hold(node, group(str(vip), members=["10.0.0.2"], closed=closed))
    word = advert(vips=(vip,), source=source)
    send(bench, word, source)
    assert armed(node) == []
    send(bench, hello.build(hello.token(ID, VRID), VRID, ip_address(source), everybody), source, to=str(everybody))
    send(bench, word, source)
    assert armed(node) == [source]
    hold(node, group(str(vip), closed=closed))
    assert ip_address(source) in situation(node).members, "who said hello is not forgotten when the rules are put in place again"


@pytest.mark.parametrize(
    ("token", "vrid", "change"),
    [
        pytest.param(hello.token("another", VRID), VRID, {}, id="for-another-instance"),
        pytest.param(hello.token(ID, 2), 2, {}, id="of-another-router"),
        pytest.param(hello.token(ID, VRID), VRID, {"ttl": 254}, id="from-behind-a-router"),
        pytest.param(bytes(16), VRID, {}, id="without-a-token"),
    ],
)
def test_another_hello_makes_no_member(bench: Cluster, node: Namespace, token: bytes, vrid: int, change: dict[str, int]) -> None:
    """Only one with our token, of this segment."""
    hold(node, group(str(VIP)))
    send(bench, hello.build(token, vrid, ip_address(STRANGER), ALL_HOSTS_V4), STRANGER, **change)  # type: ignore[arg-type]
    assert situation(node).members == ()


EXTENSIONS = {  # header kind, and a whole header of it: PadN fills the options, the fragment is the only one
    "hop-by-hop": (0, bytes((112, 0, 1, 4, 0, 0, 0, 0))),
    "destination": (60, bytes((112, 0, 1, 4, 0, 0, 0, 0))),
    "fragment": (44, bytes((112, 0, 0, 0, 0, 0, 0, 1))),
}


@pytest.mark.kernel("handoff rules")
@pytest.mark.parametrize(("kind", "header"), EXTENSIONS.values(), ids=EXTENSIONS)
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_an_extension_header_hides_no_advert(bench: Cluster, node: Namespace, kind: int, header: bytes, closed: bool) -> None:
    """keepalived's socket gets what stands behind extension headers of IPv6, so the rules look there; a peer sends none."""
    hold(node, group(str(VIP6), members=[PEER6], closed=closed))
    with heard(node, socket.AF_INET6) as receive:
        send(bench, advert(250, vips=(VIP6,), source="fe80::66"), "fe80::66", to="ff02::1", options=header, extension=kind)
        assert not receive()
    assert situation(node).refused == 1
    send(bench, advert(vips=(VIP6,), source=PEER6), PEER6, options=header, extension=kind)
    assert armed(node) == []


def test_another_group_in_the_other_family_is_not_refused(bench: Cluster, node: Namespace) -> None:
    """A VRID is a family's own (RFC 9568 section 1): what keepalived does not listen to there is none of our business, and arms nothing."""
    hold(node, group(str(VIP), str(VIP6), members=[PEER, PEER6]))
    with heard(node, socket.AF_INET6) as receive:
        send(bench, advert(vips=(ip_address("fd00::99"),), source="fe80::66"), "fe80::66", to="ff02::1")
        assert receive()
    assert (situation(node).refused, armed(node)) == (0, [])
    send(bench, advert(vips=(VIP6,), source=PEER6), PEER6, to="ff02::1")
    assert armed(node) == [PEER6], "a peer's word in that family counts"


def test_a_full_set_keeps_no_peer_out(bench: Cluster, node: Namespace) -> None:
    """Whoever has copied a token fills the set; when the rules are put in place again they come, and with all that the link names."""
    hold(node, group(str(VIP), members=[PEER]))
    for last in range(130):
        source = f"10.0.1.{last + 1}"
        send(bench, hello.build(hello.token(ID, VRID), VRID, ip_address(source), ALL_HOSTS_V4), source)
    named = [PEER, "10.0.0.201", "10.0.0.202"]
    hold(node, group(str(VIP), members=named))
    found = situation(node)
    assert set(map(ip_address, named)) <= set(found.members)
    assert (len(found.members), found.families) == (128, (4,))


@pytest.mark.kernel("handoff rules")
def test_members_are_bounded(bench: Cluster, node: Namespace) -> None:
    """Whoever has copied a token fills the set, and no more."""
    hold(node, group(str(VIP), members=[PEER]))
    for last in range(200):
        source = f"10.0.1.{last + 1}"
        send(bench, hello.build(hello.token(ID, VRID), VRID, ip_address(source), ALL_HOSTS_V4), source)
    assert len(situation(node).members) == 128


HEARD = pytest.mark.parametrize(
    ("source", "change", "in_closed", "in_open"),
    [
        pytest.param(PEER, {}, True, True, id="a-member"),
        pytest.param(PEER, {"vips": (ip_address("10.0.0.11"),)}, True, True, id="a-member-with-another-vip"),
        pytest.param(PEER, {"version": 2}, True, True, id="a-member-of-another-version"),
        pytest.param(STRANGER, {}, False, True, id="a-stranger"),
        pytest.param(STRANGER, {"priority": 255}, False, True, id="a-strangers-mastership"),
        pytest.param(STRANGER, {"vips": (ip_address("10.0.0.11"),)}, False, False, id="a-stranger-with-another-vip"),
        pytest.param(STRANGER, {"version": 2}, False, False, id="a-stranger-of-another-version"),
        pytest.param(STRANGER, {"vrid": 2}, True, True, id="another-virtual-router"),
    ],
)


@pytest.mark.kernel("handoff rules")
@HEARD
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_what_keepalived_hears(
    bench: Cluster, node: Namespace, source: str, change: dict[str, object], in_closed: bool, in_open: bool, closed: bool
) -> None:
    """Members; in an open group also who may be one; of other virtual routers everything. The rest is counted."""
    hold(node, group(str(VIP), members=[PEER], closed=closed))
    with heard(node) as receive:
        send(bench, advert(**{"priority": 250, **change}), source, to="224.0.0.1")  # type: ignore[arg-type]
        through = receive()
    assert through is (in_closed if closed else in_open)
    assert situation(node).refused == (0 if through else 1)


@pytest.mark.parametrize(("source", "vip"), [(PEER, VIP), (PEER6, VIP6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("hops", "ttl", "through", "arms"),
    [
        (0, 255, True, True),
        (0, 254, False, False),
        (1, 255, True, True),
        (1, 254, True, False),
        (1, 253, False, False),
        (254, 1, True, False),
    ],
)
def test_how_far_a_member_may_be(
    bench: Cluster, node: Namespace, source: str, vip: IPAddress, hops: int, ttl: int, through: bool, arms: bool
) -> None:
    """Over as many routers as are allowed keepalived hears it, and takes its hello; only one of this segment arms the handoff."""
    to, family = (ALL_HOSTS_V4, socket.AF_INET) if vip.version == 4 else (ALL_HOSTS_V6, socket.AF_INET6)
    hold(node, group(str(vip), members=[source], hops=hops))
    with heard(node, family) as receive:
        send(bench, build(Advert(3, VRID, LEAVES, 1.0, (vip,)), ip_address(source), to), source, to=str(to), ttl=ttl)
        assert receive() is through
    assert (armed(node) == [source]) is arms
    other = ip_address("10.0.0.77" if vip.version == 4 else "fe80::77")
    send(bench, hello.build(hello.token(ID, VRID), VRID, other, to), str(other), to=str(to), ttl=ttl)
    assert (other in situation(node).members) is through


class heard:  # noqa: N801  # reads as a word
    """A raw socket as keepalived has it: `receive` tells whether something got through, once everything that was sent has arrived."""

    def __init__(self, machine: Namespace, family: socket.AddressFamily = socket.AF_INET) -> None:
        self._machine, self._family = machine, family

    def __enter__(self) -> "heard":
        self._socket = self._machine.in_network(lambda: socket.socket(self._family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 112))
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def __call__(self) -> bool:
        try:
            return bool(self._socket.recv(2048))
        except BlockingIOError:  # a frame that went out of a veth has been through the rules at its other end
            return False


def test_without_a_handoff_only_admission_is_there(bench: Cluster, node: Namespace) -> None:
    """vrrp_drain.connection_handoff false: strangers are kept out, nobody arms."""
    from dataclasses import replace

    hold(node, replace(group(str(VIP), members=[PEER]), window=0.0))
    send(bench, advert(), PEER)
    send(bench, advert(), STRANGER)
    assert situation(node) == Situation(refused=1, members=(ip_address(PEER),), tables=(4,))


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=str)
def test_what_a_hello_says_of_open_connections(bench: Cluster, node: Namespace, vip: IPAddress) -> None:
    """Some there arms, once more changes nothing, none disarms; and so does one that leaves. It says nothing of others."""
    everybody = ALL_HOSTS_V4 if vip.version == 4 else ALL_HOSTS_V6
    sources = (PEER, "10.0.0.3") if vip.version == 4 else (PEER6, "fe80::3")
    hold(node, group(str(vip)))

    def say(rank: int, found: hello.Open) -> None:
        source = sources[rank - 1]
        built = hello.build(hello.token(ID, VRID), VRID, ip_address(source), everybody, rank=rank, open_there=found)
        send(bench, built, source, to=str(everybody))

    for rank, found, then in (
        (1, hello.Open.UNTOLD, set()),
        (1, hello.Open.SOME, {sources[0]}),
        (2, hello.Open.LEFT, {*sources}),
        (2, hello.Open.SOME, {*sources}),
        (1, hello.Open.UNTOLD, {*sources}),
        (1, hello.Open.NONE, {sources[1]}),
        (2, hello.Open.NONE, set()),
        (2, hello.Open.NONE, set()),
    ):
        say(rank, found)
        assert {*armed(node)} == then, (rank, found)


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=str)
def test_who_goes_on_saying_that_he_serves_is_not_forgotten(bench: Cluster, node: Namespace, vip: IPAddress) -> None:
    """The window begins anew with each hello that says so; one that says nothing of it changes nothing."""
    everybody = ALL_HOSTS_V4 if vip.version == 4 else ALL_HOSTS_V6
    source = PEER if vip.version == 4 else PEER6
    hold(node, group(str(vip)))

    def left_after(found: hello.Open) -> float:
        time.sleep(1)  # some of the window goes by
        built = hello.build(hello.token(ID, VRID), VRID, ip_address(source), everybody, rank=1, open_there=found)
        send(bench, built, source, to=str(everybody))
        return min(each.seconds for each in situation(node).armed)

    assert left_after(hello.Open.SOME) > WINDOW - 0.9
    assert left_after(hello.Open.UNTOLD) < WINDOW - 0.9
    assert left_after(hello.Open.SOME) > WINDOW - 0.9


@pytest.mark.parametrize(
    ("source", "others"),
    [(PEER, ("fe80::200", "fe80::201")), (PEER6, ("10.0.0.200", "10.0.0.201"))],
    ids=["IPv4", "IPv6"],
)
def test_a_member_tells_its_address_of_the_other_family(bench: Cluster, node: Namespace, source: str, others: tuple[str, str]) -> None:
    """What it said last counts, and only with our token, of this segment, from an address that is somebody's."""
    version = ip_address(source).version
    everybody = ALL_HOSTS_V4 if version == 4 else ALL_HOSTS_V6
    hold(node, group(*map(str, (VIP, VIP6) if version == 4 else (VIP6, VIP))))

    def say(other: str, token: bytes = hello.token(ID, VRID), source: str = source, **change: int) -> dict[IPAddress, IPAddress]:
        built = hello.build(token, VRID, ip_address(source), everybody, further=ip_address(other))
        send(bench, built, source, to=str(everybody), **change)  # type: ignore[arg-type]
        return node.in_network(lambda: Rules().further(version))

    nobody = str(VIP if version == 4 else VIP6)
    assert say(others[0], hello.token("another", VRID)) == {}
    assert say(others[0], ttl=254) == {}
    assert say(others[0], source=nobody) == {}
    assert say(source) == {}, "an address of the same family has another length"
    for other in others:
        assert say(other) == {ip_address(source): ip_address(other)}
    assert ip_address(source) not in situation(node).members, "that makes no member: a hello as every release knows it does"
    send(bench, hello.build(hello.token(ID, VRID), VRID, ip_address(source), everybody), source, to=str(everybody))
    assert ip_address(source) in situation(node).members
    assert situation(node).refused == 0


def test_arm_keeps_who_left_before(bench: Cluster, node: Namespace) -> None:
    """Whoever takes over from a healthy MASTER still knows who left before, and refreshes what is there already."""
    hold(node, group(str(VIP), members=[PEER], ranks={PEER: 1, "10.0.0.3": 2}))
    send(bench, advert())
    for _ in range(2):
        node.in_network(lambda: Rules().arm([VIP], ip_address("10.0.0.3")))
        assert {*armed(node)} == {PEER, "10.0.0.3"}


def test_disarm(bench: Cluster, node: Namespace) -> None:
    """A leaver that is gone is taken out for all VIPs, another one stays; twice is as good as once."""
    hold(node, group(str(VIP), "10.0.0.11", members=[PEER]))
    send(bench, advert())
    assert armed(node) == [PEER, PEER]
    for gone, left in ((ip_address("10.0.0.3"), [PEER, PEER]), (ip_address(PEER), []), (ip_address(PEER), [])):
        node.in_network(lambda gone=gone: Rules().disarm(gone))  # type: ignore[misc]
        assert armed(node) == left


@pytest.mark.kernel("handoff rules", short=True)
def test_nft_prints_the_rules(bench: Cluster, node: Namespace) -> None:
    """An operator's `nft list ruleset` shows what we do, whatever the wording of his nft."""
    hold(node, group(str(VIP), members=["10.0.0.2"], version=2, rank=1, ranks={"10.0.0.2": 0}))
    listed = normal(nft(bench.nodes[0], "list", "ruleset"))
    for line in (
        "elements = { 10.0.0.2 }",
        'iifname "eth0" meta l4proto vrrp goto adverts comment "VRRP"',
        'ip protocol != tcp goto others comment "no TCP, or behind extension headers"',
        'ip daddr 10.0.0.10 ip daddr @leaving goto armed comment "somebody has left"',
        'iifname != "eth0" accept comment "from elsewhere"',
        'ip ttl 255 ip saddr @members goto member comment "of a member"',
        'ip length 40 @th,0,8 0x21 @th,24,8 0x1 @th,64,32 0xa00000a @th,16,8 0x43-0x63 goto arm comment "a member is leaving"',
        'counter packets 0 bytes 0 drop comment "keepalived does not hear it"',
        'comment "the last one to leave"',
        "ip saddr 10.0.0.2 delete @leavers { 0x1 : ip saddr }",
        '@th,32,8 & 0xc0 == 0x80 delete @leavers { @th,32,8 & 0x3f : ip saddr } drop comment "it has ended"',
        'update @leavers { @th,32,8 & 0x3f : ip saddr } comment "it serves what it has"',
        'tcp flags != syn / syn,ack goto unknown comment "of a connection"',
        "tcp flags syn / syn,ack limit rate over 10000/second burst 10000 packets update @opening "
        '{ ip saddr . tcp sport . ip daddr . tcp dport timeout 1s } accept comment "a flood of handshakes"',
        'tcp flags syn / syn,ack update @opening { ip saddr . tcp sport . ip daddr . tcp dport } comment "a handshake"',
        'socket wildcard 1 goto onward comment "only a listener knows it"',
        'ip saddr . th sport . ip daddr . th dport @opening accept comment "a handshake here knows it"',
        'socket mark != 0x00000000 accept comment "a connection here knows it, by its mark"',
        'socket wildcard 0 ip daddr . th dport != @bound accept comment "a connection here knows it"',
        'socket wildcard 0 ip saddr . th sport . ip daddr . th dport @older accept comment "a connection here that is older than marks"',
        'ip ttl <= 1 goto circled comment "it went round"',
        'ip ttl <= 16 goto next comment "it was handed on"',
        'ip ttl set 16 comment "not for long"',
        'map @leavers device "eth0" goto send comment "place 1"',
        'counter packets 0 bytes 0 drop comment "whoever serves it gets it"',
    ):
        assert normal(line) in listed, line
    node.in_network(lambda: Rules().mark(1 << 28, [(VIP, 80)]))
    client, here = (ip_address("10.0.0.200"), 40_000), (VIP, 80)
    node.in_network(lambda: Rules().tell_apart([here], [(client, here)]))
    listed = normal(nft(bench.nodes[0], "list", "ruleset"))
    for line in (
        "type filter hook input priority 1000; policy accept;",
        'ip daddr . tcp dport @marked meta mark 0x00000000 meta mark set 0x10000000 comment "its connection inherits it"',
        "elements = { 10.0.0.10 . 80 }",
        "elements = { 10.0.0.200 . 40000 . 10.0.0.10 . 80 }",
    ):
        assert normal(line) in listed, line
    hold(node, group(str(VIP6)))
    node.in_network(lambda: Rules().mark(1 << 28, [(VIP6, 80)]))
    client, here = (ip_address("fd00::200"), 40_000), (VIP6, 80)
    node.in_network(lambda: Rules().tell_apart([here], [(client, here)]))
    listed = normal(nft(bench.nodes[0], "list", "ruleset"))
    assert normal("elements = { fd00::200 . 40000 . fd00::10 . 80 }") in listed
    assert normal('ip6 saddr . th sport . ip6 daddr . th dport @opening accept comment "a handshake here knows it"') in listed
    hold(node, group(str(VIP6), str(VIP)))
    listed = normal(nft(bench.nodes[0], "list", "ruleset"))
    assert normal("update @further { ip6 saddr : @th,192,32 } drop") in listed
    assert normal("update @further { ip saddr : @th,192,128 } drop") in listed
    hold(node, group(str(VIP6), virtual="vrrp.1"))
    listed = normal(nft(bench.nodes[0], "list", "ruleset"))
    for line in (
        'iifname "vrrp.1" meta pkttype host goto virtual comment "to the VIP\'s MAC"',
        '!= @speaks counter packets 0 bytes 0 drop comment "a peer is MASTER"',
        'oifname "eth0" meta l4proto vrrp @th,8,8 0x1 @th,16,8 != 0x0 update @speaks {',
        'oifname "vrrp.1" icmpv6 type mld2-listener-report @th,64,8 0x3 drop',
    ):
        assert normal(line) in listed, line
    hold(node, group(str(VIP), virtual="vrrp.1"))
    assert 'iifname "vrrp.1" arp saddr ether 00:00:5e:00:01:01 counter packets 0 bytes 0 drop' in nft(bench.nodes[0], "list", "ruleset")
    assert normal('ip6 hoplimit set 16 comment "not for long"') in listed
    assert normal('map @leavers device "eth0" goto send comment "place 8"') in listed


@pytest.mark.kernel("handoff rules", short=True)
def test_release_leaves_no_trace(bench: Cluster, node: Namespace) -> None:
    """Somebody else's table is what it was, and ours is gone; twice is as good as once."""
    machine = bench.nodes[0]
    nft(machine, "add table ip theirs; add chain ip theirs input { type filter hook input priority 0; }; add rule ip theirs input counter")
    before = nft(machine, "list", "tables")
    for _ in range(2):
        hold(node, group(str(VIP)))
    assert nft(machine, "list", "tables") == before + "table ip vrrp_drain\n"
    for _ in range(2):
        node.in_network(Rules().release)
    assert nft(machine, "list", "tables") == before
    assert situation(node) == Situation()
    nft(machine, "delete table ip theirs")


@pytest.mark.kernel("handoff rules")
def test_a_trial_leaves_no_trace(bench: Cluster, node: Namespace) -> None:
    """The kernel has checked all of it, and nothing is there; what was installed stays as it was."""
    hold(node, group(str(VIP), members=[PEER]))
    send(bench, advert())
    before = nft(bench.nodes[0], "list", "tables")
    node.in_network(lambda: Rules().trial(group(str(VIP), str(VIP6))))
    assert nft(bench.nodes[0], "list", "tables") == before
    assert armed(node) == [PEER]
