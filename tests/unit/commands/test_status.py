"""Where the VIP is, in plain words and as it was found."""

import errno
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, VIP, Clock, FakeIPR, address, carries
from unit.support.machine import FakeMachine
from unit.support.samples import BACKUP, MASTER
from unit.support.services import FakeServices
from vrrp_drain.commands import status
from vrrp_drain.commands.status_report import Status
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.haproxy.health import Health
from vrrp_drain.notify.history import History
from vrrp_drain.notify.notice import Cause, Kind, Notice
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.hello import Word

ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))


def test_the_lines_of_a_backup() -> None:
    """The whole report, once: what an operator reads at 3 am."""
    assert BACKUP.lines() == [
        "instance    haproxy/0",
        "VIP         10.0.0.10 is at 10.0.0.2, which adverts priority 253 (active)",
        "since       1970-01-02 00:00:01 UTC: state master -> backup, drain: this instance was told to leave",
        "band        draining since 1970-01-02 00:00:00 UTC, priority 99, VRID 7",
        "waits for   vrrpctl promote (draining since demote at 1970-01-02 00:00:00 UTC)",
        "keepalived  runs (pid 4711)",
        "haproxy     answers",
        "connections 17 to the VIP end here",
        "handoff     installed",
        "watcher     runs (pid 4712)",
        "drain       would succeed now: this instance is not MASTER",
    ]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        pytest.param(MASTER, "VIP         10.0.0.10 is here, on eth0: this instance is MASTER", id="master"),
        pytest.param(
            replace(MASTER, vip_interface="vrrp.7"), "VIP         10.0.0.10 is here, on vrrp.7: this instance is MASTER", id="virtual MAC"
        ),
        pytest.param(
            replace(MASTER, vip_interface="vrrp.7", keepalived_pid=None, keepalived_detail="does not run"),
            "VIP         10.0.0.10 is on vrrp.7, but keepalived does not run: it is stale; vrrpctl demote clears it safely",
            id="stale, virtual MAC",
        ),
        pytest.param(MASTER, "band        active, priority 254, VRID 7", id="a band without a file"),
        pytest.param(
            replace(MASTER, keepalived_pid=None, keepalived_detail="is stopped by a signal (pid 5; kill -CONT lets it go on)"),
            "keepalived  is stopped by a signal (pid 5; kill -CONT lets it go on)",
            id="keepalived stopped",
        ),
        pytest.param(
            replace(BACKUP, keepalived_pid=None, keepalived_detail="does not run"), "keepalived  does not run", id="keepalived dead"
        ),
        pytest.param(
            replace(BACKUP, master=None, master_priority=None, answering=[]),
            "VIP         10.0.0.10 is not here and nobody adverts it: clients are without it, or adverts do not reach this instance",
            id="nobody",
        ),
        pytest.param(
            replace(BACKUP, haproxy_healthy=False, haproxy_detail="haproxy is stopping"), "haproxy     haproxy is stopping", id="ill"
        ),
        pytest.param(
            replace(MASTER, let_go_by="alice", let_go_until=86460.0),
            "let go      BOSH may stop this instance without a successor until 1970-01-02 00:01:00 UTC, says alice (vrrpctl let-go)",
            id="let go",
        ),
        pytest.param(replace(BACKUP, haproxy_asked="tcp://[::1]:443"), "haproxy     answers at tcp://[::1]:443", id="well"),
        pytest.param(
            replace(MASTER, successors=None),
            "drain       would succeed now: whether the peers are healthy cannot be asked from here (nobody knows where haproxy listens)",
            id="nothing is known to ask",
        ),
        pytest.param(replace(BACKUP, haproxy_saturated="haproxy lives, but is full"), "haproxy     haproxy lives, but is full", id="full"),
        pytest.param(
            replace(MASTER, answering=[PEER_MAC]),
            f"warning     {PEER_MAC} also answers for 10.0.0.10: clients reach one of two machines",
            id="two masters",
        ),
        pytest.param(
            replace(BACKUP, bound_to_vip=[f"{VIP}:80"]),
            "warning     10.0.0.10:80 is bound to the VIP itself, and the kernel does not tell its connections from the listener: "
            "a move cuts them. Bind it to every address instead, in haproxy: bind *:80",
            id="bound to the VIP",
        ),
        pytest.param(MASTER, f"drain       would succeed now: haproxy answers at {PEER}", id="drainable"),
        pytest.param(
            replace(MASTER, successors=None, haproxy_asked="unix:///run/s"),
            "drain       would succeed now: whether the peers are healthy cannot be asked from here (unix:///run/s)",
            id="successors unknown",
        ),
        pytest.param(replace(MASTER, obstacles=["it has no peer"]), "drain       would not be smooth: it has no peer", id="obstacle"),
        pytest.param(
            replace(MASTER, handoff=False), "handoff     not installed: a move cuts the connections that are open", id="no handoff"
        ),
        pytest.param(
            replace(MASTER, handed_off_to=[PEER]), f"handoff     open connections go to {PEER}, which served them before", id="handing off"
        ),
        pytest.param(
            replace(MASTER, watcher_pid=None), "watcher     does not run: keepalived's own check alone sees to haproxy", id="no watcher"
        ),
        pytest.param(replace(MASTER, conditions=["two of them"]), "condition   two of them", id="condition"),
    ],
)
def test_what_is_wrong_has_its_line(found: Status, line: str) -> None:
    """Each state of the VIP, of keepalived and of haproxy is said in words."""
    assert line in found.lines()


