"""Each check of the doctor, around facts that a test makes up; and what becomes of its findings."""

import errno
import json
import math
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, STRANGER, VIP, FakeIPR, FakeRules, Message, address, link, rendered, route
from unit.support.machine import FakeVxlan
from unit.support.services import FakeServices
from unit.support.words import of_python
from vrrp_drain import doctor
from vrrp_drain.config.model import Config, Proof, Transport
from vrrp_drain.doctor import Check, Finding, Found, Patient, Report, Severity, Wait, foreign_source, machine, moves, segment, tunnel_probe
from vrrp_drain.doctor.foreign_source import Outcome
from vrrp_drain.doctor.machine_findings import NotOnLo
from vrrp_drain.doctor.survey import Router, Survey
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handoff.tunnel import Tunnel, wrapped
from vrrp_drain.haproxy.closing import Closing
from vrrp_drain.haproxy.health import Health
from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.linux import proc_connector
from vrrp_drain.linux.ip_packet import ip_packet
from vrrp_drain.linux.nftables.kernel import BaseChain
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault, what_happened
from vrrp_drain.runtime.ip import IPAddress, IPInterface
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.foreign import Difference, Foreign

THE_VIP, THE_PEER, US, THIRD = map(ip_address, (VIP, PEER, OWN, "10.0.0.3"))
STRANGE_MAC = "02:00:00:00:00:66"
ADVERT = Advert(2, 1, 253, 1.0, (THE_VIP,))
ENDED = 10.0
FoundOrNot = list[Found] | None


def master(
    source: IPAddress = THE_PEER, priority: int = 253, arrivals: tuple[float, ...] = (7.5, 8.5, 9.5), foreign: Foreign | None = None
) -> Router:
    return Router(source, replace(ADVERT, priority=priority), arrivals, foreign)


def heard(
    *routers: Router, vip: Iterable[str] = (PEER_MAC,), us: Iterable[str] = (), peer: Iterable[str] = (PEER_MAC,), seconds: float = 3.3
) -> Survey:
    """Return what a BACKUP hears of a healthy group, or of the ``routers``, and who answers for whom."""
    answers = {THE_VIP: frozenset(vip), US: frozenset(us), THE_PEER: frozenset(peer)}
    return Survey(seconds, ENDED, routers, answers, frozenset(each.source for each in routers))


def told(found: FoundOrNot) -> list[Finding]:
    """Return what the report says of it."""
    return [each.told() for each in found or ()]


def severities(found: FoundOrNot) -> list[str]:
    return [each.severity.value for each in told(found)]


def configure(patient: Patient, config: Config) -> None:
    assert isinstance(patient.services, FakeServices)
    patient.services.configure(config)
    patient.__post_init__()


@pytest.fixture
def patient(services: FakeServices) -> Patient:
    """A healthy BACKUP of two, with time enough."""
    services.configure(replace(services.instance.config, keepalived=replace(services.instance.config.keepalived, priority=253)))
    created = Patient(services, time.monotonic() + 3600)
    created.survey = heard(master(priority=254))
    return created


@pytest.fixture
def as_master(patient: Patient, ipr: FakeIPR) -> Patient:
    """The same, but MASTER with priority 254."""
    ipr.addresses.append(address(2, f"{VIP}/32"))
    configure(patient, replace(patient.config, keepalived=replace(patient.config.keepalived, priority=254)))
    patient.survey = replace(heard(vip=()), sent=replace(ADVERT, priority=254))
    return patient


SEGMENT = [segment.foreign, segment.firewall, segment.adverts, segment.timing, segment.priorities, segment.answers]


@pytest.mark.parametrize("check", SEGMENT)
def test_a_healthy_backup(patient: Patient, check: Callable[[Patient], FoundOrNot]) -> None:
    """Nothing is found on a segment where all is well."""
    assert check(patient) == []


def test_a_healthy_master(as_master: Patient) -> None:
    """What cannot be proven from there is a note that says where it can."""
    assert {check.__name__: severities(check(as_master)) for check in SEGMENT} == {
        "foreign": [],
        "firewall": [],
        "adverts": ["note"],
        "timing": [],
        "priorities": [],
        "answers": [],
    }
    (found,) = told(segment.adverts(as_master))
    assert found.mend == f"vrrpctl doctor on {PEER}"


def test_foreign_adverts(patient: Patient) -> None:
    """What it is and the mend come from where it was judged, whatever the VIP looks like; the adverts that are missing have this cause."""
    foreign = Foreign(Difference.VIP_LIST, ip_address(STRANGER), 1, ours="fd00::", theirs="fd00::, fd00::1")
    patient.survey = heard(master(ip_address(STRANGER), foreign=foreign), vip=())
    (found,) = told(segment.foreign(patient))
    assert (found.severity, found.what) == (Severity.PROBLEM, "10.0.0.77 adverts VRID 1 for fd00::, fd00::1, we for fd00:: alone")
    assert found.mend.startswith("keepalived ignores a list that differs and both become MASTER; ")
    assert segment.adverts(patient) is None


def test_another_interval_in_version_3(patient: Patient) -> None:
    """It works there, so it is a warning."""
    router = master()
    patient.survey = heard(replace(router, advert=replace(router.advert, version=3, advert_int=0.2)))
    (found,) = told(segment.foreign(patient))
    assert (found.severity, found.what) == (Severity.WARNING, "10.0.0.2 adverts every 0.2 s, we every 1 s")


@pytest.mark.parametrize(("count", "found"), [(1, []), (2, ["problem"])])
def test_adverts_that_a_firewall_drops(patient: Patient, count: int, found: list[str]) -> None:
    """They are on the wire and do not get to keepalived. A single one may have come before its ear was there."""
    patient.survey = replace(heard(master(arrivals=(7.5, 8.5)[:count])), let_in=frozenset())
    assert severities(segment.firewall(patient)) == found
    if found:
        assert segment.adverts(patient) is None, "the cause has its own finding"


