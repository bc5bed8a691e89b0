"""Checks of what keeps connections open while the VIP moves: the kernel's rules, and the way between the instances."""

from vrrp_drain.runtime.errors import SystemFault

from . import foreign_source
from .finding import Finding, note, problem, warning, what_happened
from .patient import Patient, listed

_PROBE_SECONDS = 1.5


def rules(patient: Patient) -> list[Finding]:
    """Ours are installed; otherwise the kernel is asked whether it would take them."""
    node = patient.node
    if not node.hands_off:
        why = "keepalived.use_vmac" if patient.config.keepalived.use_vmac else "vrrp_drain.connection_handoff is false"
        return [note(f"open connections are not handed over ({why})", "a move cuts them")]
    wanted = {vip.version for vip in patient.vips}
    try:
        if set(node.rules.state().families) >= wanted:
            return []
        node.rules.trial(node.group())
    except (SystemFault, OSError) as error:
        mend = "run a kernel with nf_tables and its dup and socket expressions (modules nft_dup_ipv4, nft_dup_ipv6, nft_socket)"
        return [problem(what_happened(error), "every move cuts the connections that are open", mend)]
    return [
        warning(
            "the rules that hand open connections over are not installed, though this kernel takes them",
            "a move to or from this instance cuts the connections that are open",
            "bosh restart of this instance: its pre-start installs them; a reboot takes them away",
        )
    ]


def foreign_sources(patient: Patient) -> list[Finding] | None:
    """The IaaS lets a packet with a client's address pass between two instances."""
    if not patient.node.hands_off or not patient.peers:
        return None
    networks = [each for family in (patient.vip.version, 10 - patient.vip.version) for each in patient.networks(family)]
    own = next((each for each in networks if any(peer in each.network for peer in patient.peer_macs)), None)
    if own is None:
        what = f"no peer answers in a network of {patient.interface}, so whether foreign source addresses reach one was not tried"
        return [note(what, mend="vrrpctl doctor again when one is there")]
    peers = {peer: mac for peer, mac in patient.peer_macs.items() if peer in own.network}
    mac = patient.netlink.mac(patient.interface)
    taken = {*patient.vips, *patient.peers}
    what = "answers to a foreign source address"
    outcome = patient.take_time(what, _PROBE_SECONDS, lambda: foreign_source.probe(patient.interface, mac, own, taken, peers))
    lost = outcome.own - outcome.foreign
    unknown = set(peers) - outcome.own - outcome.foreign
    found = []
    if lost:
        found.append(
            problem(
                f"{listed(lost)} answers our own address, but nothing that we send from {outcome.unused} reaches it: "
                "something between the instances drops foreign source addresses",
                "a handed-off packet has its client's address: connections that are open hang or break when the VIP moves",
                "allow it at the instances' ports (OpenStack: port security; vSphere: forged transmits, spoof guard; docs/iaas.md), "
                "or set vrrp_drain.connection_handoff to false",
            )
        )
    if unknown:
        what = f"{listed(unknown)} does not answer an echo request, so whether foreign source addresses reach it cannot be proven from here"
        found.append(note(what, mend="let ICMP echo requests pass between the instances, or try it from there"))
    return found