def test_as_json_has_every_field() -> None:
    """Programs get the fields under their names."""
    fields = {name: getattr(BACKUP, name) for name in Status.__dataclass_fields__}
    assert BACKUP.as_json() == {**fields, "drainable": True}
    assert replace(BACKUP, obstacles=["none answers"]).as_json()["drainable"] is False


@pytest.fixture
def machine(clock: Clock, services: FakeServices) -> FakeMachine:
    """A machine with clients, and a peer whose haproxy answers."""
    services.machine.healthy_peers = [PEER]
    services.machine.connected = [17]
    return services.machine


def test_a_backup_finds_the_master(services: FakeServices, machine: FakeMachine) -> None:
    """The report tells where the VIP is and how this instance stands."""
    services.control.write(Band.DRAINING)
    machine.hears(carries(ADVERT, PEER), after=0.1)
    machine.answers[VIP] = [PEER_MAC, PEER_MAC]
    found = status.look(services)
    assert (found.master, found.master_priority, found.answering) == (PEER, 253, [PEER_MAC])
    assert (found.vip_here, found.band, found.priority, found.keepalived_pid) == (False, "draining", 99, 4711)
    assert (found.haproxy_healthy, found.haproxy_detail) == (True, "")
    ((target, inquiry),) = machine.inquiries
    assert (target, len(inquiry.asked), inquiry.closed) == (ip_address(VIP), 1, True)


def test_the_priority_is_what_keepalived_adverts_in_that_band(services: FakeServices, machine: FakeMachine) -> None:
    """How much lower the draining band is depends on whose keepalived job it is."""
    services.configure(replace(services.instance.config, keepalived=replace(services.instance.config.keepalived, priority=103, lowered=53)))
    assert status.look(services).priority == 103
    services.control.write(Band.DRAINING)
    assert status.look(services).priority == 53


@pytest.mark.parametrize(("advert_int", "seconds"), [(1.0, 1.1), (0.1, 0.4)])
def test_silence_is_heard_for_one_interval(services: FakeServices, machine: FakeMachine, advert_int: float, seconds: float) -> None:
    """That nobody is there takes an advert interval and a bit to find out."""
    services.configure(replace(services.instance.config, keepalived=replace(services.instance.config.keepalived, advert_int=advert_int)))
    began = time.monotonic()
    found = status.look(services)
    assert (found.master, found.master_priority, found.answering) == (None, None, [])
    assert time.monotonic() - began == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize(
    ("advert", "source"),
    [
        pytest.param(replace(ADVERT, vrid=2), PEER, id="another VRID"),
        pytest.param(replace(ADVERT, version=3), PEER, id="another version"),
        pytest.param(ADVERT, OWN, id="our own"),
    ],
)
def test_other_adverts_are_no_masters(services: FakeServices, machine: FakeMachine, advert: Advert, source: str) -> None:
    """Only somebody else's adverts for our virtual router tell where the master is."""
    services.machine.rules.situation = Situation(tables=(4,), members=(ip_address("10.0.0.3"),))
    machine.hears(carries(advert, source), carries(ADVERT, "10.0.0.66"), carries(ADVERT, "10.0.0.3"), after=0.1)
    assert status.look(services).master == "10.0.0.3", "whoever is no member is no MASTER either"