@pytest.mark.parametrize(
    ("survey", "what"),
    [
        pytest.param(heard(), f"{PEER_MAC} ({PEER}) answers for {VIP}, but none of its adverts reached eth0 in 3.3 s", id="lost"),
        pytest.param(heard(vip=()), f"nobody adverts {VIP}, and nobody answers for it", id="nobody"),
        pytest.param(heard(master(), master(THIRD)), f"{PEER}, 10.0.0.3 advert side by side", id="two"),
    ],
)
def test_what_a_backup_does_not_hear(patient: Patient, survey: Survey, what: str) -> None:
    """Lost adverts, no MASTER at all, and two of them are told apart."""
    patient.survey = survey
    (found,) = told(segment.adverts(patient))
    assert (found.severity, found.what) == (Severity.PROBLEM, what)


def test_a_move_while_we_listen_is_no_second_master(patient: Patient) -> None:
    """Who stopped adverting before the end has given the VIP up."""
    patient.survey = heard(master(arrivals=(7.0, 8.0)), master(THIRD, 252, (8.1, 9.1)))
    assert segment.adverts(patient) == []


def test_too_short_to_tell(patient: Patient) -> None:
    """Silence that was shorter than two intervals proves nothing."""
    patient.survey = heard(vip=(), seconds=2.0)
    (found,) = told(segment.adverts(patient))
    assert (found.severity, found.mend) == (Severity.NOTE, "give --timeout more")


@pytest.mark.parametrize(
    ("survey", "what"),
    [
        pytest.param(heard(master(priority=253), vip=()), f"{PEER} adverts priority 253 beside our 254: it does not hear us", id="deaf"),
        pytest.param(
            heard(master(priority=255), vip=()), f"{PEER} adverts priority 255 beside our 254: keepalived here ignores it", id="ignored"
        ),
        pytest.param(heard(), f"{PEER_MAC} ({PEER}) answers for {VIP} as well, and no advert of it arrives", id="lost both ways"),
    ],
)
def test_two_masters(as_master: Patient, survey: Survey, what: str) -> None:
    """On the MASTER the other one is named, and in which direction adverts are lost."""
    as_master.survey = replace(survey, sent=as_master.survey.sent)
    (found,) = told(segment.adverts(as_master))
    assert (found.severity, found.what) == (Severity.PROBLEM, what)


def test_a_master_that_sends_nothing(as_master: Patient) -> None:
    """The VIP is here, and the capture saw no advert leave: keepalived hangs."""
    as_master.survey = heard(vip=())
    (found,) = told(segment.adverts(as_master))
    assert found.what == f"keepalived has {VIP} here, but sent no advert within 3.3 s"


@pytest.mark.parametrize(
    ("arrivals", "found"), [((7.5, 8.5, 9.5), []), ((7.9, 9.5), ["note"]), ((7.0, 9.6), ["warning"]), ((9.5,), [])], ids=str
)
def test_timing(patient: Patient, arrivals: tuple[float, ...], found: list[str]) -> None:
    """One advert that is late or lost is a note, nearly three are a warning."""
    patient.survey = heard(master(arrivals=arrivals))
    assert severities(segment.timing(patient)) == found


@pytest.mark.parametrize(
    ("priority", "what"),
    [
        (99, "the MASTER, 10.0.0.2, adverts priority 99 (draining)"),
        (66, "the MASTER, 10.0.0.2, adverts priority 66 (unhealthy)"),
        (253, "10.0.0.2 adverts our own priority, 253"),
        (252, "10.0.0.2 is MASTER with priority 252, below our 253, and this instance does not take over"),
    ],
)
def test_priorities_of_the_master(patient: Patient, priority: int, what: str) -> None:
    """One that nobody of the cluster should be content with is a warning."""
    patient.survey = heard(master(priority=priority))
    (found,) = told(segment.priorities(patient))
    assert (found.severity, found.what) == (Severity.WARNING, what)


def test_a_lower_master_has_its_reasons(patient: Patient, services: FakeServices) -> None:
    """While haproxy is sick here, or without preemption, nothing else is expected."""
    patient.survey = heard(master(priority=252))
    services.machine.health = Health("haproxy is stopping")
    assert segment.priorities(patient) == []
    patient.haproxy = Health()
    configure(patient, replace(patient.config, keepalived=replace(patient.config.keepalived, preempt=False)))
    assert segment.priorities(patient) == []


def test_a_master_that_keepalived_thinks_unhealthy(as_master: Patient) -> None:
    """Its own adverts, seen on their way out, tell what keepalived makes of the band."""
    as_master.survey = replace(as_master.survey, sent=replace(ADVERT, priority=66))
    (found,) = told(segment.priorities(as_master))
    assert found.what == "keepalived here adverts priority 66 (unhealthy), though the active band is 254"


@pytest.mark.parametrize(
    ("survey", "what"),
    [
        pytest.param(heard(vip=[STRANGE_MAC]), f"{STRANGE_MAC}, which is no instance of this group, answers for {VIP}", id="stranger"),
        pytest.param(
            heard(vip=[STRANGE_MAC], peer=()),
            f"{STRANGE_MAC}, which is no instance of this group (unless it is {PEER}, which answers for nothing else), answers for {VIP}",
            id="perhaps a peer",
        ),
        pytest.param(heard(master(), vip=()), f"{PEER} adverts {VIP}, but nobody answers for it", id="silent master"),
        pytest.param(heard(us=[STRANGE_MAC]), f"{STRANGE_MAC} answers for {OWN}, the address of this instance", id="our own address"),
    ],
)
def test_who_answers(patient: Patient, survey: Survey, what: str) -> None:
    """A stranger, nobody, and somebody with our own address are problems of different names."""
    patient.survey = survey
    (found,) = told(segment.answers(patient))
    assert (found.severity, found.what) == (Severity.PROBLEM, what)


