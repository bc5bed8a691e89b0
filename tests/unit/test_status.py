"""Where the VIP is, in plain words and as it was found."""

import errno
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.fakes import MAC, OWN, PEER, PEER_MAC, VIP, FakeHaproxy, FakeInquiry, FakeIPR, FakeNode, address, came_from
from vrrp_drain import listeners, status
from vrrp_drain.advert import Advert, Packet
from vrrp_drain.bands import Band
from vrrp_drain.errors import SystemFault
from vrrp_drain.netlink import Netlink
from vrrp_drain.status import Status

BACKUP = Status(
    instance="haproxy/0",
    vip=VIP,
    interface="eth0",
    virtual_router_id=7,
    vip_here=False,
    keepalived_pid=4711,
    band="draining",
    band_since=86400.0,
    priority=99,
    haproxy_healthy=True,
    haproxy_detail="",
    master=PEER,
    master_priority=253,
    answering=[PEER_MAC],
    handoff=True,
    handed_off_to=[],
    bound_to_vip=[],
)
MASTER = replace(BACKUP, vip_here=True, band="active", band_since=None, priority=254, master=None, master_priority=None, answering=[])
ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))


def test_the_lines_of_a_backup() -> None:
    """The whole report, once: what an operator reads at 3 am."""
    assert BACKUP.lines() == [
        "instance    haproxy/0",
        "VIP         10.0.0.10 is at 10.0.0.2, which adverts priority 253 (active)",
        "band        draining since 1970-01-02 00:00:00 UTC, priority 99, VRID 7",
        "keepalived  runs (pid 4711)",
        "haproxy     answers",
    ]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        pytest.param(MASTER, "VIP         10.0.0.10 is here, on eth0: this instance is MASTER", id="master"),
        pytest.param(MASTER, "band        active, priority 254, VRID 7", id="a band without a file"),
        pytest.param(
            replace(MASTER, keepalived_pid=None),
            "VIP         10.0.0.10 is on eth0, but keepalived does not run: it is stale; vrrpctl demote clears it safely",
            id="stale",
        ),
        pytest.param(replace(BACKUP, keepalived_pid=None), "keepalived  does not run", id="keepalived dead"),
        pytest.param(
            replace(BACKUP, master=None, master_priority=None, answering=[]),
            "VIP         10.0.0.10 is not here and nobody adverts it: clients are without it, or adverts do not reach this instance",
            id="nobody",
        ),
        pytest.param(
            replace(BACKUP, haproxy_healthy=False, haproxy_detail="haproxy is stopping"), "haproxy     haproxy is stopping", id="ill"
        ),
        pytest.param(
            replace(MASTER, answering=[PEER_MAC]),
            f"warning     {PEER_MAC} also answers for 10.0.0.10: clients reach one of two machines",
            id="two masters",
        ),
        pytest.param(
            replace(BACKUP, bound_to_vip=[f"{VIP}:80"]),
            "warning     10.0.0.10:80 is bound to the VIP itself: a move cuts its open connections. "
            "Bind it to every address instead, in haproxy: bind *:80",
            id="bound to the VIP",
        ),
    ],
)
def test_what_is_wrong_has_its_line(found: Status, line: str) -> None:
    """Each state of the VIP, of keepalived and of haproxy is said in words."""
    assert line in found.lines()


def test_as_json_has_every_field() -> None:
    """Programs get the fields under their names."""
    assert BACKUP.as_json() == {name: getattr(BACKUP, name) for name in Status.__dataclass_fields__}


class Segment:
    """What a look hears on the segment, and for how long it would have listened."""

    def __init__(self) -> None:
        self.inquiry = FakeInquiry(time.monotonic)
        self.heard: list[tuple[Advert, str]] = []
        self.seconds: list[float] = []

    def adverts(self, interface: str, family: int, seconds: float) -> Iterator[tuple[Advert, Packet]]:
        self.seconds.append(seconds)
        return ((advert, came_from(source)) for advert, source in self.heard)


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch, haproxy_health: FakeHaproxy) -> Segment:
    created = Segment()
    monkeypatch.setattr(listeners, "bound_to", lambda vips: [])
    monkeypatch.setattr(status, "adverts", created.adverts)
    monkeypatch.setattr(status, "inquire", lambda interface, mac, target: created.inquiry)
    return created


