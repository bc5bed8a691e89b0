"""This instance with all its parts: the table's actions change the band, and a fault of ours puts it back."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.fakes import OWN, PEER, PEER_MAC, VIP, FakeHaproxy, FakeIPR, address
from vrrp_drain import keepalived
from vrrp_drain import node as node_module
from vrrp_drain.advert import Advert, IPAddress
from vrrp_drain.bands import Band
from vrrp_drain.config import Config
from vrrp_drain.demote import Demote
from vrrp_drain.errors import SystemFault
from vrrp_drain.judge import Electorate
from vrrp_drain.netlink import Netlink
from vrrp_drain.node import Node
from vrrp_drain.paths import Paths
from vrrp_drain.promote import Promote
from vrrp_drain.signals import Cancellation
from vrrp_drain.transitions import Event, Sign

ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
SUCCESSOR = Event(Sign.SUCCESSOR, {"peer": PEER, "priority": 253})
ANSWER = Event(Sign.PEER_ANSWERS, {"mac": PEER_MAC})


class FakeSenses:
    """Senses that tell the signs of a script, one at a time, and then the deadline's silence."""

    def __init__(self) -> None:
        self.script: list[Event] = []
        self.fault: Exception | None = None
        self.electorate: Electorate | None = None
        self.our_priority = 0
        self.probes = 0

    def __call__(self, electorate: Electorate, our_priority: int, *others: object) -> "FakeSenses":
        self.electorate, self.our_priority = electorate, our_priority
        return self

    def __enter__(self) -> "FakeSenses":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def look(self) -> Event:
        return self.script.pop(0)

    def wait(self, seconds: float) -> list[Event]:
        if self.fault is not None:
            raise self.fault
        return [self.script.pop(0)]

    def probe(self) -> None:
        self.probes += 1


@pytest.fixture
def senses(monkeypatch: pytest.MonkeyPatch, haproxy_health: FakeHaproxy) -> FakeSenses:
    fake = FakeSenses()
    monkeypatch.setattr(node_module, "Senses", fake)
    return fake


@pytest.fixture
def node(config: Config, paths: Paths, netlink: Netlink, cancellation: Cancellation) -> Node:
    return Node(config, paths, netlink, cancellation)


def test_demote_lowers_and_proves(node: Node, senses: FakeSenses, log: pytest.LogCaptureFixture) -> None:
    """A demotion leaves the draining band written, has asked the segment, and has logged its steps."""
    senses.script = [Event(Sign.VIP_HERE), SUCCESSOR, Event(Sign.VIP_GONE), ANSWER]
    assert node.demote(5).state is Demote.DONE
    assert node.band_file.read() is Band.DRAINING
    assert senses.probes == 1
    assert log.messages == [
        f"{VIP} is on eth0 here: priority lowered to 204; serving until a successor has it",
        f"{PEER} adverts priority 253, above our 204: it takes over",
        f"{VIP} left eth0: asking the segment who answers for it",
        f"{PEER_MAC} answers for {VIP}: handed over",
    ]


def test_the_electorate_is_that_of_the_configuration(node: Node, senses: FakeSenses, ipr: FakeIPR) -> None:
    """Adverts are judged with the manifest's values, the addresses of this machine and the peers of the link."""
    senses.script = [Event(Sign.KEEPALIVED_GONE)]
    node.demote(5)
    vip, own, loopback, peer = map(ip_address, (VIP, OWN, "127.0.0.1", PEER))
    assert senses.electorate == Electorate(1, 2, 1.0, vip, frozenset({own, loopback}), frozenset({peer}))


@pytest.mark.parametrize(("problem", "priority"), [("", 204), ("haproxy does not answer", 104)])
def test_demote_knows_its_priority(
    node: Node, senses: FakeSenses, haproxy_health: FakeHaproxy, log: pytest.LogCaptureFixture, problem: str, priority: int
) -> None:
    """The priority to beat is that of the draining band; without a healthy haproxy, which is a warning, that of both bands."""
    haproxy_health.problem = problem
    senses.script = [Event(Sign.KEEPALIVED_GONE)]
    node.demote(5)
    assert senses.our_priority == priority
    warnings = [record.getMessage() for record in log.records if record.levelname == "WARNING"]
    assert [warning.partition(":")[0] for warning in warnings] == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("heard", "said"),
    [([], ""), ([(ADVERT, PEER)], ""), ([(replace(ADVERT, version=3), PEER)], f"{PEER} speaks VRRP version 3")],
    ids=["silence", "a peer", "a stranger"],
)
def test_a_stranger_is_found_by_listening(node: Node, monkeypatch: pytest.MonkeyPatch, heard: list[tuple[Advert, str]], said: str) -> None:
    """Whoever adverts our VRID in a way that we would ignore is named with the reason; peers are none of them."""

    def adverts(interface: str, family: int, seconds: float) -> Iterator[tuple[Advert, IPAddress]]:
        assert (interface, family, seconds) == ("eth0", 4, 1.1)
        yield from ((advert, ip_address(source)) for advert, source in heard)

    monkeypatch.setattr(node_module, "adverts", adverts)
    assert node.stranger(1.1).partition(" for ")[0] == said