def test_a_peer_that_is_too_far_away(patient: Patient) -> None:
    """It is the cause of two MASTERs, and the mend is a property."""
    patient.survey = replace(heard(), far={THE_PEER: 1})
    (found,) = told(segment.adverts(patient))
    assert (found.severity, found.mend) == (Severity.PROBLEM, "set keepalived.unicast_hops to 1 for all instances")


def by_adverts(patient: Patient) -> None:
    configure(patient, replace(patient.config, drain=replace(patient.config.drain, takeover_proof=Proof.ADVERTS)))


def test_who_answers_where_nobody_does(patient: Patient, ipr: FakeIPR) -> None:
    """With another proof than ARP the MASTER need not answer, nor the VIP lie in a network of the interface."""
    by_adverts(patient)
    patient.survey = heard(master(), vip=())
    assert segment.answers(patient) == []
    ipr.addresses = [address(2, "10.9.0.1/24"), address(2, f"{VIP}/32")]
    assert machine.interface(patient) == []


def test_the_program_that_proves_a_takeover(patient: Patient, tmp_path: Path) -> None:
    """Where there is one it must be there and executable; a directory is none."""
    assert moves.takeover_proof(patient) is None
    program = tmp_path / "vip-is-at-master"

    def found(at: Path) -> list[str]:
        drain = replace(patient.config.drain, takeover_proof=Proof.COMMAND, takeover_command=(str(at),))
        configure(patient, replace(patient.config, drain=drain))
        return severities(moves.takeover_proof(patient))

    assert found(program) == ["problem"]
    program.write_text("")
    assert (found(program), found(tmp_path)) == (["problem"], ["problem"])
    program.chmod(0o755)
    assert found(program) == []


def test_two_machines_answer(patient: Patient) -> None:
    """Seen from a BACKUP: both are named."""
    patient.survey = heard(master(), vip=[PEER_MAC, "02:00:00:00:00:03"])
    patient.survey = replace(patient.survey, answers={**patient.survey.answers, THIRD: frozenset({"02:00:00:00:00:03"})})
    patient.peers = (THE_PEER, THIRD)
    (found,) = told(segment.answers(patient))
    assert found.what == f"{PEER_MAC} ({PEER}), 02:00:00:00:00:03 (10.0.0.3) answer for {VIP}"


def test_a_virtual_mac_is_no_stranger(patient: Patient) -> None:
    """With use_vmac the VIP has a MAC that is nobody's own (RFC 9568 section 7.3)."""
    patient.survey = heard(master(), vip=["00:00:5e:00:01:01"])
    assert segment.answers(patient) == []


@pytest.mark.parametrize(
    ("answering", "peer", "severity", "what"),
    [
        (
            [],
            [PEER_MAC],
            "problem",
            f"haproxy of {PEER}, 10.0.0.3 does not answer us; 10.0.0.3 does not even answer ARP: off, or on another segment",
        ),
        ([THIRD], [PEER_MAC], "warning", f"haproxy of {PEER} does not answer us"),
        ([THE_PEER, THIRD], [PEER_MAC], "", ""),
    ],
)
def test_successors(
    patient: Patient, services: FakeServices, answering: list[IPAddress], peer: list[str], severity: str, what: str
) -> None:
    """None is a problem, fewer than there should be a warning; a dead haproxy is told from a dead machine."""
    services.machine.healthy_peers = [*map(str, answering)]
    configure(patient, replace(Config.parse(rendered(3)), keepalived=patient.config.keepalived))
    patient.survey = heard(peer=peer)
    found = told(moves.successor(patient))
    assert [(each.severity.value, each.what) for each in found] == ([(severity, what)] if severity else [])


def test_nobody_to_take_over(patient: Patient) -> None:
    """One instance alone, and peers that cannot be asked."""
    configure(patient, Config.parse(rendered(1)))
    assert severities(moves.successor(patient)) == ["warning"]
    configure(patient, Config.parse(rendered(2, vrrp_drain={"health_check": "unix:///run/haproxy.sock"})))
    assert severities(moves.successor(patient)) == ["note"]


@pytest.mark.parametrize(
    ("effective", "lack"),
    [("000001ffffffffff", []), ("0000000000001000", ["CAP_NET_RAW"]), ("0", ["CAP_NET_ADMIN", "CAP_NET_RAW"])],
)
def test_rights(tmp_path: Path, effective: str, lack: list[str]) -> None:
    """Of the effective capabilities, two are needed."""
    (tmp_path / "status").write_text(f"Name:\tpython3\nCapEff:\t{effective}\n")
    assert machine.missing_rights(tmp_path / "status") == lack


def test_directories(patient: Patient) -> None:
    """A file in each is written, and removed. What cannot be made is named; the log alone is no problem."""
    paths = patient.services.instance.paths
    assert machine.directories(patient) == []
    assert list(paths.drain_run.iterdir()) == []
    for directory in (paths.drain_run, paths.drain_log.parent):
        directory.rmdir()
        directory.touch()
    found = told(machine.directories(patient))
    assert [(each.severity.value, each.what) for each in found] == [
        ("problem", f"{paths.drain_run} cannot be written to: File exists"),
        ("warning", f"{paths.drain_log.parent} cannot be written to: File exists"),
    ]


@pytest.mark.parametrize(("here", "means"), [(False, "will not come here"), (True, "is still on eth0: stale")])
def test_keepalived_does_not_run(patient: Patient, services: FakeServices, ipr: FakeIPR, here: bool, means: str) -> None:
    """What that means depends on whether it left the VIP behind."""
    services.machine.pid = None
    if here:
        ipr.addresses.append(address(2, f"{VIP}/32"))
    (found,) = told(machine.keepalived(patient))
    assert found.severity is Severity.PROBLEM
    assert means in found.means
    assert found.mend.startswith("vrrpctl demote") is here


