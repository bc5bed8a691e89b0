"""Everything that is known as a trap, checked on the machine: one table of checks, and one report.

A check is a function from the patient to what it found; an empty list means that what its row says is true. A check that cannot be
made is a warning of its own. Nothing is changed: files are written and removed, rules are tried in a transaction that
undoes itself, and an address that nobody has is asked for.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from vrrp_drain.config.model import Config
from vrrp_drain.handover.services import Services, assemble
from vrrp_drain.handover.this_machine import ThisMachine
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import ConfigError, VrrpDrainError, what_happened
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation

from . import machine, moves, segment, segment_findings
from .finding import Finding, Found, NotChecked, Severity, problem
from .patient import Check, Examine, Holder, Patient, Wait
from .report import Report

TIMEOUT = 10.0  # seconds for a whole examination
_PRIVILEGES, _CONFIGURATION, _INTERFACE, _ANSWERS = "privileges", "configuration", "interface", "answers"

FIRST: dict[str, str] = {
    _PRIVILEGES: "this process may open raw sockets and change the network",
    _CONFIGURATION: "the job's configuration is valid, and the machine has the interface that it means",
}
TABLE: tuple[Check, ...] = (
    Check(
        _INTERFACE,
        "the interface is up, has a carrier and an address, and the VIP lies in its network",
        machine.interface,
        early=machine.interface,
    ),
    Check("vips", "every VIP can be on the interface, and is there while this instance is MASTER", machine.vips, early=machine.vips),
    Check("directories", "run and log directories can be written to", machine.directories, early=machine.directories),
    Check("keepalived", "keepalived runs, of the job's own package", machine.keepalived),
    Check("checks", "keepalived runs all checks that it was given", machine.checks, glance=machine.checks),
    Check("band", "the track file has a band, the active one", machine.band),
    Check("haproxy", "haproxy answers the health check", machine.haproxy_here, detail=lambda patient: patient.haproxy.asked),
    Check("successor", "every peer's haproxy answers us", moves.successor),
    Check("takeover-proof", "the program that proves a takeover can be run", moves.takeover_proof, early=moves.takeover_proof),
    Check("foreign-adverts", "nobody else uses the VRID, and all who do agree with us", segment.foreign),
    Check("firewall", "adverts that reach the interface reach keepalived", segment.firewall),
    Check("adverts", "one MASTER adverts, and is heard here", segment.adverts),
    Check("timing", "adverts come when they should", segment.timing),
    Check("priorities", "the MASTER is active, and outranks us if we are not it", segment.priorities),
    Check(_ANSWERS, "one machine answers for the VIP, and nobody else for our own address", segment.answers),
    Check("vip-on-lo", "the VIPs are on lo, and no interface answers for one that it has not", machine.vip_on_lo),
    Check(
        "handoff-rules",
        "the rules that hand open connections over are installed",
        moves.rules,
        early=moves.rules_refused,
        glance=moves.rules_refused,
    ),
    Check(
        "foreign-rules",
        "nobody else's nftables rules drop packets that are handed on",
        moves.foreign_rules,
        early=moves.foreign_rules,
        glance=moves.foreign_rules,
    ),
    Check("foreign-sources", "packets with a foreign source address reach the peers that answered", moves.foreign_sources),
    Check("frontends", "connections are told from their listener, where one is bound to a VIP itself too", machine.frontends),
    Check(
        "handoff-tunnel",
        "the tunnel for open connections is there, and full-size packets in it reach the peers",
        moves.tunnel,
        early=moves.tunnel_refused,
        glance=moves.tunnel_refused,
    ),
    Check("soft-stop", "haproxy's pid file leads to its process, so that drain can have it finish", machine.soft_stop),
    Check(
        "closing", "what haproxy does with open connections when it is told to finish fits drain_timeout and their number", machine.closing
    ),
    Check(
        "reverse-path",
        "reverse-path filtering drops no client's packets",
        machine.reverse_path,
        early=machine.reverse_path,
        glance=machine.reverse_path,
    ),
    Check(
        "arp-filter",
        "the interface that has the VIP answers ARP for it",
        machine.arp_filter,
        early=machine.arp_filter,
        glance=machine.arp_filter,
    ),
    Check(
        "kernel",
        "the kernel tells its connections, makes the interfaces that are asked for, and tells which processes end where that is asked",
        machine.kernel,
        early=machine.kernel,
        glance=machine.kernel,
    ),
)


def examine(paths: Paths, timeout: float) -> Report:
    """Make every check within ``timeout`` seconds. Nothing that is wrong here raises."""
    started = time.monotonic()
    if lack := machine.missing_rights():
        what = f"{' and '.join(lack)} is missing, as {machine.effective_user()}"
        mend = "run it as root: sudo /var/vcap/jobs/vrrp-drain/bin/vrrpctl doctor"
        return _refused(_PRIVILEGES, problem(what, "nothing else was checked; handovers as this user fail", mend), started)
    try:
        with Netlink() as netlink:
            services = assemble(Config.load(paths.drain_config), paths, ThisMachine(netlink, paths.listening), Cancellation())
            patient = Patient(services, started + timeout)
            return Report(services.instance.name, (*_fine(), *_findings(patient)), tuple(patient.waits), time.monotonic() - started)
    except ConfigError as error:
        means = "nothing else was checked; every script of the job fails, so a deploy stops at this instance"
        mend = "correct the property in the manifest and deploy; for a file that is missing, deploy"
        return _refused(_CONFIGURATION, problem(str(error), means, mend), started)


def at_start(services: Services) -> list[Finding]:
    """Make the checks that need neither keepalived nor time; return what is wrong."""
    return _wrong(services, lambda check: check.early)


def at_a_glance(services: Services) -> list[Finding]:
    """Make the checks that neither wait nor write, of what other fields of status do not tell; return what is wrong."""
    return _wrong(services, lambda check: check.glance)


def _wrong(services: Services, chosen: Callable[[Check], Examine | None]) -> list[Finding]:
    patient = Patient(services, time.monotonic() + TIMEOUT)
    found = [_findings_of(replace(check, examine=examine), patient) for check in TABLE if (examine := chosen(check)) is not None]
    return [finding for findings in found for finding in findings if finding.severity in (Severity.PROBLEM, Severity.WARNING)]


def taken(address: IPAddress, macs: Iterable[str]) -> Finding:
    """Return what is told of other machines that have an address of this instance."""
    found = segment_findings.OurAddressTaken([Holder(each, None) for each in sorted(macs)], address)
    return replace(found.told(), check=_ANSWERS)


def _findings(patient: Patient) -> Iterator[Finding]:
    for check in TABLE:
        yield from _findings_of(check, patient)


def _findings_of(check: Check, patient: Patient) -> Iterator[Finding]:
    """Yield what is told of what a check found: here facts become sentences."""
    try:
        found = check.examine(patient)
    except (OSError, VrrpDrainError) as error:
        found = [NotChecked(what_happened(error), check.fine)]
    told = [Finding(Severity.OK, check.fine, detail=check.detail(patient))] if found == [] else [each.told() for each in found or ()]
    for finding in told:
        yield replace(finding, check=check.name)


def _fine() -> Iterator[Finding]:
    for name, what in FIRST.items():
        yield Finding(Severity.OK, what, check=name)


def _refused(check: str, finding: Finding, started: float) -> Report:
    return Report("", (replace(finding, check=check),), (), time.monotonic() - started)


__all__ = [
    "FIRST",
    "TABLE",
    "TIMEOUT",
    "Check",
    "Finding",
    "Found",
    "Patient",
    "Report",
    "Severity",
    "Wait",
    "at_a_glance",
    "at_start",
    "examine",
    "taken",
]
