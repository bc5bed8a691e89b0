"""Checks of what a move needs: somebody to take over, the kernel's rules, and the way between the instances."""

import os
from pathlib import Path

from vrrp_drain.runtime.errors import SystemFault, what_happened

from . import foreign_source
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


def rules(patient: Patient) -> list[Found]:
    """Ours are installed; otherwise the kernel is asked whether it would take them."""
    services = patient.services
    if not services.instance.hands_off:
        return [findings.NotHandedOver(patient.config.keepalived.use_vmac)]
    wanted = {vip.version for vip in patient.vips}
    try:
        if set(services.machine.rules.state().families) >= wanted:
            return []
        services.machine.rules.trial(services.membership.group())
    except (SystemFault, OSError) as error:
        return [findings.RulesRefused(what_happened(error))]
    return [findings.RulesMissing()]


def foreign_sources(patient: Patient) -> list[Found] | None:
    """The IaaS lets a packet with a client's address pass between two instances."""
    if not patient.services.instance.hands_off or not patient.peers:
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
        found.append(findings.SourcesUnproven(tuple(unknown)))
    return found