def test_a_cancelled_demotion_restores_the_priority(node: Node, senses: FakeSenses) -> None:
    """After a signal the active band is back."""
    senses.script = [Event(Sign.VIP_HERE), Event(Sign.CANCEL)]
    assert node.demote(5).state is Demote.CANCELLED
    assert node.band_file.read() is Band.ACTIVE


def test_a_demotion_without_a_successor_leaves_the_policy_to_the_caller(node: Node, senses: FakeSenses) -> None:
    """With nobody there the priority stays lowered."""
    senses.script = [Event(Sign.VIP_HERE), Event(Sign.DEADLINE)]
    assert node.demote(5).state is Demote.NO_SUCCESSOR
    assert node.band_file.read() is Band.DRAINING


def test_a_fault_of_ours_does_not_demote(node: Node, senses: FakeSenses) -> None:
    """When the handover breaks on our side, the node goes on as it was and the fault is told."""
    senses.script = [Event(Sign.VIP_HERE)]
    senses.fault = SystemFault("interface eth0 does not exist")
    with pytest.raises(SystemFault, match="interface eth0"):
        node.demote(5)
    assert node.band_file.read() is Band.ACTIVE


def test_promote_raises_and_proves(node: Node, senses: FakeSenses) -> None:
    """A promotion leaves the active band written and has made sure that nobody else answers."""
    node.band_file.write(Band.DRAINING)
    senses.script = [Event(Sign.VIP_GONE), Event(Sign.VIP_HERE), Event(Sign.NOBODY_ANSWERS)]
    assert node.promote(5).state is Promote.MASTER
    assert node.band_file.read() is Band.ACTIVE
    assert (senses.our_priority, senses.probes) == (254, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [(Band.DRAINING, Band.DRAINING), (Band.ACTIVE, Band.ACTIVE), (None, Band.ACTIVE)],
    ids=["draining", "active", "none"],
)
@pytest.mark.parametrize("fault", [None, SystemFault("the interface went")], ids=["fails", "breaks"])
def test_a_promotion_that_fails_puts_the_band_back(
    node: Node, senses: FakeSenses, before: Band | None, after: Band, fault: Exception | None
) -> None:
    """Whether it fails or breaks, the band afterwards is the one before; without a file keepalived had counted us as active."""
    if before:
        node.band_file.write(before)
    senses.script = [Event(Sign.VIP_GONE), Event(Sign.DEADLINE)]
    senses.fault = fault
    if fault:
        with pytest.raises(SystemFault):
            node.promote(5)
    else:
        assert node.promote(5).state is Promote.FAILED
    assert node.band_file.read() is after


def test_a_damaged_band_does_not_stop_a_promotion(node: Node, senses: FakeSenses, log: pytest.LogCaptureFixture) -> None:
    """What keepalived cannot read counts as active, with a warning, also when it is put back."""
    node.band_file.write(Band.DRAINING)
    node.band_file.path.write_text("?")
    senses.script = [Event(Sign.VIP_GONE), Event(Sign.DEADLINE)]
    assert node.promote(5).state is Promote.FAILED
    assert log.messages[0].endswith("; taken as active")
    assert node.band_file.read() is Band.ACTIVE


@pytest.mark.parametrize(
    ("pid", "on_interface", "removed"), [(None, 2, True), (None, 1, False), (4711, 2, False)], ids=["stale", "on lo", "keepalived runs"]
)
def test_only_a_stale_vip_is_removed(
    node: Node, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch, pid: int | None, on_interface: int, removed: bool
) -> None:
    """The VIP is taken away where keepalived is dead, never under a living one."""
    monkeypatch.setattr(keepalived, "running", lambda pid_file: pid)
    before = list(ipr.addresses)
    vip = address(on_interface, f"{VIP}/32")
    ipr.addresses = [*before, vip]
    assert node.remove_stale_vip() is removed
    assert ipr.addresses == (before if removed else [*before, vip])


def test_a_demotion_removes_a_stale_vip(node: Node, senses: FakeSenses, ipr: FakeIPR) -> None:
    """The table's action reaches the interface, once a peer is MASTER."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    senses.script = [Event(Sign.VIP_STALE), SUCCESSOR, Event(Sign.VIP_GONE), ANSWER]
    assert node.demote(5).state is Demote.DONE
    assert not node.vip_here()