def test_another_binary(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keepalived that is not the package's is worth a note, one that is gone from the disk says when ours takes effect."""
    expected = patient.services.instance.paths.keepalived_binary
    monkeypatch.setattr(Path, "readlink", lambda path: expected)
    assert machine.keepalived(patient) == []
    monkeypatch.setattr(Path, "readlink", lambda path: Path("/old/keepalived (deleted)"))
    (found,) = told(machine.keepalived(patient))
    assert (found.severity, found.mend) == (Severity.NOTE, "monit restart keepalived, after vrrpctl demote")


def test_the_band(patient: Patient) -> None:
    """Draining is a note with since when; what is no band is a problem."""
    assert machine.band(patient) == []
    patient.services.control.write(Band.DRAINING)
    (found,) = told(machine.band(patient))
    assert found.severity is Severity.NOTE
    assert "draining band since" in found.what
    StandingOrder.stay_out(patient.services.instance.paths).give("alice")
    (found,) = told(machine.band(patient))
    assert found.severity is Severity.NOTE
    assert "stays out until vrrpctl promote: said by alice at" in found.what
    patient.services.control.path.write_text("?")
    assert severities(machine.band(patient)) == ["problem"]


def test_the_interface(patient: Patient, ipr: FakeIPR, services: FakeServices) -> None:
    """Down, without a carrier, without an address, with an address of another network."""
    assert machine.interface(patient) == []
    ipr.links[1] = link(2, "eth0", MAC, up=False)
    assert [each.what for each in told(machine.interface(patient))] == [f"eth0, which carries {VIP}, is down"]
    ipr.links[1] = link(2, "eth0", MAC, carrier=0)
    assert [each.what for each in told(machine.interface(patient))] == [f"eth0, which carries {VIP}, has no carrier"]
    ipr.links[1] = link(2, "eth0", MAC)
    ipr.addresses = [address(2, "10.9.0.1/24"), address(2, f"{VIP}/32")]
    (found,) = told(machine.interface(patient))
    assert (found.severity, found.what) == (Severity.WARNING, f"{VIP} lies in no network of eth0, which has 10.9.0.1/24")
    object.__setattr__(services.instance, "attachment", replace(services.instance.attachment, source=None))
    assert severities(machine.interface(patient)) == ["problem"]


def test_with_a_virtual_mac_the_vip_is_on_an_interface_of_its_own(patient: Patient, services: FakeServices, ipr: FakeIPR) -> None:
    """What is said of the VIP names the interface that has it; what is said of adverts, the one below."""
    object.__setattr__(services.instance, "attachment", replace(services.instance.attachment, vip_interface="vrrp.1"))
    ipr.links.append(link(9, "vrrp.1", "00:00:5e:00:01:01"))
    ipr.addresses.append(address(9, f"{VIP}/32"))
    services.machine.pid = None
    (found,) = told(machine.keepalived(patient))
    assert found.means.startswith(f"{VIP} is still on vrrp.1: stale")
    ipr.links[1] = link(2, "eth0", MAC, up=False)
    assert [each.what for each in told(machine.interface(patient))] == [f"eth0, which is below vrrp.1, which carries {VIP}, is down"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemFault("the kernel refuses"), "the kernel refuses"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError(errno.ENOENT, "No such file or directory", "/proc/self/status"), "/proc/self/status: No such file or directory"),
        (OSError("cannot do it, says Python"), "the machine does not let us"),
    ],
)
def test_what_happened_is_said_in_words(error: OSError | SystemFault, words: str) -> None:
    """A check that fails tells the reason, and not what Python makes of it."""
    assert what_happened(error) == words
    assert not of_python(words)


def settings(patient: Patient, interface: str = "eth0", **values: int) -> None:
    """Write the kernel's settings of an interface."""
    directory = patient.services.instance.paths.interface_settings / interface
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (directory / name).write_text(f"{value}\n")


@pytest.mark.parametrize(("value", "gateway", "found"), [(1, 3, ["warning"]), (2, 3, []), (1, 2, []), (1, None, [])])
def test_reverse_path(patient: Patient, ipr: FakeIPR, value: int, gateway: int | None, found: list[str]) -> None:
    """Strict filtering harms where answers leave through another interface."""
    settings(patient, rp_filter=value)
    if gateway:
        ipr.routes.append(route("0.0.0.0/0", gateway, "10.0.0.254"))
    assert severities(machine.reverse_path(patient)) == found


def test_the_higher_setting_holds(patient: Patient, ipr: FakeIPR) -> None:
    """all=2 makes a strict interface a loose one, as the kernel does."""
    settings(patient, rp_filter=1)
    ipr.routes.append(route("0.0.0.0/0", 3, "10.0.0.254"))
    directory = patient.services.instance.paths.interface_settings / "all"
    directory.mkdir()
    (directory / "rp_filter").write_text("2\n")
    assert machine.reverse_path(patient) == []


def test_settings_that_a_virtual_mac_does_not_stand(patient: Patient) -> None:
    """Its interface is never the way to anybody: filters that ask for that answer nobody, or let nobody in."""
    instance = patient.services.instance
    settings(patient, "all", arp_filter=1, rp_filter=1)
    assert machine.arp_filter(patient) == [], "eth0 has the VIP, and is the way to its network"
    object.__setattr__(instance, "attachment", replace(instance.attachment, vip_interface="vrrp.7"))
    (found,) = told(machine.arp_filter(patient))
    assert found.what == "arp_filter is 1 for vrrp.7, and the way to 10.0.0.10's network is eth0"
    assert machine.reverse_path(patient) == [], "keepalived makes that interface, and sees to this"
    settings(patient, "vrrp.7", arp_filter=0, rp_filter=0)
    (found,) = told(machine.reverse_path(patient))
    assert (found.severity, "net.ipv4.conf.vrrp/7.rp_filter=0" in found.mend) == (Severity.PROBLEM, True)
    settings(patient, "all", arp_filter=0, rp_filter=0)
    settings(patient, "default", arp_filter=1)
    assert machine.arp_filter(patient) == machine.reverse_path(patient) == [], "what it was made with does not matter any more"


