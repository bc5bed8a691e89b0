"""The drill: what it refuses, that it always puts things back, and what its report says."""

import errno
import json
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, VIP, Clock, FakeIPR, address, rendered
from unit.support.services import FakeHandover, FakeServices
from vrrp_drain import doctor, rehearsal
from vrrp_drain.config.model import Config
from vrrp_drain.doctor import survey
from vrrp_drain.doctor.survey import Router, Survey
from vrrp_drain.handover.arming import Arming
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending
from vrrp_drain.haproxy import health_check
from vrrp_drain.keepalived.priority_control import PriorityControl
from vrrp_drain.linux import listeners
from vrrp_drain.rehearsal import Client, Move, Prober, Report, Target, ports
from vrrp_drain.rehearsal import prober as prober_module
from vrrp_drain.rehearsal.client import Turn
from vrrp_drain.rehearsal.tally import Outcome, Probe
from vrrp_drain.runtime.errors import Cancelled, NoSuccessor, NotSettled, SystemFault, Unwell, VrrpDrainError
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.bands import Band

TARGET = Target(ip_address(VIP), 80, "eth0", ip_address(OWN), MAC, frozenset({MAC}))
NAMES = {MAC: "haproxy/0", PEER_MAC: "haproxy/1"}
PROBLEM = doctor.Finding(doctor.Severity.PROBLEM, "it is so", "it hurts", "mend it", "successor")


class FakeProber(Prober):
    """A prober whose client had the probes and trials that a test gives it; ``fault`` is why it failed."""

    def __init__(self, client: Client, rate: int = 100) -> None:
        super().__init__(client, rate)
        self.client.probes.append(Probe(time.monotonic(), MAC, Outcome.ANSWERED, 0.001))
        self.done: list[str] = []
        self.fault: SystemFault | None = None

    def start(self) -> None:
        self.done.append("start")

    def stop(self) -> None:
        self.done.append("stop")
        if self.fault:
            raise self.fault


@pytest.fixture
def prober(monkeypatch: pytest.MonkeyPatch) -> FakeProber:
    """A client that fares well; nobody waits."""
    for name in ("_BEFORE", "_BETWEEN", "_AFTER"):
        monkeypatch.setattr(rehearsal, name, 0.0)
    created = FakeProber(Client(TARGET, 0.0, [PEER_MAC]))
    created.client.trials.append(Probe(0.0, PEER_MAC, Outcome.ANSWERED, 0.001))
    return created


class Drilled(FakeHandover):
    """Handovers that change the band as real ones do, and then end or fail as told; ``on_demote`` and ``on_promote`` come in between."""

    def __init__(self, control: PriorityControl) -> None:
        super().__init__()
        self._control = control

    def demote(self, timeout: float, patience: float = 0.0) -> Ending[Demote]:
        self._control.write(Band.DRAINING)
        return super().demote(timeout, patience)

    def promote(self, timeout: float) -> Ending[Promote]:
        self.on_promote()
        if self.promotion.state in (Promote.MASTER, Promote.BACKUP):
            self._control.write(Band.ACTIVE)
        return self._end(timeout, self.promotion)


class CountedArming(Arming):
    """Counts how often connections were left with whoever is MASTER."""

    left = 0

    def leave_with_the_master(self) -> None:
        self.left += 1


@pytest.fixture
def services(services: FakeServices, ipr: FakeIPR) -> FakeServices:
    """A MASTER of two."""
    ipr.addresses.append(address(2, f"{VIP}/24"))
    services.control.write(Band.ACTIVE)
    arming = CountedArming(services.instance, services.machine, services.membership)
    return replace(services, handover=Drilled(services.control), arming=arming)


def left_with_the_master(services: FakeServices) -> int:
    assert isinstance(services.arming, CountedArming)
    return services.arming.left


@pytest.fixture
def drill(services: FakeServices, prober: FakeProber, cancellation: Cancellation) -> Callable[[], Report]:
    return lambda: rehearsal.rehearse(services, cancellation, prober, NAMES, 5.0)


@pytest.fixture
def well(monkeypatch: pytest.MonkeyPatch) -> list[doctor.Finding]:
    """What doctor finds; nothing, until a test puts something in."""
    found: list[doctor.Finding] = []
    monkeypatch.setattr(doctor, "examine", lambda paths, timeout: doctor.Report("haproxy/0", tuple(found), (), 1.0))
    return found


def test_there_and_back(services: FakeServices, prober: FakeProber, drill: Callable[[], Report]) -> None:
    """Both moves with the given bound, the probe around them, and nothing that went wrong."""
    found = drill()
    assert [(each.name, each.seconds, each.reason) for each in found.moves] == [
        ("demote", 0.25, "handed over"),
        ("promote", 1.1, "this node is MASTER"),
    ]
    assert (services.handover.timeouts, prober.done, found.error, services.control.read()) == (
        [5.0, 5.0],
        ["start", "stop"],
        None,
        Band.ACTIVE,
    )
    assert left_with_the_master(services) == 0, "promote has done that"


