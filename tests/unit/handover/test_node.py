"""This instance with all its parts: the table's actions change the band, and a fault of ours puts it back."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, VIP, FakeHaproxy, FakeIPR, FakeRules, address, came_from, link, rendered
from vrrp_drain.config.model import Config
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handover import greeting, resignation
from vrrp_drain.handover import node as node_module
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.node import Node
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.transitions import Event, Sign
from vrrp_drain.haproxy import health_check
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.linux import process
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.election import Electorate, Register

ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
SUCCESSOR = Event(Sign.SUCCESSOR, {"peer": PEER, "priority": 253})
ANSWER = Event(Sign.PEER_ANSWERS, {"mac": PEER_MAC})


Build = Callable[..., Node]


class FakeEventSource:
    """Senses that tell the signs of a script, one at a time, and then the deadline's silence."""

    def __init__(self) -> None:
        self.script: list[Event] = []
        self.fault: Exception | None = None
        self.electorate: Electorate | None = None
        self.our_priority = 0
        self.probes = 0

    def __call__(self, register: Register, our_priority: int, *others: object) -> "FakeEventSource":
        self.electorate, self.our_priority = register.current, our_priority
        return self

    def __enter__(self) -> "FakeEventSource":
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

    def resign(self, send: Callable[[IPAddress | None], None]) -> None:
        send(None)
        send(ip_address(PEER))


@pytest.fixture
def event_source(monkeypatch: pytest.MonkeyPatch, haproxy_health: FakeHaproxy) -> FakeEventSource:
    fake = FakeEventSource()
    monkeypatch.setattr(node_module, "EventSource", fake)
    for name in ("send", "remind"):  # nothing leaves this machine
        monkeypatch.setattr(resignation, name, lambda *arguments, **more: None)
    monkeypatch.setattr(node_module, "adverts", lambda *arguments: iter(()))  # and nothing comes
    return fake


@pytest.fixture
def build(paths: Paths, netlink: Netlink, cancellation: Cancellation) -> Build:
    """Make the node of a manifest with these properties."""

    def make(**sections: Any) -> Node:
        node = Node(Config.parse(rendered(**sections)), paths, netlink, cancellation)
        node.rules = FakeRules()
        return node

    return make


@pytest.fixture
def node(build: Build) -> Node:
    return build()


def test_demote_lowers_and_proves(node: Node, event_source: FakeEventSource, log: pytest.LogCaptureFixture) -> None:
    """A demotion leaves the draining band written, has asked the segment, and has logged its steps."""
    event_source.script = [Event(Sign.VIP_HERE), SUCCESSOR, Event(Sign.VIP_GONE), ANSWER]
    assert node.demote(5).state is Demote.DONE
    assert node.priority_control.read() is Band.DRAINING
    assert event_source.probes == 1
    assert log.messages == [
        f"{VIP} is on eth0 here: priority lowered to 99; serving until a successor has it",
        f"{PEER} adverts priority 253, above our 99: it takes over",
        f"{VIP} left eth0: asking the segment who answers for it",
        f"{PEER_MAC} answers for {VIP}: handed over",
    ]


def test_the_electorate_is_that_of_the_configuration(node: Node, event_source: FakeEventSource, ipr: FakeIPR) -> None:
    """Adverts are judged with the manifest's values, the addresses of this machine and the peers of the link."""
    event_source.script = [Event(Sign.KEEPALIVED_GONE)]
    node.demote(5)
    vip, own, loopback, peer = map(ip_address, (VIP, OWN, "127.0.0.1", PEER))
    assert event_source.electorate == Electorate(
        1,
        2,
        1.0,
        vip,
        frozenset({own, loopback}),
        frozenset({peer}),
        members=frozenset({peer}),
        closed=True,
        nobody=frozenset({vip, ip_address("10.0.0.255")}),
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
    build: Build, ipr: FakeIPR, situation: Situation | None, own: str, closed: bool
) -> None:
    """Where our adverts come from the address that the link names, so do the peers'; without our rules keepalived hears everybody."""
    ipr.addresses = [address(2, f"{own}/24")]
    node = build()
    assert isinstance(node.rules, FakeRules)
    if situation is None:
        node.rules.fault = SystemFault("the kernel does not tell its nftables rules")
    else:
        node.rules.situation = replace(situation, members=(ip_address("10.0.0.33"),))
    found = node.electorate()
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
    build: Build, event_source: FakeEventSource, keepalived: dict[str, Any], peers: set[str], authentication: tuple[int, bytes]
) -> None:
    """Peers are known by either address, and by the password that they must have."""
    event_source.script = [Event(Sign.KEEPALIVED_GONE)]
    build(keepalived=keepalived).demote(5)
    assert event_source.electorate is not None
    assert event_source.electorate.peers == frozenset(map(ip_address, peers))
    assert event_source.electorate.authentication == authentication