def test_the_vip_on_lo(patient: Patient, ipr: FakeIPR) -> None:
    """Missing is a warning; there, but answered for, is a problem."""
    assert severities(machine.vip_on_lo(patient)) == ["warning"]
    ipr.addresses.append(address(1, f"{VIP}/32"))
    settings(patient, arp_ignore=1, arp_announce=2)
    assert machine.vip_on_lo(patient) == []
    settings(patient, arp_ignore=0)
    (found,) = told(machine.vip_on_lo(patient))
    assert (found.severity, found.what) == (Severity.PROBLEM, f"{VIP} is on lo, but arp_ignore is 0 on eth0")
    settings(patient, "all", arp_ignore=1, arp_announce=2)
    assert machine.vip_on_lo(patient) == []
    settings(patient, "eth1", arp_ignore=3)
    assert [each.what for each in told(machine.vip_on_lo(patient))] == [f"{VIP} is on lo, but arp_ignore is 3 on eth1"]


@pytest.mark.parametrize("how", ["said hello", "adverts"])
def test_a_peer_is_known_by_the_address_that_it_speaks_from(patient: Patient, services: FakeServices, how: str) -> None:
    """Where BOSH knows the peers by another network, their link addresses answer for nothing here."""
    elsewhere = ip_address("10.0.0.42")
    if how == "said hello":
        services.machine.rules.situation = Situation((4,), tables=(4,), members=(elsewhere,))
        patient.survey = replace(heard(peer=()), answers={THE_VIP: frozenset({PEER_MAC}), elsewhere: frozenset({PEER_MAC})})
        assert patient.members == (THE_PEER, elsewhere)
    else:
        survey = heard(master(elsewhere, 254), peer=())
        patient.survey = replace(survey, answers={**survey.answers, elsewhere: frozenset({PEER_MAC})})
    assert [str(each) for each in patient.holders(THE_VIP)] == [f"{PEER_MAC} ({elsewhere})"]
    assert patient.silent_peers == []
    assert segment.answers(patient) == []


@pytest.mark.parametrize(
    ("eth0", "lo", "found"),
    [(0, 0, []), (1, 1, ["problem"]), (1, 0, ["problem"]), (0, 1, ["warning"])],
    ids=["on", "off", "off on the interface", "off on lo"],
)
def test_vips_of_ipv6(patient: Patient, eth0: int, lo: int, found: list[str]) -> None:
    """Where they cannot be, clients of them get no answer; where they cannot be on lo alone, moves are less smooth."""
    assert machine.vips(patient) == []
    configure(patient, replace(patient.config, keepalived=replace(patient.config.keepalived, vips=(ip_interface("2001:db8::10/64"),))))
    for interface, value in (("eth0", eth0), ("lo", lo)):
        (patient.services.instance.paths.ipv6_settings / interface / "disable_ipv6").write_text(f"{value}\n")
    assert severities(machine.vips(patient)) == found
    assert all("disable_ipv6=0" in each.mend for each in told(machine.vips(patient)))
    assert {vip for each in machine.vip_on_lo(patient) if isinstance(each, NotOnLo) for vip in each.missing} == {
        THE_VIP,
        *([] if lo else [ip_address("2001:db8::10")]),
    }


def test_an_ipv6_address_that_another_machine_has(patient: Patient, ipr: FakeIPR) -> None:
    """The kernel does not use it then (duplicate address detection), so keepalived adverts nothing."""
    configure(patient, Config.parse(rendered(keepalived={"vip": "2001:db8::10/64", "interface": "eth0"})))
    before = [*ipr.addresses]
    ipr.addresses = [*before, address(2, "fe80::1/64")]
    instance = patient.services.instance
    object.__setattr__(instance, "attachment", replace(instance.attachment, source=ip_address("fe80::1")))
    assert machine.vips(patient) == []
    ipr.addresses = [*before, Message({"IFA_ADDRESS": "fe80::1", "IFA_FLAGS": 0x08}, index=2, prefixlen=64, family=10)]
    (found,) = told(machine.vips(patient))
    assert (found.severity, found.what) == (
        Severity.PROBLEM,
        "the kernel has found another machine with fe80::1, the IPv6 address that eth0 speaks from",
    )


def test_our_address_on_another_interface_is_asked_for_there(patient: Patient, services: FakeServices, ipr: FakeIPR) -> None:
    """The survey asks on the VIP's; the one that BOSH calls this instance by may be elsewhere."""
    assert patient.taken_elsewhere() == {}
    ipr.addresses = [address(1, "127.0.0.1/8"), address(2, "10.0.0.42/24"), address(3, f"{OWN}/24")]
    services.machine.answers[OWN] = [STRANGE_MAC, "02:00:00:00:01:01"]
    assert patient.taken_elsewhere() == {US: frozenset({STRANGE_MAC})}
    assert f"{STRANGE_MAC} answers for {OWN}, the address of this instance" in [each.what for each in told(segment.answers(patient))]
    assert {(str(target), inquiry.interface) for target, inquiry in services.machine.inquiries} >= {(OWN, "eth1")}


