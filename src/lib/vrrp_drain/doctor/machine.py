"""Checks of the instance itself: rights, directories, processes, interface, kernel."""

import os
import tempfile
import time
from pathlib import Path

from vrrp_drain.handoff.vip_on_lo import WANTED
from vrrp_drain.haproxy import health_check
from vrrp_drain.linux import connections, listeners, proc_connector
from vrrp_drain.linux.obstacle import Obstacle
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.bands import Band

from .finding import Finding, note, problem, warning
from .patient import Patient

_CAPABILITIES = {12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW"}  # linux/capability.h
_STATUS = Path("/proc/self/status")
_SCRATCH = b"vrrpctl doctor\n" * 300  # more than a page
_CONNECTOR_SECONDS = 1.0


def missing_rights(status: Path = _STATUS) -> list[str]:
    """Return the capabilities that this process lacks (proc(5), CapEff)."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return [name for number, name in _CAPABILITIES.items() if not effective >> number & 1]


def directories(patient: Patient) -> list[Finding]:
    """A file is written and removed in each directory that a handover writes to."""
    paths, node = patient.node.paths, patient.node
    places = {
        paths.drain_run: "the lock and the undo record of the VIP on lo",
        node.priority_control.path.parent: "the band, by which a handover steers keepalived",
        paths.drain_log.parent: "the log",
    }
    found = []
    for directory, purpose in places.items():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=directory) as scratch:
                scratch.write(_SCRATCH)
                scratch.flush()
        except OSError as error:
            what = f"{directory} cannot be written to: {error.strerror}"
            mend = "free space on its file system, or mount it writable (mount -o remount,rw); df -h and mount show how it stands"
            if directory == paths.drain_log.parent:
                found.append(warning(what, f"it holds {purpose}: nobody will see what a handover did", mend))
            else:
                found.append(problem(what, f"it holds {purpose}: no handover can begin, and a deploy stops here", mend))
    return found


def keepalived(patient: Patient) -> list[Finding]:
    """A process for the pid file, and of the package that the job brought."""
    node = patient.node
    if patient.keepalived_pid is None:
        stale = patient.vip_here
        what = f"keepalived does not run (no process for {node.pid_file})"
        means = (
            f"{patient.vip} is still on {patient.vip_interface}: stale, withdrawn by nobody; a peer that takes over is a second machine"
            if stale
            else f"{patient.vip} will not come here: this instance is nobody's backup"
        )
        start = f"monit start keepalived, and see {node.paths.keepalived_log} for why it ended"
        return [problem(what, means, f"vrrpctl demote takes the stale address off safely; then {start}" if stale else start)]
    expected = node.paths.keepalived_binary
    try:
        runs = Path(f"/proc/{patient.keepalived_pid}/exe").readlink()
    except OSError:
        return []
    if patient.config.drain.upstream_job is None and runs != expected.resolve():
        mend = "monit restart keepalived, after vrrpctl demote" if str(runs).endswith("(deleted)") else "nothing, if that is wanted"
        return [
            note(f"the keepalived that runs is {runs}, not {expected}", "an update of the package takes effect at its next start", mend)
        ]
    return []


def band(patient: Patient) -> list[Finding]:
    """What keepalived is asked to be."""
    priority_control = patient.node.priority_control
    try:
        found = priority_control.read()
    except SystemFault as error:
        return [problem(str(error), "nobody knows what priority keepalived adverts", "vrrpctl promote, or demote, writes it anew")]
    if found is not Band.DRAINING:
        return []
    changed = priority_control.changed_at()
    since = time.strftime(" since %Y-%m-%d %H:%M:%S UTC", time.gmtime(changed)) if changed else ""
    what = f"this instance is in the draining band{since}"
    return [note(what, f"it takes {patient.vip} only where no active peer is left", "vrrpctl promote, unless a deploy is at work here")]


def interface(patient: Patient) -> list[Finding]:
    """Up, with a carrier, an address to speak from, and a network that the VIP belongs to."""
    name, vip = patient.interface, patient.vip
    if obstacle := patient.netlink.obstacle(name):
        below = "" if patient.vip_interface == name else f"is below {patient.vip_interface}, which "
        what = f"{name}, which {below}carries {vip}, {obstacle}"
        mend = (
            f"ip link set {name} up"
            if obstacle is Obstacle.DOWN
            else "look at the virtual switch port or the cable: does the IaaS have it connected?"
        )
        return [problem(what, "this instance reaches nobody, and nobody reaches it", mend)]
    if patient.node.attachment.source is None:
        kind = "IPv4" if vip.version == 4 else "IPv6 link-local"
        what = f"{name} has no {kind} address of its own"
        return [problem(what, "keepalived here has nothing to advert from, and becomes MASTER beside a peer", f"give {name} one")]
    networks = patient.networks(vip.version)
    if any(vip in each.network for each in networks):
        return []
    have = ", ".join(map(str, networks)) or "no address"
    return [
        warning(
            f"{vip} lies in no network of {name}, which has {have}",
            "machines on the segment do not ask by ARP for an address that they think is elsewhere: only a route makes it reachable",
            "set keepalived.vip to an address of the segment, or keepalived.interface to where it belongs, unless routers send it here",
        )
    ]


def reverse_path(patient: Patient) -> list[Finding]:
    """Strict reverse-path filtering drops what comes in where the answer would not go out (kernel's networking/ip-sysctl)."""
    if patient.vip.version == 6 or _setting(patient, "rp_filter") != 1:
        return []
    default = patient.netlink.default_interface(4)
    if default in (None, patient.interface):
        return []
    return [
        warning(
            f"rp_filter is strict on {patient.interface}, and the default route leaves through {default}",
            f"packets of clients beyond a router are dropped when they arrive for {patient.vip}",
            f"sysctl net.ipv4.conf.{patient.interface}.rp_filter=2 (and the same of all), or a route through {patient.interface}",
        )
    ]


def kernel(patient: Patient) -> list[Finding]:
    """Parts that only some kernels, and only some namespaces, have."""
    found = []
    try:
        connections.count(patient.vips)
    except SystemFault as error:
        mend = "load the modules tcp_diag and inet_diag"
        found.append(warning(str(error), "drain cannot wait for open connections: haproxy's stop cuts them", mend))
    name = patient.config.keepalived.track_process
    if name is not None and (reason := patient.take_time("the proc connector", _CONNECTOR_SECONDS, proc_connector.available)):
        found.append(
            note(
                f"the kernel does not report here which processes end ({reason})",
                f"keepalived.track_process: {name} is looked for every second instead, so its death is noticed later",
            )
        )
    return found


def vip_on_lo(patient: Patient) -> list[Finding]:
    """From pre-start to post-stop every instance has the VIPs on lo, and its interface does not answer for them there."""
    found = []
    on_lo = [vip for vip in patient.vips if patient.netlink.has_address("lo", vip)]
    missing = [vip for vip in patient.vips if vip not in on_lo]
    if missing:
        found.append(
            warning(
                f"{', '.join(map(str, missing))} is not on lo",
                "connections that are open are cut at a move, and one that is opened in its millisecond is slow",
                "bosh restart of this instance: its pre-start puts it there and logs why it could not; a reboot takes it away",
            )
        )
    wrong = [f"{name} is {value}" for name, least in WANTED.items() if (value := _setting(patient, name)) < least]
    if any(vip.version == 4 for vip in on_lo) and wrong:
        found.append(
            problem(
                f"{patient.vip} is on lo, but {' and '.join(wrong)} on {patient.interface}",
                "this instance answers ARP for it though it is not MASTER, or names it in its questions: clients reach the wrong machine",
                "set both back (sysctl net.ipv4.conf.INTERFACE.arp_ignore=1, arp_announce=2), and find who changed them",
            )
        )
    return found


def haproxy_here(patient: Patient) -> list[Finding]:
    """It answers as vrrp_drain.health_check asks."""
    if not patient.haproxy_problem:
        return []
    means = f"keepalived's check gives {patient.vip} to a peer; if this is the MASTER and no peer is better, clients get no answer"
    return [problem(patient.haproxy_problem, means, "monit summary, and haproxy's own log; vrrp_drain.health_check is what asks")]


def soft_stop(patient: Patient) -> list[Finding] | None:
    """drain tells haproxy to finish, through its pid file."""
    drain = patient.config.drain
    if not (drain.haproxy_soft_stop and patient.node.hands_off) or patient.haproxy_problem:
        return None
    try:
        health_check.master_process(drain.haproxy_pid_file)
    except health_check.Nowhere as error:
        return [
            warning(
                str(error),
                "drain cannot tell haproxy to finish: keep-alive clients are not asked to close, and its stop cuts them",
                "set vrrp_drain.haproxy_pid_file to haproxy's pid file, or haproxy_soft_stop to false",
            )
        ]
    return []


def frontends(patient: Patient) -> list[Finding] | None:
    """A listener on the VIP itself looks, to the kernel, like a socket that knows every packet."""
    if not patient.node.hands_off:
        return None
    bound = listeners.bound_to(patient.vips)
    if not bound:
        return []
    ports = ", ".join(dict.fromkeys(f"bind :::{each.rpartition(':')[2]} v4v6" for each in bound))
    return [
        warning(
            f"a listener is bound to the VIP itself: {', '.join(bound)}",
            "its open connections cannot be told from new ones and are reset when the VIP moves",
            f"bind it to the wildcard address: {ports}",
        )
    ]


def _setting(patient: Patient, name: str) -> int:
    """Return the value that holds for the interface: the higher of its own and all's (kernel's networking/ip-sysctl)."""
    directory = patient.node.paths.interface_settings
    values = []
    for each in ("all", patient.interface):
        try:
            values.append(int((directory / each / name).read_text()))
        except (OSError, ValueError):
            continue
    return max(values, default=0)


def effective_user() -> str:
    """Return who runs this, for the finding about rights."""
    return "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