def test_a_second_master_is_seen(services: FakeServices, ipr: FakeIPR, machine: FakeMachine) -> None:
    """With the VIP here, an answer of another machine is kept; those of our own interfaces are none."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    machine.answers[VIP] = [MAC, "02:00:00:00:01:01", PEER_MAC]
    assert status.look(services).answering == [PEER_MAC]


def test_an_interface_that_is_down_can_be_looked_at(services: FakeServices, machine: FakeMachine) -> None:
    """When the question cannot be sent, the report still comes."""
    machine.asking_fault = OSError(errno.ENETDOWN, "Network is down")
    assert status.look(services).answering == []


def test_what_is_broken_is_in_the_report(services: FakeServices, machine: FakeMachine) -> None:
    """A sick haproxy and a damaged band are findings, not failures."""
    machine.health = Health("haproxy does not answer")
    services.control.write(Band.DRAINING)
    services.control.path.write_text("?")
    found = status.look(services)
    assert (found.haproxy_healthy, found.haproxy_detail) == (False, "haproxy does not answer")
    assert "run vrrpctl promote or demote" in found.band


def told(kind: Kind, state: str, at: float, previous: str = "off") -> Notice:
    return Notice(at, "haproxy/0", VIP, kind, previous, state, Cause.CONDITION, f"the reason of {kind.value}", None, 254)


def test_since_when_and_why(services: FakeServices, machine: FakeMachine) -> None:
    """The last notice of who has the VIP tells it; conditions hold that began and are not over, since the watcher began last."""
    services.instance.paths.history.parent.mkdir(parents=True)
    history = History(services.instance.paths.history)
    for notice in (
        told(Kind.NO_MASTER, "on", 10.0),
        told(Kind.WATCHER, "backup", 20.0),
        told(Kind.STATE, "master", 30.0, previous="backup"),
        told(Kind.FOREIGN, "on", 40.0),
        told(Kind.TWO_MASTERS, "on", 41.0),
        told(Kind.TWO_MASTERS, "off", 42.0, previous="on"),
    ):
        history.append(notice)
    found = status.look(services)
    assert (found.since, found.why) == (30.0, "state backup -> master, condition: the reason of state")
    assert found.conditions == ["the reason of foreign"]


def test_without_a_history(services: FakeServices, machine: FakeMachine) -> None:
    """Where no watcher ever ran, nothing is made up."""
    found = status.look(services)
    assert (found.since, found.why, found.conditions, found.watcher_pid) == (None, "", [], None)


@pytest.mark.parametrize(
    ("word", "away", "ended", "said"),
    [
        (Word.LEAVES, ["haproxy/1"], [], "ago that it is being stopped or started"),
        (Word.ENDS, [], ["haproxy/1"], "taken out or stopped, until somebody starts them: haproxy/1"),
    ],
)
def test_a_peer_that_leaves_is_no_successor(
    services: FakeServices, ipr: FakeIPR, machine: FakeMachine, word: Word, away: list[str], ended: list[str], said: str
) -> None:
    """Its haproxy may answer still: what it said of itself counts, and is shown."""
    machine.healthy_peers = [PEER]
    machine.rules.hears(ip_address(PEER), word)
    ipr.addresses.append(address(2, f"{VIP}/32"))
    found = status.look(services)
    assert (found.successors, found.peers_away, found.peers_ended) == ([], away, ended)
    assert any(said in each for each in found.obstacles)
    assert sum("haproxy/1: " in line for line in found.lines()) == 1


@pytest.mark.parametrize(
    ("vip_here", "pid", "answering", "heard", "obstacle"),
    [
        pytest.param(True, 4711, [PEER], False, None, id="all well on the master"),
        pytest.param(False, 4711, [], True, None, id="a backup needs no successor"),
        pytest.param(True, 4711, [], False, "no peer can take 10.0.0.10 now: haproxy of haproxy/1 does not answer", id="no successor"),
        pytest.param(True, None, [PEER], False, "keepalived does not run here", id="keepalived"),
        pytest.param(False, 4711, [PEER], False, "nobody adverts 10.0.0.10", id="no master"),
    ],
)
def test_what_stands_against_a_drain(
    services: FakeServices,
    ipr: FakeIPR,
    machine: FakeMachine,
    vip_here: bool,
    pid: int | None,
    answering: list[str],
    heard: bool,
    obstacle: str | None,
) -> None:
    """A drain would succeed when keepalived runs and, on the MASTER, a peer's haproxy answers."""
    machine.pid, machine.healthy_peers = pid, answering
    if heard:
        machine.hears(carries(ADVERT, PEER), after=0.1)
    if vip_here:
        ipr.addresses.append(address(2, f"{VIP}/32"))
    found = status.look(services)
    assert [each.partition(" (")[0] for each in found.obstacles] == ([obstacle] if obstacle else [])
    assert found.as_json()["drainable"] is (obstacle is None)


def test_listeners_on_the_vip_itself_are_found(services: FakeServices, machine: FakeMachine) -> None:
    """They are in the report where connections would be handed off otherwise; a kernel that does not tell is no failure."""
    machine.binds((VIP, 80))
    assert status.look(services).bound_to_vip == [f"{VIP}:80"]
    wanted = services.instance.config
    services.configure(replace(wanted, drain=replace(wanted.drain, connection_handoff=False)))
    assert status.look(services).bound_to_vip == []
    services.configure(wanted)
    machine.counting_fault = SystemFault("the kernel does not tell who listens")
    assert status.look(services).bound_to_vip == []
