"""Checks of what a move needs: somebody to take over, the kernel's rules, and the way between the instances."""

import os
from collections.abc import Sequence
from pathlib import Path

from vrrp_drain.handoff.rules import RulesRefused
from vrrp_drain.linux.link_kinds import VXLAN
from vrrp_drain.linux.nftables.kernel import BaseChain
from vrrp_drain.linux.vxlan import HEADERS
from vrrp_drain.runtime.errors import SystemFault, what_happened
from vrrp_drain.runtime.ip import IPAddress

from . import foreign_source, tunnel_probe
from . import moves_findings as findings
from .finding import Found
from .patient import Patient

_PROBE_SECONDS = 1.5
_PEER_SECONDS = 0.5


def successor(patient: Patient) -> list[Found]:
    """A peer whose haproxy answers: without one a handover has nowhere to go."""
    config = patient.config
    if not config.peers:
        return [findings.Alone(patient.vip)]
    asked = patient.haproxy.asked or "what haproxy here was asked last"
    what = "haproxy of the peers"
    healthy = patient.take_time(
        what, _PEER_SECONDS, lambda: patient.services.machine.haproxy.answering(config, patient.peers, _PEER_SECONDS)
    )
    if healthy is None:
        return [findings.NotAskable(asked)]
    silent = [peer for peer in patient.peers if peer not in healthy]
    near = [peer for peer in silent if patient.netlink.is_on_segment(patient.interface, peer)]  # one behind a router answers no ARP
    gone = [peer for peer in near if peer not in patient.peer_macs]
    return [findings.NoAnswer(silent, gone, bool(healthy), asked, patient.vip)] if silent else []


def takeover_proof(patient: Patient) -> list[Found] | None:
    """The program that proves a takeover can be run."""
    command = patient.config.drain.takeover_command
    if command is None:
        return None
    return [] if os.access(command[0], os.X_OK) and Path(command[0]).is_file() else [findings.NoCommand(command[0], patient.vip)]


def rules(patient: Patient) -> list[Found] | None:
    """Ours are installed; otherwise the kernel is asked whether it would take them."""
    services = patient.services
    if not services.instance.hands_off:
        return [*rules_refused(patient), findings.NotHandedOver()]
    if not _rules_are_missing(patient):
        return []
    if refused := _refused(patient):
        return refused
    if services.installation.lacks_of_tunnel():
        return None  # without a tunnel there are none, which is another check's finding
    return [findings.RulesMissing()]


def rules_refused(patient: Patient) -> list[Found]:
    """Where they are not there, the kernel is asked whether it would take them."""
    return _refused(patient) if _rules_are_missing(patient) else []


def _refused(patient: Patient) -> list[Found]:
    try:
        patient.services.machine.rules.trial(patient.services.membership.group())
    except RulesRefused as error:
        return [findings.RulesRefused(str(error), error.modules, handed_over=patient.services.instance.hands_off)]
    except (SystemFault, OSError) as error:
        return [findings.RulesRefused(what_happened(error), handed_over=patient.services.instance.hands_off)]
    return []


def _rules_are_missing(patient: Patient) -> bool:
    """Tell whether a family of a VIP has none; those for adverts are there without the handoff's."""
    try:
        situation = patient.services.machine.rules.state()
    except SystemFault:
        return True  # what it will not tell it will not take either, and says why then
    there = situation.families if patient.services.instance.hands_off else situation.tables
    return not set(there) >= {vip.version for vip in patient.vips}


def foreign_rules(patient: Patient) -> list[Found] | None:
    """No chain of somebody else's has a policy that drops packets of open connections here, on their way to who serves them."""
    services = patient.services
    if not services.instance.hands_off or not patient.peers:
        return None
    found: dict[BaseChain, list[IPAddress]] = {}
    for vip in patient.vips:
        try:
            chains = services.machine.rules.in_the_way(vip)
        except SystemFault:
            return None  # no nftables, no handoff: another check says so
        for chain in chains:
            found.setdefault(chain, []).append(vip)
    return [findings.DropsHandedOn(chain, tuple(vips)) for chain, vips in found.items()]


def foreign_sources(patient: Patient) -> list[Found] | None:
    """The IaaS lets a packet with a client's address pass between two instances."""
    if not patient.services.instance.hands_off or patient.services.instance.tunnels or not patient.peers:
        return None
    networks = [each for family in (patient.vip.version, 10 - patient.vip.version) for each in patient.networks(family)]
    own = next((each for each in networks if any(peer in each.network for peer in patient.peer_macs)), None)
    if own is None:
        return [findings.Untried(patient.interface)]
    peers = {peer: mac for peer, mac in patient.peer_macs.items() if peer in own.network}
    mac = patient.netlink.mac(patient.interface)
    taken = {*patient.vips, *patient.members}
    what = "answers to a foreign source address"
    outcome = patient.take_time(what, _PROBE_SECONDS, lambda: foreign_source.probe(patient.interface, mac, own, taken, peers))
    lost = outcome.own - outcome.foreign
    unknown = set(peers) - outcome.own - outcome.foreign
    found: list[Found] = []
    if lost:
        found.append(findings.SourcesDropped(tuple(lost), outcome.unused))
    if unknown:
        found.append(findings.ReachUnproven(tuple(unknown), "foreign source addresses reach"))
    return found


def tunnel_refused(patient: Patient) -> list[Found] | None:
    """The kernel has the kind of interface that a tunnel is."""
    if patient.services.membership.tunnel() is None:
        return None
    return [] if patient.services.machine.makes_links(VXLAN) else [findings.NoVxlan()]


def tunnel(patient: Patient) -> list[Found] | None:
    """The tunnel for open connections is there, and what goes into it arrives."""
    wanted = patient.services.membership.tunnel()
    if wanted is None:
        return None
    if lacks := patient.services.installation.lacks_of_tunnel():
        return tunnel_refused(patient) or [findings.TunnelMissing(tuple(lacks))]
    found: list[Found] = []
    for end in wanted.ends:
        peers = sorted((each for each in patient.services.membership.ends() if each.version == end.version), key=lambda each: each.packed)
        vip = next(each for each in patient.vips if each.version == end.version)
        size = patient.services.machine.vxlan.mtu(patient.interface) - (HEADERS[6] if end.version == 6 else 0)
        what = "answers through the tunnel"

        def ask(end: IPAddress = end, vip: IPAddress = vip, peers: Sequence[IPAddress] = peers, size: int = size) -> tunnel_probe.Outcome:
            return tunnel_probe.probe(wanted, end, vip, peers, size)

        outcome = patient.take_time(what, tunnel_probe.SECONDS, ask)
        if lost := outcome.plain - outcome.through:
            found.append(findings.TunnelBlocked(tuple(lost), wanted.port))
        if short := outcome.through - outcome.full:
            found.append(findings.FullSizeLost(tuple(short), size))
        if unknown := {*peers} - outcome.plain - outcome.through:
            found.append(findings.ReachUnproven(tuple(unknown), "the tunnel reaches"))
    return found
