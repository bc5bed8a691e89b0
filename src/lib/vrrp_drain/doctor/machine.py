"""Checks of the instance itself: rights, directories, processes, interface, kernel."""

import os
import tempfile
from pathlib import Path

from vrrp_drain.config.model import Proof
from vrrp_drain.handoff.vip_on_lo import loud
from vrrp_drain.haproxy import health_check
from vrrp_drain.linux import proc_connector
from vrrp_drain.linux.ipv6 import Doubt
from vrrp_drain.linux.link_kinds import MACVLAN
from vrrp_drain.runtime.errors import ConfigError, SystemFault
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band

from . import machine_findings as findings
from .finding import Found
from .patient import Patient

_CAPABILITIES = {12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW"}  # linux/capability.h
_STATUS = Path("/proc/self/status")
_SCRATCH = b"vrrpctl doctor\n" * 300  # more than a page
_CONNECTOR_SECONDS = 1.0
_CROWD = 1000  # open connections: their clients' handshakes, all at once, are work for the new MASTER
_REMOVED = " (deleted)"  # of a file that a process runs (proc(5), exe)


def missing_rights(status: Path = _STATUS) -> list[str]:
    """Return the capabilities that this process lacks (proc(5), CapEff)."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return [name for number, name in _CAPABILITIES.items() if not effective >> number & 1]


def directories(patient: Patient) -> list[Found]:
    """A file is written and removed in each directory that a handover writes to."""
    paths = patient.services.instance.paths
    places = {
        paths.drain_run: "the lock and the undo record of the VIP on lo",
        patient.services.control.path.parent: "the band, by which a handover steers keepalived",
        paths.drain_log.parent: "the log",
    }
    found: list[Found] = []
    for directory, purpose in places.items():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=directory) as scratch:
                scratch.write(_SCRATCH)
                scratch.flush()
        except OSError as error:
            found.append(findings.Unwritable(directory, purpose, str(error.strerror), logs=directory == paths.drain_log.parent))
    return found


def keepalived(patient: Patient) -> list[Found]:
    """A process for the pid file, and of the package that the job brought."""
    paths = patient.services.instance.paths
    if patient.keepalived_pid is None:
        stale_on = patient.services.instance.attachment.vip_interface if patient.vip_here else None
        return [findings.NotRunning(patient.services.instance.pid_file, paths.keepalived_log, patient.vip, stale_on)]
    expected = paths.keepalived_binary
    try:
        runs = Path(f"/proc/{patient.keepalived_pid}/exe").readlink()
    except OSError:
        return []
    if patient.config.drain.upstream_job is None and runs != expected.resolve():
        return [findings.OtherBinary(runs, expected, removed=str(runs).endswith(_REMOVED))]
    return []


def checks(patient: Patient) -> list[Found] | None:
    """None is disabled: keepalived tells that its log alone."""
    if patient.keepalived_pid is None:
        return None
    return [findings.CheckDisabled(each, patient.vip) for each in patient.services.vip.disabled_checks()]


def band(patient: Patient) -> list[Found]:
    """What keepalived is asked to be."""
    try:
        found = patient.services.control.read()
    except SystemFault as error:
        return [findings.UnreadableBand(str(error))]
    return (
        [
            findings.Draining(
                patient.vip, patient.services.control.changed_at(), StandingOrder.stay_out(patient.services.instance.paths).read()
            )
        ]
        if found is Band.DRAINING
        else []
    )


def interface(patient: Patient) -> list[Found]:
    """Up, with a carrier, an address to speak from, and a network that the VIP belongs to."""
    name, vip = patient.interface, patient.vip
    if obstacle := patient.netlink.obstacle(name):
        return [findings.Impassable(name, patient.services.instance.attachment.vip_interface, vip, obstacle)]
    if patient.services.instance.attachment.source is None:
        return [findings.NoSource(name, vip.version)]
    if patient.config.drain.takeover_proof is not Proof.ARP:  # the network sends the VIP here by other means
        return []
    networks = patient.networks(vip.version)
    return [] if any(vip in each.network for each in networks) else [findings.OtherNetwork(vip, name, tuple(networks))]


def vips(patient: Patient) -> list[Found]:
    """All VIPs are where keepalived.vip is; with IPv6 switched off, which is how stemcells come, those of IPv6 are nowhere."""
    found: list[Found] = [findings.NotServed(each) for each in patient.services.vip.unserved()]
    attachment, vip = patient.services.instance.attachment, patient.services.vip
    speaks_ipv6 = [each for each in (attachment.source, attachment.further_source) if each is not None and each.version == 6]
    doubts = patient.netlink.doubts(patient.interface, 6) if speaks_ipv6 else {}
    found += [findings.Duplicate(each, patient.interface) for each in speaks_ipv6 if doubts.get(each) is Doubt.DUPLICATE]
    if (without := vip.ipv6_obstacle("lo")) and not found and any(each.version == 6 for each in patient.vips):
        found.append(findings.NotForLo(tuple(each for each in patient.vips if each.version == 6), without))
    return found


def reverse_path(patient: Patient) -> list[Found]:
    """Strict reverse-path filtering drops what comes in where the answer would not go out (kernel's networking/ip-sysctl).

    With a virtual MAC that is everything to the VIP. keepalived sees to that when it starts; here is seen whether somebody has undone it.
    """
    if patient.vip.version == 6:
        return []
    takes_in = patient.services.instance.attachment.vip_interface
    if takes_in != patient.interface:
        is_strict = _has_settings(patient, takes_in) and _setting(patient, takes_in, "rp_filter") == 1
        return [findings.StrictReversePath(takes_in, patient.interface, patient.vip, everybody=True)] if is_strict else []
    if _setting(patient, patient.interface, "rp_filter") != 1:
        return []
    default = patient.netlink.default_interface(4)
    if default in (None, patient.interface):
        return []
    return [findings.StrictReversePath(patient.interface, default, patient.vip)]


def arp_filter(patient: Patient) -> list[Found] | None:
    """With arp_filter an interface answers ARP only where it is the way to who asks, and an interface of a virtual MAC never is."""
    if patient.vip.version == 6:
        return None
    answers = patient.services.instance.attachment.vip_interface
    asked_of = answers if _has_settings(patient, answers) else "default"  # which is what one that is made later begins with
    if not _setting(patient, asked_of, "arp_filter"):
        return []
    try:
        leaves_by = patient.netlink.interface_for(patient.vip, "auto")
    except ConfigError:
        return []  # the VIP is in no network of the machine: nobody on the segment asks for it
    return [] if leaves_by == answers else [findings.FiltersArp(answers, leaves_by, patient.vip)]


def kernel(patient: Patient) -> list[Found]:
    """Parts that only some kernels, and only some namespaces, have."""
    found: list[Found] = []
    haproxy, quic_ports = patient.services.machine.haproxy, patient.config.drain.quic_ports
    try:
        haproxy.connected(patient.vips)
    except SystemFault as error:
        found.append(findings.Uncounted(str(error)))
    try:
        if quic_ports:
            haproxy.serves_quic(patient.vips, quic_ports)
    except SystemFault as error:
        found.append(findings.UncountedQuic(str(error)))
    if patient.config.keepalived.use_vmac and not patient.services.machine.makes_links(MACVLAN):
        found.append(findings.NoVirtualMac(patient.vip))
    name = patient.config.keepalived.track_process
    if name is not None and (reason := patient.take_time("the proc connector", _CONNECTOR_SECONDS, proc_connector.available)):
        found.append(findings.NoProcConnector(reason, name))
    return found


def vip_on_lo(patient: Patient) -> list[Found]:
    """From pre-start to post-stop every instance has the VIPs on lo, and no interface answers for one that it has not."""
    found: list[Found] = []
    on_lo = [vip for vip in patient.vips if patient.netlink.has_address("lo", vip)]
    if missing := tuple(vip for vip in patient.services.installation.vips_for_lo() if vip not in on_lo):
        found.append(findings.NotOnLo(missing))
    first = next((vip for vip in on_lo if vip.version == 4), None)
    if first is not None:
        for interface, wrong in loud(patient.services.instance.paths.interface_settings, patient.interface).items():
            found.append(findings.AnswersOnLo(first, interface, tuple(wrong.items())))
    return found


def haproxy_here(patient: Patient) -> list[Found]:
    """It answers as vrrp_drain.health_check asks, or where it listens."""
    return [findings.HaproxySick(patient.haproxy_problem, patient.vip)] if patient.haproxy_problem else []


def soft_stop(patient: Patient) -> list[Found] | None:
    """drain tells haproxy to finish, through its pid file."""
    drain = patient.config.drain
    if not (drain.haproxy_soft_stop and patient.services.instance.hands_off) or patient.haproxy_problem:
        return None
    try:
        health_check.master_process(drain.haproxy_pid_file)
    except health_check.Nowhere as error:
        return [findings.NoSoftStop(str(error))]
    return []


def closing(patient: Patient) -> list[Found] | None:
    """What haproxy does with open connections when drain tells it to finish."""
    drain, haproxy = patient.config.drain, patient.services.machine.haproxy
    if not (drain.haproxy_soft_stop and patient.services.instance.hands_off) or patient.haproxy_problem:
        return None
    try:
        closes = haproxy.closing(drain.haproxy_pid_file)
    except health_check.Nowhere:
        return None  # another check says so
    found: list[Found] = []
    if closes.spread >= drain.drain_timeout:
        found.append(findings.ClosesTooLate(closes.spread, drain.drain_timeout))
    if closes.hard < drain.drain_timeout:
        found.append(findings.EndsTooEarly(closes.hard, drain.drain_timeout))
    if closes.http2 and not closes.spread and (count := haproxy.connections(patient.vips)) >= _CROWD:
        found.append(findings.ClosesAtOnce(count))
    return found


def frontends(patient: Patient) -> list[Found] | None:
    """A listener on the VIP itself looks, to the kernel, like a socket that knows every packet, unless its connections have a mark."""
    if not patient.services.instance.hands_off:
        return None
    bound = patient.services.installation.bound_to_vip()
    return [findings.BoundToVip(tuple(bound))] if bound else []


def _has_settings(patient: Patient, interface: str) -> bool:
    return (patient.services.instance.paths.interface_settings / interface).is_dir()


def _setting(patient: Patient, interface: str, name: str) -> int:
    """Return the value that holds for an interface: the higher of its own and all's (kernel's networking/ip-sysctl)."""
    directory = patient.services.instance.paths.interface_settings
    values = []
    for each in ("all", interface):
        try:
            values.append(int((directory / each / name).read_text()))
        except (OSError, ValueError):
            continue
    return max(values, default=0)


def effective_user() -> str:
    """Return who runs this, for the finding about rights."""
    return "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