def fail(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize("when", ["on_demote", "on_promote"])
@pytest.mark.parametrize("error", [SystemFault("the disk is full"), RuntimeError("a bug"), KeyboardInterrupt()], ids=repr)
def test_whatever_happens_the_band_is_as_before(
    services: FakeServices, prober: FakeProber, drill: Callable[[], Report], when: str, error: BaseException
) -> None:
    """A fault of the machine, of ours, or an interrupt, in either move; what a peer serves meanwhile stays with it."""
    setattr(services.handover, when, fail(error))
    with suppress(RuntimeError, KeyboardInterrupt):
        assert drill().error is error
    assert services.control.read() is Band.ACTIVE
    assert left_with_the_master(services) == 1
    assert prober.done == ["start", "stop"]


@pytest.mark.parametrize(
    ("demotion", "promotion", "error"),
    [
        (Demote.NO_SUCCESSOR, Promote.MASTER, NoSuccessor),
        (Demote.CANCELLED, Promote.MASTER, Cancelled),
        (Demote.DONE, Promote.FAILED, NotSettled),
        (Demote.DONE, Promote.CANCELLED, Cancelled),
    ],
)
def test_a_move_that_does_not_end_well(
    services: FakeServices, drill: Callable[[], Report], demotion: Demote, promotion: Promote, error: type[VrrpDrainError]
) -> None:
    """The report has it with what was felt until then, and the band is as before."""
    services.handover.demotion, services.handover.promotion = (
        replace(services.handover.demotion, state=demotion),
        replace(services.handover.promotion, state=promotion),
    )
    found = drill()
    assert type(found.error) is error
    assert len(found.moves) == (1 if promotion is Promote.MASTER else 2)
    assert services.control.read() is Band.ACTIVE


def test_told_to_stop_between_the_moves(services: FakeServices, drill: Callable[[], Report], cancellation: Cancellation) -> None:
    """There is no promotion to wait for, the band is as before."""
    services.handover.on_demote = cancellation.cancel
    found = drill()
    assert isinstance(found.error, Cancelled)
    assert ([each.name for each in found.moves], services.control.read()) == (["demote"], Band.ACTIVE)


def test_told_to_stop_before_the_moves(services: FakeServices, drill: Callable[[], Report], cancellation: Cancellation) -> None:
    """Then nothing is moved."""
    cancellation._arrived(15, None)
    with pytest.raises(Cancelled):
        drill()
    assert services.handover.timeouts == []


def test_a_probe_that_failed_is_no_proof(services: FakeServices, prober: FakeProber, drill: Callable[[], Report]) -> None:
    """Whatever the moves were like: nobody knows what clients felt."""
    prober.fault = SystemFault("the probe failed")
    with pytest.raises(SystemFault, match="the probe failed"):
        drill()
    assert services.control.read() is Band.ACTIVE


def test_connections_that_fail_before_anything_was_moved(services: FakeServices, prober: FakeProber, drill: Callable[[], Report]) -> None:
    """Here, or at the only peer: the drill is refused, and says why."""
    prober.client.trials[0] = replace(prober.client.trials[0], outcome=Outcome.REFUSED)
    with pytest.raises(
        Unwell, match=r"^no connection to 10.0.0.10 port 80 that is sent to haproxy/1 is accepted there: .*Nothing was moved$"
    ):
        drill()
    prober.client.probes[0] = replace(prober.client.probes[0], outcome=Outcome.REFUSED)
    with pytest.raises(Unwell, match=r"^1 of 1 connections to 10\.0\.0\.10 port 80 failed here, on the MASTER"):
        drill()
    prober.client.probes.clear()
    with pytest.raises(Unwell, match=r"^0 of 0 connections"):
        drill()
    assert services.handover.timeouts == []
    assert prober.done == ["start", "stop"] * 3


def test_one_of_two_peers_that_accepts_nothing(
    services: FakeServices, prober: FakeProber, cancellation: Cancellation, log: pytest.LogCaptureFixture
) -> None:
    """The other one may take over: it is said, and the drill goes on."""
    prober.client.peers = frozenset({PEER_MAC, "02:00:00:00:00:03"})
    found = rehearsal.rehearse(services, cancellation, prober, {**NAMES, "02:00:00:00:00:03": "haproxy/2"}, 5.0)
    assert found.error is None
    assert "that is sent to haproxy/2 is accepted there" in log.text


def test_check_lets_a_healthy_master_pass(services: FakeServices, well: list[doctor.Finding]) -> None:
    """Warnings are no reason to refuse."""
    well.append(replace(PROBLEM, severity=doctor.Severity.WARNING))
    rehearsal.check(services)


def test_check_refuses_what_doctor_refuses(services: FakeServices, well: list[doctor.Finding]) -> None:
    """The first problem with all of its words, and how many more there are."""
    well += [PROBLEM, PROBLEM]
    said = r"^vrrpctl doctor finds a problem \(and 1 more\): successor: it is so. it hurts. mend it. Nothing was moved$"
    with pytest.raises(Unwell, match=said):
        rehearsal.check(services)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"keepalived": {"use_vmac": True}}, "keepalived.use_vmac"),
        ({"vrrp_drain": {"takeover_proof": "adverts"}}, "vrrp_drain.takeover_proof is adverts: .* vrrpctl demote and vrrpctl promote"),
        ({}, "haproxy/0 is in the draining band"),
    ],
)
def test_check_refuses_where_a_drill_would_prove_nothing(
    services: FakeServices, well: list[doctor.Finding], sections: dict[str, Any], said: str
) -> None:
    """A virtual MAC tells nobody apart, ARP nothing where it is no proof; a leaving instance has moves of its own."""
    services.configure(Config.parse(rendered(**sections)))
    services.control.write(Band.DRAINING)
    with pytest.raises(Unwell, match=said):
        rehearsal.check(services)