@pytest.mark.parametrize(("problem", "priority"), [("", 99), ("haproxy does not answer", 1)])
def test_demote_knows_its_priority(
    node: Node, event_source: FakeEventSource, haproxy_health: FakeHaproxy, log: pytest.LogCaptureFixture, problem: str, priority: int
) -> None:
    """The priority to beat is that of the draining band; without a healthy haproxy, which is a warning, that of both bands."""
    haproxy_health.problem = problem
    event_source.script = [Event(Sign.KEEPALIVED_GONE)]
    node.demote(5)
    assert event_source.our_priority == priority
    warnings = [record.getMessage() for record in log.records if record.levelname == "WARNING"]
    assert [warning.partition(":")[0] for warning in warnings] == ([problem] if problem else [])


def test_a_cancelled_demotion_restores_the_priority(node: Node, event_source: FakeEventSource) -> None:
    """After a signal the active band is back."""
    event_source.script = [Event(Sign.VIP_HERE), Event(Sign.CANCEL)]
    assert node.demote(5).state is Demote.CANCELLED
    assert node.priority_control.read() is Band.ACTIVE


def test_a_demotion_without_a_successor_leaves_the_policy_to_the_caller(node: Node, event_source: FakeEventSource) -> None:
    """With nobody there the priority stays lowered."""
    event_source.script = [Event(Sign.VIP_HERE), Event(Sign.DEADLINE)]
    assert node.demote(5).state is Demote.NO_SUCCESSOR
    assert node.priority_control.read() is Band.DRAINING


def test_a_fault_of_ours_does_not_demote(node: Node, event_source: FakeEventSource) -> None:
    """When the handover breaks on our side, the node goes on as it was and the fault is told."""
    event_source.script = [Event(Sign.VIP_HERE)]
    event_source.fault = SystemFault("interface eth0 does not exist")
    with pytest.raises(SystemFault, match="interface eth0"):
        node.demote(5)
    assert node.priority_control.read() is Band.ACTIVE


def test_promote_raises_and_proves(node: Node, event_source: FakeEventSource) -> None:
    """A promotion leaves the active band written and has made sure that nobody else answers."""
    node.priority_control.write(Band.DRAINING)
    event_source.script = [Event(Sign.VIP_GONE), Event(Sign.VIP_HERE), Event(Sign.NOBODY_ANSWERS)]
    assert node.promote(5).state is Promote.MASTER
    assert node.priority_control.read() is Band.ACTIVE
    assert (event_source.our_priority, event_source.probes) == (254, 1)


@pytest.mark.parametrize(("preempt", "needed"), [(True, 254), (False, 102)])
def test_without_preemption_any_active_master_is_a_good_end(
    build: Build, event_source: FakeEventSource, preempt: bool, needed: int
) -> None:
    """With keepalived.preempt a MASTER below us gives way; without it he stays, and we are his backup."""
    event_source.script = [Event(Sign.VIP_GONE), Event(Sign.SUCCESSOR, {"peer": PEER, "priority": 240})]
    assert build(keepalived={"preempt": preempt}).promote(5).state is Promote.BACKUP
    assert event_source.our_priority == needed