def test_a_backup_finds_the_master(node: FakeNode, netlink: Netlink, segment: Segment) -> None:
    """The report tells where the VIP is and how this instance stands."""
    node.lever.write(Band.DRAINING)
    segment.heard = [(ADVERT, PEER)]
    segment.inquiry.macs = [PEER_MAC, PEER_MAC]
    found = status.look(node, netlink)
    assert (found.master, found.master_priority, found.answering) == (PEER, 253, [PEER_MAC])
    assert (found.vip_here, found.band, found.priority, found.keepalived_pid) == (False, "draining", 99, 4711)
    assert (found.haproxy_healthy, found.haproxy_detail) == (True, "")
    assert len(segment.inquiry.asked) == 1
    assert segment.inquiry.closed


def test_the_priority_is_what_keepalived_adverts_in_that_band(node: FakeNode, netlink: Netlink, segment: Segment) -> None:
    """How much lower the draining band is depends on whose keepalived job it is."""
    node.config = replace(node.config, keepalived=replace(node.config.keepalived, priority=103, lowered=53))
    assert status.look(node, netlink).priority == 103
    node.lever.write(Band.DRAINING)
    assert status.look(node, netlink).priority == 53


@pytest.mark.parametrize(("advert_int", "seconds"), [(1.0, 1.1), (0.1, 0.4)])
def test_silence_is_heard_for_one_interval(node: FakeNode, netlink: Netlink, segment: Segment, advert_int: float, seconds: float) -> None:
    """That nobody is there takes an advert interval and a bit to find out."""
    node.config = replace(node.config, keepalived=replace(node.config.keepalived, advert_int=advert_int))
    found = status.look(node, netlink)
    assert (found.master, found.master_priority, found.answering) == (None, None, [])
    assert segment.seconds == [pytest.approx(seconds)]


@pytest.mark.parametrize(
    ("advert", "source"),
    [
        pytest.param(replace(ADVERT, vrid=2), PEER, id="another VRID"),
        pytest.param(replace(ADVERT, version=3), PEER, id="another version"),
        pytest.param(ADVERT, OWN, id="our own"),
    ],
)
def test_other_adverts_are_no_masters(node: FakeNode, netlink: Netlink, segment: Segment, advert: Advert, source: str) -> None:
    """Only somebody else's adverts for our virtual router tell where the master is."""
    segment.heard = [(advert, source), (ADVERT, "10.0.0.3")]
    assert status.look(node, netlink).master == "10.0.0.3"


def test_a_second_master_is_seen(node: FakeNode, netlink: Netlink, ipr: FakeIPR, segment: Segment) -> None:
    """With the VIP here, an answer of another machine is kept; those of our own interfaces are none."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    segment.inquiry.macs = [MAC, "02:00:00:00:01:01", PEER_MAC]
    assert status.look(node, netlink).answering == [PEER_MAC]


def test_an_interface_that_is_down_can_be_looked_at(node: FakeNode, netlink: Netlink, segment: Segment) -> None:
    """When the question cannot be sent, the report still comes."""

    def down() -> None:
        raise OSError(errno.ENETDOWN, "Network is down")

    segment.inquiry.on_ask = down
    assert status.look(node, netlink).answering == []


def test_what_is_broken_is_in_the_report(node: FakeNode, netlink: Netlink, segment: Segment, haproxy_health: FakeHaproxy) -> None:
    """A sick haproxy and a damaged band are findings, not failures."""
    haproxy_health.problem = "haproxy does not answer"
    node.lever.write(Band.DRAINING)
    node.lever.path.write_text("?")
    found = status.look(node, netlink)
    assert (found.haproxy_healthy, found.haproxy_detail) == (False, "haproxy does not answer")
    assert "run vrrpctl promote or demote" in found.band


def test_listeners_on_the_vip_itself_are_found(node: FakeNode, netlink: Netlink, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the report where connections would be handed off otherwise; a kernel that does not tell is no failure."""
    monkeypatch.setattr(listeners, "bound_to", lambda vips: [f"{vip}:80" for vip in vips])
    assert status.look(node, netlink).bound_to_vip == [f"{VIP}:80"]
    unwanted = replace(node.config, drain=replace(node.config.drain, connection_handoff=False))
    wanted, node.config = node.config, unwanted
    assert status.look(node, netlink).bound_to_vip == []
    node.config = wanted

    def untold(vips: object) -> list[str]:
        raise SystemFault("the kernel does not tell its connections")

    monkeypatch.setattr(listeners, "bound_to", untold)
    assert status.look(node, netlink).bound_to_vip == []