def test_check_refuses_the_only_instance(services: FakeServices, well: list[doctor.Finding]) -> None:
    """There is nobody to move the VIP to."""
    services.configure(Config.parse(rendered(1)))
    with pytest.raises(Unwell, match="haproxy/0 is the only instance"):
        rehearsal.check(services)


@pytest.mark.parametrize(
    ("source", "said"),
    [(PEER, r"10.0.0.10 is at 10.0.0.2 \(haproxy/1\), run it there"), ("fe80::2", "is at fe80::2, run it there"), (None, "hears none")],
)
def test_check_sends_a_backup_to_the_master(
    services: FakeServices, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch, source: str | None, said: str
) -> None:
    """By its address, and its name where that is known."""
    ipr.addresses.pop()
    router = [Router(ip_address(source), Advert(2, 1, 254, 1.0, (ip_address(VIP),)), (9.5,))] if source else []
    monkeypatch.setattr(survey, "look", lambda services: Survey(1.0, 10.0, tuple(router), {}))
    with pytest.raises(Unwell, match=said):
        rehearsal.check(services)


def test_the_target(services: FakeServices, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients' port is what haproxy listens at unless it is given; we speak from our own address in the VIP's network."""
    monkeypatch.setattr(listeners, "ports", lambda inodes, vip: {80, 9000})
    ipr.addresses.insert(0, address(2, "192.168.0.1/24"))
    found = rehearsal.target(services, None)
    assert (found.own, found.port, found.interface, found.mac) == (ip_address(OWN), 80, "eth0", MAC)
    assert rehearsal.target(services, 443).port == 443
    ipr.addresses = [each for each in ipr.addresses if each.get_attr("IFA_ADDRESS") == VIP]
    with pytest.raises(SystemFault, match="eth0 has no IPv4 address of its own"):
        rehearsal.target(services, None)


def test_names(clock: Clock, services: FakeServices) -> None:
    """Each instance by the MAC that it answers with; nobody but the peers is asked, besides who has the VIP."""
    services.machine.answers |= {VIP: [MAC], PEER: [PEER_MAC]}
    assert rehearsal.names(services) == NAMES
    assert [str(target) for target, _ in services.machine.inquiries] == [VIP, PEER]


@pytest.mark.parametrize(
    ("check", "listening", "port"),
    [
        ("tcp://127.0.0.1:8080", set(), 8080),
        ("http://127.0.0.1/health", set(), 80),
        ("unix:///run/haproxy.sock", {22, 80, 443}, 443),
        ("unix:///run/haproxy.sock", {9000, 5432}, 5432),
    ],
)
def test_the_port_of_clients(config: Config, monkeypatch: pytest.MonkeyPatch, check: str, listening: set[int], port: int) -> None:
    """The health check's, or the likeliest where haproxy listens."""
    monkeypatch.setattr(health_check, "processes", lambda pid_file: [7])
    monkeypatch.setattr(health_check, "sockets", lambda pid: {100 + pid})
    monkeypatch.setattr(listeners, "ports", lambda inodes, vip: listening if inodes == {107} else {1})
    assert ports.of_clients(replace(config, drain=replace(config.drain, health_check=urlsplit(check)))) == port


def test_no_port_is_known(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it has to be given."""
    monkeypatch.setattr(health_check, "processes", lambda pid_file: [])
    monkeypatch.setattr(listeners, "ports", lambda inodes, vip: set())
    with pytest.raises(SystemFault, match=r"give --port$"):
        ports.of_clients(replace(config, drain=replace(config.drain, health_check=urlsplit("unix:///run/haproxy.sock"))))


def test_sockets_of_a_process() -> None:
    """By their inodes; a process that has ended has none."""
    with socket.socketpair()[0] as ours:
        assert Path(f"/proc/self/fd/{ours.fileno()}").stat().st_ino in health_check.sockets(int(Path("/proc/self").readlink().name))
    assert health_check.sockets(1 << 30) == set()


def report(*probes: Probe, error: VrrpDrainError | None = None) -> Report:
    moves = (Move("demote", 100.5, 0.25, "handed over"), Move("promote", 101.75, 1.0, "MASTER"))
    turns = (Turn(99.9, MAC), Turn(100.75, PEER_MAC), Turn(102.5, "02:00:00:00:00:66"))
    return Report("haproxy/0", VIP, 80, 100, 100.0, 104.0, moves, probes, turns, NAMES, error)


def test_a_report_of_a_good_drill() -> None:
    """One screen: the verdict, both moves, and who had the VIP when."""
    found = report(*(Probe(100.0 + at / 4, MAC, Outcome.ANSWERED, 0.002) for at in range(16)))
    assert [*found.lines()] == [
        "haproxy/0: clients of 10.0.0.10 port 80 would have felt nothing",
        "",
        "             took  probes  failed   slowest   longest gap   longest pause",
        "demote     0.25 s       5       0    2.0 ms             -          250 ms",
        "promote    1.00 s       9       0    2.0 ms             -          250 ms",
        "in total   4.00 s      16       0    2.0 ms             -          250 ms",
        "",
        "VIP at     0.00 s  haproxy/0 (02:00:00:00:00:01)",
        "           0.75 s  haproxy/1 (02:00:00:00:00:02)",
        "           2.50 s  a machine that is no instance (02:00:00:00:00:66)",
    ]


def test_a_report_of_a_bad_drill() -> None:
    """What failed, for how long, and at which instance first, for each move."""
    bad = [
        Probe(101.0, PEER_MAC, Outcome.LOST, 1.0),
        Probe(101.5, PEER_MAC, Outcome.REFUSED, 0.001),
        Probe(102.0, MAC, Outcome.REFUSED, 0.1),
    ]
    found = report(*bad, Probe(102.25, MAC, Outcome.ANSWERED, 0.2))
    assert found.total.felt
    assert found.summary == (
        "haproxy/0: clients of 10.0.0.10 port 80 would have felt it: "
        "of 4 connections 2 refused, 1 without an answer, 1 slower than 100 ms, for up to 1.25 s"
    )
    assert [*found.lines()][-3:] == [
        "demote   1.00 s after the beginning haproxy/1 (02:00:00:00:00:02) did not answer a connection: the first of 2",
        "",
        "promote  2.00 s after the beginning haproxy/0 (02:00:00:00:00:01) refused a connection: the first of 1",
    ]


def test_a_report_as_json() -> None:
    """Everything under its name, and nothing that JSON does not know."""
    found = json.loads(json.dumps(report(Probe(101.0, MAC, Outcome.LOST, 1.0), error=NotSettled("it did not come back")).as_json()))
    assert [(each["move"], each["at"], each["seconds"], each["lost"]) for each in found["moves"]] == [
        ("demote", 0.5, 0.25, 1),
        ("promote", 1.75, 1.0, 0),
    ]
    assert found["holders"][1] == {"at": 0.75, "mac": PEER_MAC, "instance": "haproxy/1"}
    assert (found["felt"], found["total"]["probes"], found["error"]) == (True, 1, "it did not come back")


def test_a_prober_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in one line before anything is moved."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    said = "^cannot connect to 10.0.0.10 by hand on eth0: Operation not permitted; run as root$"
    with pytest.raises(SystemFault, match=said), Prober(Client(TARGET, 0.0), 100):
        pass


def test_a_prober_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens in its thread is told to whoever stops it."""
    monkeypatch.setattr(Client, "connects_here", property(lambda client: 1 / 0))
    prober = Prober(Client(TARGET, 0.0), 100)
    prober.start()
    with pytest.raises(SystemFault, match=r"^the probe of 10.0.0.10 failed \(ZeroDivisionError.*: nobody knows what clients felt$"):
        prober.stop()


def test_the_kernel_says_when_a_packet_came() -> None:
    """What the thread waited for the processor is no slowness of the VIP; a clock that was set back does not make it negative."""
    stamp = struct.pack("@ll", 1000, 250_000_000)
    kind = (socket.SOL_SOCKET, 35)
    assert prober_module._arrival([(*kind, stamp)], 50.0, 1000.75) == 49.5
    assert prober_module._arrival([(*kind, stamp)], 50.0, 900.0) == 50.0
    assert prober_module._arrival([(*kind, stamp[:-1]), (socket.SOL_SOCKET, 1, b"")], 50.0, 1000.75) == 50.0