@pytest.mark.parametrize(
    ("preempt", "fast", "peers", "resigned"),
    [(True, True, [PEER], True), (True, True, [], False), (True, False, [PEER], False), (False, False, [], True)],
    ids=["a healthy peer", "no healthy peer", "not wanted", "peers that do not preempt"],
)
def test_whom_a_demotion_hurries(
    build: Build,
    event_source: FakeEventSource,
    monkeypatch: pytest.MonkeyPatch,
    preempt: bool,
    fast: bool,
    peers: list[str],
    resigned: bool,
) -> None:
    """After the band is written we say that we leave, and once more to the successor.

    We resign as well if a healthy peer is there, and always where a lower priority moves nothing.
    """
    node = build(keepalived={"preempt": preempt}, vrrp_drain={"fast_handover": fast})
    sent: list[object] = []
    monkeypatch.setattr(resignation, "send", lambda *arguments, resign: sent.append((*arguments, resign, node.priority_control.read())))
    monkeypatch.setattr(resignation, "remind", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(health_check, "answering", lambda check, asked: [each for each in asked if str(each) in peers])
    event_source.script = [Event(Sign.VIP_HERE), SUCCESSOR, Event(Sign.VIP_GONE), ANSWER]
    assert node.demote(5).state is Demote.DONE
    assert sent == [(node.config, node.attachment, 99, resigned, Band.DRAINING), (node.config, node.attachment, 99, ip_address(PEER))]


def test_our_own_haproxy_is_no_peers(build: Build, event_source: FakeEventSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own address among keepalived.unicast_peers is not asked: it would always answer."""
    asked: list[object] = []
    monkeypatch.setattr(health_check, "answering", lambda check, peers: asked.append(peers))
    event_source.script = [Event(Sign.VIP_HERE), SUCCESSOR, Event(Sign.VIP_GONE), ANSWER]
    build(keepalived={"unicast": True, "unicast_peers": [OWN, PEER]}).demote(5)
    assert asked == [[ip_address(PEER)]]


def test_a_resignation_that_cannot_be_sent_is_a_warning(
    build: Build, event_source: FakeEventSource, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """The demotion goes on: peers may take over all the same, and if they do not, the deadline says so."""

    def fail(*arguments: object, **more: object) -> None:
        raise SystemFault("cannot send an advert on eth0: Network is down")

    monkeypatch.setattr(resignation, "send", fail)
    event_source.script = [Event(Sign.VIP_HERE), SUCCESSOR, Event(Sign.VIP_GONE), ANSWER]
    assert build(keepalived={"preempt": False}).demote(5).state is Demote.DONE
    warnings = [record.getMessage() for record in log.records if record.levelname == "WARNING"]
    assert [warning.startswith("cannot send an advert on eth0: Network is down: ") for warning in warnings] == [True]


@pytest.fixture
def other_job(tmp_path: Path) -> Path:
    """The directory of another release's keepalived job."""
    (tmp_path / "keepalived.config").write_text("vrrp_instance one {\npriority 101\n}\n")
    return tmp_path


@pytest.fixture
def beside(build: Build, other_job: Path) -> Node:
    """A node beside another release's keepalived job."""
    files = {"keepalived_config": f"{other_job}/keepalived.config", "keepalived_pid_file": f"{other_job}/keepalived.pid"}
    return build(vrrp_drain=files)


def test_another_jobs_keepalived_is_demoted_through_its_configuration(beside: Node, event_source: FakeEventSource, other_job: Path) -> None:
    """Its priority is the lever, there and back; our own band file is not written."""
    event_source.script = [Event(Sign.VIP_HERE), Event(Sign.DEADLINE)]
    beside.demote(5)
    assert "priority 81 " in (other_job / "keepalived.config").read_text()
    assert event_source.our_priority == 81
    event_source.script = [Event(Sign.VIP_GONE), SUCCESSOR]
    beside.promote(5)
    assert "priority 101\n" in (other_job / "keepalived.config").read_text()
    assert event_source.our_priority == 101
    assert not beside.paths.keepalived_run.exists()


def test_another_jobs_keepalived_is_found_by_its_pid_file(beside: Node, other_job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether keepalived runs is asked of the other job's pid file."""
    monkeypatch.setattr(process, "running", lambda pid_file: 4711 if pid_file == other_job / "keepalived.pid" else None)
    assert beside.keepalived_pid() == 4711


@pytest.mark.parametrize(
    ("before", "after"),
    [(Band.DRAINING, Band.DRAINING), (Band.ACTIVE, Band.ACTIVE), (None, Band.ACTIVE)],
    ids=["draining", "active", "none"],
)
@pytest.mark.parametrize("fault", [None, SystemFault("the interface went")], ids=["fails", "breaks"])
def test_a_promotion_that_fails_puts_the_band_back(
    node: Node, event_source: FakeEventSource, before: Band | None, after: Band, fault: Exception | None
) -> None:
    """Whether it fails or breaks, the band afterwards is the one before; without a file keepalived had counted us as active."""
    if before:
        node.priority_control.write(before)
    event_source.script = [Event(Sign.VIP_GONE), Event(Sign.DEADLINE)]
    event_source.fault = fault
    if fault:
        with pytest.raises(SystemFault):
            node.promote(5)
    else:
        assert node.promote(5).state is Promote.FAILED
    assert node.priority_control.read() is after


def test_a_damaged_band_does_not_stop_a_promotion(node: Node, event_source: FakeEventSource, log: pytest.LogCaptureFixture) -> None:
    """What keepalived cannot read counts as active, with a warning, also when it is put back."""
    node.priority_control.write(Band.DRAINING)
    node.priority_control.path.write_text("?")
    event_source.script = [Event(Sign.VIP_GONE), Event(Sign.DEADLINE)]
    assert node.promote(5).state is Promote.FAILED
    assert log.messages[0].endswith("; taken as active")
    assert node.priority_control.read() is Band.ACTIVE


@pytest.mark.parametrize(
    ("pid", "on_interface", "removed"), [(None, 2, True), (None, 1, False), (4711, 2, False)], ids=["stale", "on lo", "keepalived runs"]
)
def test_only_a_stale_vip_is_removed(
    node: Node, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch, pid: int | None, on_interface: int, removed: bool
) -> None:
    """The VIP is taken away where keepalived is dead, never under a living one."""
    monkeypatch.setattr(process, "running", lambda pid_file: pid)
    before = list(ipr.addresses)
    vip = address(on_interface, f"{VIP}/32")
    ipr.addresses = [*before, vip]
    assert node.remove_stale_vip() is removed
    assert ipr.addresses == (before if removed else [*before, vip])


@pytest.mark.parametrize(("vmac", "interface"), [(False, 2), (True, 4)], ids=["on eth0", "on vrrp.1"])
def test_every_stale_vip_is_removed(build: Build, ipr: FakeIPR, vmac: bool, interface: int) -> None:
    """All VIPs go together, from where keepalived had put them."""
    ipr.links.append(link(4, "vrrp.1", "00:00:5e:00:01:01"))
    before = list(ipr.addresses)
    ipr.addresses = [*before, *(address(interface, each) for each in (f"{VIP}/32", "10.0.0.11/24", "2001:db8::10/64"))]
    assert build(keepalived={"vips": ["10.0.0.11/24", "2001:db8::10/64"], "use_vmac": vmac}).remove_stale_vip()
    assert ipr.addresses == before


FORMER = ip_address("10.0.0.99")


@pytest.mark.parametrize(("pid", "removed"), [(None, True), (4711, False)], ids=["keepalived was killed", "keepalived runs"])
def test_a_vip_of_an_earlier_deployment_is_removed(
    node: Node, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture, pid: int | None, removed: bool
) -> None:
    """Before the new VIP is held, the one that was held last goes from the interface, never under a keepalived that runs."""
    for name in ("arp_ignore", "arp_announce"):
        file = node.paths.interface_settings / "eth0" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("0\n")
    monkeypatch.setattr(process, "running", lambda pid_file: pid)
    node.vip_on_lo.hold([FORMER], "eth0")
    ipr.addresses.append(address(2, f"{FORMER}/32"))
    node.hold_vips()
    found = {(each["index"], each.get_attr("IFA_ADDRESS")) for each in ipr.addresses}
    assert ((2, str(FORMER)) not in found) is removed
    assert (1, str(FORMER)) not in found
    assert (1, VIP) in found
    assert log.messages == ([f"{FORMER} was still on eth0, left by a keepalived that was killed: taken off"] if removed else [])


def test_a_demotion_removes_a_stale_vip(node: Node, event_source: FakeEventSource, ipr: FakeIPR) -> None:
    """The table's action reaches the interface, once a peer is MASTER."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    event_source.script = [Event(Sign.VIP_STALE), SUCCESSOR, Event(Sign.VIP_GONE), ANSWER]
    assert node.demote(5).state is Demote.DONE
    assert not node.vip_here()


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
def test_a_promotion_leaves_connections_with_the_master(
    node: Node,
    event_source: FakeEventSource,
    monkeypatch: pytest.MonkeyPatch,
    advert: Advert,
    source: str,
    armed: list[tuple[list[str], str]],
) -> None:
    """Before the priority is raised, the MASTER's address is known: it goes on serving the connections that it has."""
    monkeypatch.setattr(node_module, "adverts", lambda *arguments: iter([(advert, came_from(source))]))
    event_source.script = [Event(Sign.VIP_GONE), SUCCESSOR]
    node.promote(5)
    assert isinstance(node.rules, FakeRules)
    assert node.rules.arms == armed


def test_a_promotion_of_the_master_arms_nothing(
    node: Node, event_source: FakeEventSource, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the VIP already takes it from nobody."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    monkeypatch.setattr(node_module, "adverts", lambda *arguments: iter([(ADVERT, came_from(PEER))]))
    event_source.script = [Event(Sign.VIP_HERE), Event(Sign.NOBODY_ANSWERS)]
    node.promote(5)
    assert isinstance(node.rules, FakeRules)
    assert node.rules.arms == []


@pytest.mark.parametrize(
    ("band", "unhealthy", "priority", "beside_it"),
    [(Band.ACTIVE, False, 254, 101), (Band.ACTIVE, True, 66, 51), (Band.DRAINING, False, 99, 81), (Band.DRAINING, True, 1, 31)],
)
def test_what_it_adverts(node: Node, beside: Node, band: Band, unhealthy: bool, priority: int, beside_it: int) -> None:
    """Band and mark together decide it, as keepalived reckons and as the other job's configuration has it."""
    for each, expected in ((node, priority), (beside, beside_it)):
        each.priority_control.write(band)
        assert each.priority(band, unhealthy=unhealthy) == expected
        each.priority_control.mark(unhealthy=unhealthy)
    text = (beside.priority_control.path).read_text()
    assert f"priority {beside_it}" in text


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
def test_whose_connections_are_left_with_it(build: Build, properties: dict[str, Any], priority: int, armed: bool) -> None:
    """A MASTER from which we are about to take the VIP, and that goes on serving."""
    node = build(**properties)
    node.leave_connections_with(ip_address(PEER), priority)
    assert node.rules.arms == ([([VIP], PEER)] if armed else [])  # type: ignore[attr-defined]


def test_a_handoff_that_cannot_be_armed_is_a_warning(node: Node, log: pytest.LogCaptureFixture) -> None:
    """The move happens all the same, and cuts what is open."""
    node.rules.fault = SystemFault("nftables refuses")  # type: ignore[attr-defined]
    node.leave_connections_with(ip_address(PEER), 253)
    assert log.messages == ["nftables refuses"]


@pytest.mark.parametrize(("answers", "armed"), [(True, True), (False, False)])
@pytest.mark.parametrize("asks", [True, False], ids=["a promotion", "the watcher"])
def test_clients_packets_go_to_nobody_who_has_proven_nothing(
    build: Build,
    event_source: FakeEventSource,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    answers: bool,
    armed: bool,
    asks: bool,
) -> None:
    """In an open group whoever adverts our VIP is MASTER; its machine must answer for a peer's address too, which a promotion asks."""
    node, unknown = build(), "10.0.0.77"
    node.rules.situation = Situation()  # type: ignore[attr-defined]
    asked: list[object] = []

    def one_machine(*about: object) -> bool:
        asked.append(about)
        return answers

    monkeypatch.setattr(node_module, "one_machine", one_machine)
    monkeypatch.setattr(node_module, "adverts", lambda *arguments: iter([(ADVERT, came_from(unknown))]))
    if asks:
        event_source.script = [Event(Sign.VIP_GONE), SUCCESSOR]
        node.promote(5)
        assert asked == [("eth0", MAC, ip_address(unknown), {ip_address(PEER)}, 0.5)]
    else:
        node.leave_connections_with(ip_address(unknown), 253)
        assert asked == [], "it would wait"
    assert node.rules.arms == ([([VIP], unknown)] if armed and asks else [])  # type: ignore[attr-defined]
    assert ("has not proven to be an instance of this group" in log.text) is not (armed and asks)


def test_an_interface_that_is_gone_has_no_number(node: Node, ipr: FakeIPR) -> None:
    """None instead of an error: the watcher asks while it flaps."""
    assert node.interface_index() == 2
    ipr.links = ipr.links[:1]
    assert node.interface_index() is None


def test_what_cannot_be_held_is_done_without(node: Node, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    """Each part is tried, each fault is said, none is raised."""
    node.rules.fault = SystemFault("nftables refuses")  # type: ignore[attr-defined]

    def refuse(*arguments: object) -> None:
        raise SystemFault("sysctl refuses")

    monkeypatch.setattr(node.vip_on_lo, "hold", refuse)
    node.hold()
    assert log.messages == ["sysctl refuses", "nftables refuses"]


@pytest.mark.parametrize("promoted", [True, False], ids=["promote", "demote"])
def test_peers_are_told_who_we_are_before_anything_moves(
    node: Node,
    event_source: FakeEventSource,
    hellos: list[Attachment],
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    promoted: bool,
) -> None:
    """A peer that does not know our address would not hear us, nor leave us our connections; where it cannot be told, the move goes on."""
    event_source.script = [Event(Sign.CANCEL)]
    (node.promote if promoted else node.demote)(5)
    assert hellos == [node.attachment]

    def fail(*arguments: object) -> None:
        raise SystemFault("cannot send an advert on eth0: Network is down")

    monkeypatch.setattr(greeting, "say", fail)
    event_source.script = [Event(Sign.CANCEL)]
    (node.promote if promoted else node.demote)(5)
    assert any(each.startswith("cannot send an advert on eth0: Network is down: peers that ") for each in log.messages)