def test_the_kernel(patient: Patient, services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """sock_diag always, the proc connector only where a process is tracked."""
    monkeypatch.setattr(proc_connector, "available", lambda: "Connection refused")
    assert machine.kernel(patient) == []
    configure(patient, replace(patient.config, keepalived=replace(patient.config.keepalived, track_process="haproxy")))
    assert severities(machine.kernel(patient)) == ["note"]
    services.machine.counting_fault = SystemFault("the kernel does not tell its connections")
    assert severities(machine.kernel(patient)) == ["warning", "note"]


def test_haproxy(patient: Patient, services: FakeServices, tmp_path: Path) -> None:
    """It answers; and its pid file leads to it, which drain needs. A sick one has one finding, not two."""
    drain = replace(patient.config.drain, haproxy_pid_file=tmp_path / "none.pid")
    configure(patient, replace(patient.config, drain=drain))
    assert machine.haproxy_here(patient) == []
    assert severities(machine.soft_stop(patient)) == ["warning"]
    configure(patient, replace(patient.config, drain=replace(drain, haproxy_soft_stop=False)))
    assert machine.soft_stop(patient) is None
    del patient.haproxy
    services.machine.health = Health("haproxy is stopping")
    assert [each.what for each in told(machine.haproxy_here(patient))] == ["haproxy is stopping"]
    configure(patient, replace(patient.config, drain=drain))
    assert machine.soft_stop(patient) is None


@pytest.mark.parametrize(
    ("closes", "connected", "said"),
    [
        (Closing(http2=True), 999, []),
        (Closing(), 5000, []),
        (Closing(http2=True), 1000, ["1000 connections end here, and haproxy, which speaks HTTP/2, has no close-spread-time"]),
        (Closing(20.0, http2=True), 5000, []),
        (Closing(60.0), 0, ["haproxy's close-spread-time is 60 s, and vrrp_drain.drain_timeout 60 s"]),
        (Closing(math.inf), 0, ["haproxy's close-spread-time is infinite, and vrrp_drain.drain_timeout 60 s"]),
        (Closing(20.0, hard=30.0), 0, ["haproxy's hard-stop-after is 30 s, and vrrp_drain.drain_timeout 60 s"]),
        (Closing(20.0, hard=60.0), 0, []),
    ],
)
def test_how_haproxy_closes(patient: Patient, services: FakeServices, closes: Closing, connected: int, said: list[str]) -> None:
    """Later than drain waits, earlier, or all at once where there are many: each is a warning. Who is never told to finish is not asked."""
    services.machine.closing, services.machine.connected = closes, [connected]
    assert [each.what for each in told(machine.closing(patient))] == said
    configure(patient, replace(patient.config, drain=replace(patient.config.drain, haproxy_soft_stop=False)))
    assert machine.closing(patient) is None


def test_frontends(patient: Patient, services: FakeServices) -> None:
    """A listener on a VIP is named, with the line that would be right."""
    assert machine.frontends(patient) == []
    services.configure(Config.parse(rendered(keepalived={"vips": ["fd00::10/64"]}, vrrp_drain={"handoff_mark": 0})))
    services.machine.binds((VIP, 443), ("fd00::10", 443))
    (found,) = told(machine.frontends(patient))
    assert found.what == "a listener is bound to the VIP itself: 10.0.0.10:443, [fd00::10]:443"
    assert "bind :::443 v4v6" in found.mend


def test_what_the_kernel_lacks(patient: Patient, services: FakeServices) -> None:
    """What tells connections, and kinds of interfaces, are named with their modules, where the properties ask for them."""
    the_machine = services.machine
    the_machine.counting_fault = the_machine.counting_quic_fault = SystemFault("the kernel does not tell its connections")
    the_machine.lacks_links = {"macvlan", "vxlan"}
    (tcp,) = told(machine.kernel(patient))
    assert "modprobe inet_diag tcp_diag" in tcp.mend
    assert moves.tunnel_refused(patient) is None
    keepalived, drain = {"use_vmac": True}, {"quic_ports": [443], "handoff_transport": "tunnel"}
    configure(patient, Config.parse(rendered(keepalived=keepalived, vrrp_drain=drain)))
    found = [*told(machine.kernel(patient)), *told(moves.tunnel_refused(patient))]
    assert [(each.severity.value, each.mend.partition(",")[0]) for each in found] == [
        ("warning", "modprobe inet_diag tcp_diag"),
        ("warning", "modprobe inet_diag udp_diag"),
        ("problem", "modprobe macvlan"),
        ("problem", "modprobe vxlan"),
    ]
    the_machine.counting_fault = the_machine.counting_quic_fault = None
    the_machine.lacks_links.clear()
    assert machine.kernel(patient) == moves.tunnel_refused(patient) == []


def test_rules_of_others(patient: Patient, services: FakeServices) -> None:
    """A chain that drops what is handed on is named with the rule that it lacks; a kernel without nftables is another check's finding."""
    assert moves.foreign_rules(patient) == []
    services.machine.rules.situation = Situation()
    services.machine.rules.strangers = [BaseChain(1, "filter", "output", 3, 0, drops=True)]
    (found,) = told(moves.foreign_rules(patient))
    assert found.what.startswith(
        "the nftables chain inet filter output drops what none of its rules lets pass, and none speaks of 10.0.0.10"
    )
    assert "on their way out" in found.means
    assert found.mend.endswith("nft insert rule inet filter output ip daddr 10.0.0.10 accept")
    services.machine.rules.strangers = [BaseChain(5, "edge", "in", 0, 0, drops=True)]
    (found,) = told(moves.foreign_rules(patient))
    assert "as they arrive" in found.means
    services.machine.rules.fault = SystemFault("the kernel does not tell its nftables rules")
    assert moves.foreign_rules(patient) is None


def test_a_check_that_keepalived_disabled(patient: Patient, services: FakeServices) -> None:
    """It is told with its mend; a keepalived that does not run has none."""
    assert machine.checks(patient) == []
    services.machine.processes.disabled = [DisabledCheck("chk", "killall -0 haproxy", "it cannot", "give it /usr/bin/killall")]
    (found,) = told(machine.checks(patient))
    assert found.what == "keepalived has disabled its check chk (killall -0 haproxy): it cannot"
    assert found.mend.startswith("give it /usr/bin/killall; then")
    services.machine.pid = None
    patient.__dict__.pop("keepalived_pid")
    assert machine.checks(patient) is None


def test_the_handoff_rules(patient: Patient, services: FakeServices) -> None:
    """Installed; not, though the kernel would take them; refused; and not wanted."""
    assert moves.rules(patient) == []
    services.machine.rules.situation = Situation()
    assert severities(moves.rules(patient)) == ["warning"]
    assert moves.rules_refused(patient) == [], "before pre-start has installed them that is nothing to warn of"
    services.machine.rules.refused = SystemFault("the kernel refuses")
    assert severities(moves.rules(patient)) == severities(moves.rules_refused(patient)) == ["problem"]
    services.configure(replace(services.instance.config, drain=replace(services.instance.config.drain, connection_handoff=False)))
    assert severities(moves.rules(patient)) == ["warning", "note"]
    services.machine.rules.situation = Situation(tables=(4,))
    assert severities(moves.rules(patient)) == ["note"], "those for adverts are there"
    assert moves.foreign_sources(patient) is moves.foreign_rules(patient) is None
    assert machine.frontends(patient) is None


@pytest.mark.parametrize(
    ("own", "foreign", "found"),
    [([THE_PEER], [THE_PEER], []), ([THE_PEER], [], ["problem"]), ([], [], ["note"]), ([], [THE_PEER], [])],
    ids=["arrives", "dropped", "no control", "arrives without control"],
)
def test_foreign_sources(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, own: list[IPAddress], foreign: list[IPAddress], found: list[str]
) -> None:
    """Only a peer that answers our own address, and not the foreign one, proves that something drops it."""
    asked: list[tuple[IPInterface, dict[IPAddress, str]]] = []

    def probe(interface: str, mac: str, us: IPInterface, taken: object, peers: dict[IPAddress, str]) -> Outcome:
        asked.append((us, peers))
        return Outcome(ip_address("10.0.0.77"), frozenset(own), frozenset(foreign))

    monkeypatch.setattr(foreign_source, "probe", probe)
    assert severities(moves.foreign_sources(patient)) == found
    assert [(str(us), peers) for us, peers in asked] == [(f"{OWN}/24", {THE_PEER: PEER_MAC})]


def test_foreign_sources_need_a_peer(patient: Patient) -> None:
    """Where none answers ARP, it is said that nothing was tried."""
    patient.survey = heard(peer=())
    assert severities(moves.foreign_sources(patient)) == ["note"]


@pytest.mark.parametrize(
    ("plain", "through", "full", "found"),
    [
        pytest.param(True, True, True, [], id="all is well"),
        pytest.param(True, False, False, ["problem"], id="the port does not pass"),
        pytest.param(True, True, False, ["problem"], id="fragments do not pass"),
        pytest.param(False, False, False, ["note"], id="no echo reply at all"),
        pytest.param(False, True, True, [], id="the tunnel passes, echo requests do not"),
    ],
)
def test_the_tunnel(patient: Patient, monkeypatch: pytest.MonkeyPatch, plain: bool, through: bool, full: bool, found: list[str]) -> None:
    """Each peer is asked, with a packet as large as the interface takes; whoever answers nothing at all proves nothing."""
    hold_the_tunnel(patient)
    asked: list[tuple[object, ...]] = []

    def probe(tunnel: Tunnel, end: IPAddress, vip: IPAddress, peers: Sequence[IPAddress], size: int) -> tunnel_probe.Outcome:
        asked.append((tunnel.port, str(end), str(vip), [*peers], size))
        return tunnel_probe.Outcome(*({THE_PEER} if each else set() for each in (plain, through, full)))

    monkeypatch.setattr(tunnel_probe, "probe", probe)
    assert severities(moves.tunnel(patient)) == found
    assert asked == [(9923, OWN, VIP, [THE_PEER], 1500)]
    assert moves.foreign_sources(patient) is None, "nothing has a foreign source then"


def test_a_tunnel_that_is_not_there(patient: Patient) -> None:
    """It is named; without one there is nothing to say."""
    assert moves.tunnel(patient) is None
    hold_the_tunnel(patient)
    machine = patient.services.machine
    assert isinstance(machine.vxlan, FakeVxlan)
    machine.vxlan.up.clear()
    (found,) = told(moves.tunnel(patient))
    assert (found.severity, found.what) == (Severity.PROBLEM, "the tunnel vrrp-drain4: not there")
    rules = machine.rules
    assert isinstance(rules, FakeRules)
    rules.situation = Situation((), tables=(4,))
    assert moves.rules(patient) is None, "that there are no rules to hand on with has this cause"


def hold_the_tunnel(patient: Patient) -> None:
    configure(patient, replace(patient.config, drain=replace(patient.config.drain, handoff_transport=Transport.TUNNEL)))
    links, settings = patient.services.machine.vxlan, patient.services.instance.paths.interface_settings / "vrrp-drain4"
    assert isinstance(links, FakeVxlan)
    links.on_create = lambda device: settings.mkdir(parents=True)
    patient.services.installation.hold_connections()


@pytest.mark.parametrize(("version", "header"), [(4, 20), (6, 40)])
def test_replies_through_the_tunnel(version: int, header: int) -> None:
    """An echo reply counts as it is and inside a packet to our port; nothing else does, nor what is too short to tell."""
    here, vip = (ip_address(each) for each in ((OWN, VIP) if version == 4 else ("fd00::1", "fd00::10")))
    icmp, kind = (socket.IPPROTO_ICMP, 0) if version == 4 else (socket.IPPROTO_ICMPV6, 129)
    reply = ip_packet(vip, here, icmp, struct.pack("!BBHHH", kind, 0, 0, 7, 42))
    datagram = struct.pack("!HHHH", 50_000, 9923, 0, 0) + wrapped(Tunnel(9923, 1, "eth0", ()), here, reply)
    carried = ip_packet(vip, here, socket.IPPROTO_UDP, datagram)
    assert [tunnel_probe.reply_in(each, 9923, 7) for each in (reply, carried)] == [42, 42]
    assert tunnel_probe.reply_in(carried, 53, 7) is None
    assert tunnel_probe.reply_in(reply, 9923, 8) is None
    for length in range(len(carried)):
        assert tunnel_probe.reply_in(carried[:length], 9923, 7) is None
    request = reply[:header] + bytes((8 if version == 4 else 128,)) + reply[header + 1 :]
    assert tunnel_probe.reply_in(request, 9923, 7) is None


def test_time_runs_out(patient: Patient) -> None:
    """A wait that would pass the deadline is refused, and what was waited for is kept with its time."""
    assert patient.take_time("a while", 1.0, lambda: 7) == 7
    assert [wait.what for wait in patient.waits] == ["a while"]
    patient.deadline = time.monotonic()
    with pytest.raises(SystemFault, match=r"^no time was left for a while \(1 s\): give --timeout more$"):
        patient.take_time("a while", 1.0, lambda: 7)


def test_a_check_that_cannot_be_made_is_a_warning(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check has its name in its findings; nothing found is what its row says; None is silence."""

    def broken(patient: Patient) -> list[Found]:
        raise OSError(errno.EIO, "Input/output error")

    table = (Check("one", "one is well", lambda patient: []), Check("two", "two is well", broken), Check("three", "", lambda patient: None))
    monkeypatch.setattr(doctor, "TABLE", table)
    found = list(doctor._findings(patient))
    assert [(each.check, each.severity.value, each.what) for each in found] == [
        ("one", "ok", "one is well"),
        ("two", "warning", "could not be checked: Input/output error"),
    ]


def test_the_table() -> None:
    """Names are there once and are slugs; every row says what it proves."""
    names = [*doctor.FIRST, *(check.name for check in doctor.TABLE)]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name for name in names)
    assert all(check.fine for check in doctor.TABLE)


def test_what_keeps_doctor_from_looking(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rights or a valid configuration there is one finding, and no crash."""
    monkeypatch.setattr(machine, "missing_rights", lambda: ["CAP_NET_RAW"])
    (found,) = doctor.examine(paths, 10).findings
    assert (found.check, found.severity) == ("privileges", Severity.PROBLEM)
    monkeypatch.setattr(machine, "missing_rights", list)
    (found,) = doctor.examine(paths, 10).findings
    assert (found.check, found.severity) == ("configuration", Severity.PROBLEM)
    assert "must be readable" in found.what


def test_an_examination(paths: Paths, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch) -> None:
    """All checks, on an instance whose configuration is valid."""
    paths.drain_config.parent.mkdir(parents=True)
    paths.drain_config.write_text(json.dumps(rendered()))
    monkeypatch.setattr(machine, "missing_rights", list)
    monkeypatch.setattr(doctor, "Netlink", lambda: Netlink(ipr))
    monkeypatch.setattr(doctor, "TABLE", (Check("one", "one is well", lambda patient: []),))
    report = doctor.examine(paths, 10)
    assert (report.instance, report.healthy) == ("haproxy/0", True)
    assert [each.check for each in report.findings] == ["privileges", "configuration", "one"]
    assert ipr.closed


def test_pre_start_makes_the_quick_checks(services: FakeServices, ipr: FakeIPR) -> None:
    """What is wrong is told, what is well or only worth a note is not."""
    assert doctor.at_start(services) == []
    ipr.links[1] = link(2, "eth0", MAC, carrier=0)
    assert [each.line().partition(". ")[0] for each in doctor.at_start(services)] == [
        f"interface: eth0, which carries {VIP}, has no carrier"
    ]


REPORT = Report(
    "haproxy/0",
    (
        Finding(Severity.OK, "all is well", check="band"),
        Finding(Severity.WARNING, "it is so", "it hurts", "mend it", "timing"),
        Finding(Severity.PROBLEM, "it is broken " * 12, "it kills", "replace it", "adverts"),
    ),
    (Wait("adverts", 3.3), Wait("nothing", 0.01)),
    3.5,
)


def test_the_report_has_problems_first() -> None:
    """One screen: what it is, what it means, the mend; what is ok in one line; what the time went to."""
    lines = list(REPORT.lines())
    assert lines[0] == "haproxy/0: 1 problem, 1 warning"
    assert [line.split()[0] for line in lines if line and not line.startswith(" " * 3)][1:] == [
        *("PROBLEM", "means", "mend", "warning", "means", "mend", "ok", "took")
    ]
    assert lines[-2:] == ["ok       band", "took     3.5 s: 3.3 s for adverts"]
    assert max(map(len, lines)) <= 120


def test_the_report_as_json() -> None:
    """As docs/doctor.md has it."""
    found = REPORT.as_json()
    assert list(found) == ["instance", "healthy", "findings", "waited", "seconds"]
    assert found["healthy"] is False
    findings = found["findings"]
    assert isinstance(findings, list)
    assert [list(each) for each in findings] == [["severity", "check", "what", "means", "mend"]] * 3
    assert [each["severity"] for each in findings] == ["problem", "warning", "ok"]
    assert found["waited"] == [{"for": "adverts", "seconds": 3.3}, {"for": "nothing", "seconds": 0.01}]
    assert Report("", (), (), 0.1).summary == "this instance: nothing found"
