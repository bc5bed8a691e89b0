"""Checks of the segment: whose adverts arrive, whose do not, and who answers for the VIP."""

from vrrp_drain.haproxy import health_check
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.bands import Band

from .finding import Finding, note, problem, warning
from .patient import Patient, listed
from .survey import Survey

_LATE, _LOST = 1.5, 2.5  # advert intervals between two adverts: one was late or lost; nearly Master_Down_Interval
_VIRTUAL_MACS = ("00:00:5e:00:01:", "00:00:5e:00:02:")  # RFC 9568 section 7.3
_SECURITY_GROUP = "the IaaS' rules and security groups must let IP protocol 112 pass between the instances (docs/iaas.md)"
_PEER_SECONDS = 0.5
_TWO = "both are MASTER: clients reach one of two machines, and connections break whenever the segment learns the other one"


def foreign(patient: Patient) -> list[Finding]:
    """Adverts of our VRID that keepalived here refuses."""
    found = []
    for router in patient.survey.routers:
        if router.foreign and router.confirmed(patient.config.keepalived.advert_int):
            means = "two MASTERs, or one that silences ours: clients reach the wrong machine, or none"
            found.append(problem(router.foreign.what, means, router.foreign.mend))
        elif router.foreign:
            found.append(note(f"{router.foreign.what}, in one packet", "nothing, unless it is heard again", "vrrpctl doctor once more"))
        elif router.advert.advert_int != patient.config.keepalived.advert_int:
            theirs, ours = router.advert.advert_int, patient.config.keepalived.advert_int
            found.append(
                warning(
                    f"{router.source} adverts every {theirs:g} s, we every {ours:g} s",
                    "a dead MASTER is noticed after three intervals of whoever was MASTER: now sooner, now later",
                    "give all instances the same keepalived.advert_int",
                )
            )
    return found


def firewall(patient: Patient) -> list[Finding]:
    """Adverts that the interface gets and keepalived does not."""
    dropped = _dropped(patient.survey)
    if not dropped:
        return []
    means = _TWO if patient.is_master else f"keepalived here becomes MASTER beside {listed(dropped)}, and clients reach one of two machines"
    return [
        problem(
            f"adverts of {listed(dropped)} arrive at {patient.interface}, but a firewall of this instance drops them",
            means,
            "accept IP protocol 112 (vrrp) from the other instances in iptables or nftables here, before the rule that drops it",
        )
    ]


def _dropped(survey: Survey) -> list[IPAddress]:
    """Return whose adverts a firewall keeps from keepalived."""
    let_in = survey.let_in
    if let_in is None:
        return []
    return [each.source for each in survey.masters if len(each.arrivals) > 1 and each.source not in let_in]


def adverts(patient: Patient) -> list[Finding] | None:
    """On a BACKUP the MASTER's arrive; on the MASTER ours leave, and nobody of the cluster adverts beside us."""
    survey = patient.survey
    if _dropped(survey) or (not survey.masters and any(router.foreign for router in survey.routers)):
        return None  # the cause has its own finding
    if not patient.heard_enough and not survey.masters:
        interval = patient.config.keepalived.advert_int
        return [note(f"listened for {survey.seconds:.1f} s, too short for adverts every {interval:g} s", mend="give --timeout more")]
    return _beside_us(patient) if patient.is_master else _of_the_master(patient)


def _of_the_master(patient: Patient) -> list[Finding] | None:
    survey, vip = patient.survey, patient.vip
    if len(survey.current_masters) > 1:
        them = listed(router.source for router in survey.current_masters)
        return [
            problem(f"{them} advert side by side", "they do not hear each other: " + _TWO, f"vrrpctl doctor on each; {_SECURITY_GROUP}")
        ]
    if survey.masters:
        return []
    if answering := sorted(survey.answers[vip]):
        who = listed(map(patient.owner, answering))
        if any(patient.peer_with(mac) for mac in answering):
            return [
                problem(
                    f"{who} answers for {vip}, but none of its adverts reached {patient.interface} in {survey.seconds:.1f} s",
                    f"keepalived here becomes MASTER beside it: {_TWO}",
                    f"{_SECURITY_GROUP}; where multicast is lost, keepalived.unicast; vrrpctl doctor there tells whether they leave",
                )
            ]
        return None  # a stranger: another check's
    return [
        problem(
            f"nobody adverts {vip}, and nobody answers for it",
            "clients are without it",
            f"vrrpctl doctor on every instance; here, {patient.node.paths.keepalived_log} says why keepalived does not take it",
        )
    ]


def _beside_us(patient: Patient) -> list[Finding]:
    survey, vip = patient.survey, patient.vip
    if survey.sent is None and patient.heard_enough and not patient.config.keepalived.use_vmac:
        return [
            problem(
                f"keepalived has {vip} here, but sent no advert within {survey.seconds:.1f} s",
                "a peer becomes MASTER beside it: clients reach one of two machines",
                "keepalived hangs: monit restart keepalived",
            )
        ]
    ours = survey.sent.priority if survey.sent else patient.priority
    found = [
        problem(
            f"{router.source} adverts priority {router.advert.priority} beside our {ours}: "
            + ("it does not hear us" if router.advert.priority <= ours else "keepalived here ignores it"),
            _TWO,
            f"vrrpctl doctor on {router.source}: is it its firewall? {_SECURITY_GROUP}",
        )
        for router in survey.current_masters
    ]
    others = [mac for mac in survey.answers[vip] if patient.peer_with(mac)]
    if others and not found:
        found.append(
            problem(
                f"{listed(map(patient.owner, others))} answers for {vip} as well, and no advert of it arrives",
                _TWO,
                f"vrrpctl doctor on the other one first: it may know why; {_SECURITY_GROUP}; where multicast is lost, keepalived.unicast",
            )
        )
    if found or not patient.peers:
        return found
    return [
        note(
            "our adverts leave, but that they reach the peers cannot be proven from the MASTER: a BACKUP is silent",
            mend=f"vrrpctl doctor on {listed(patient.peers)}",
        )
    ]


def timing(patient: Patient) -> list[Finding] | None:
    """The time between the adverts of a MASTER, against what it says itself."""
    if not patient.survey.current_masters:
        return None
    found = []
    for router in patient.survey.current_masters:
        gap, interval = router.longest_gap, router.advert.advert_int
        if gap > _LATE * interval:
            what = f"{gap:.2f} s passed between two adverts of {router.source}, which come every {interval:g} s"
            means = "after three missed intervals a BACKUP becomes a second MASTER"
            mend = f"see whether {router.source} or this instance lacks processor time (steal in top), or the segment loses packets"
            found.append((warning if gap > _LOST * interval else note)(what, means, mend))
    return found


def priorities(patient: Patient) -> list[Finding] | None:
    """What the MASTER adverts, against our own band and everybody else's."""
    ours, survey = patient.config.keepalived, patient.survey
    if not patient.is_master and not survey.current_masters:
        return None
    if patient.is_master:
        sent = survey.sent.priority if survey.sent else patient.priority
        if sent in (patient.priority, bands.effective(patient.priority), 0):
            return []
        return [
            warning(
                f"keepalived here adverts priority {sent} ({bands.describe(sent)}), though the {patient.band} band is {patient.priority}",
                f"its check fails, or it has not read the band: any healthy peer takes {patient.vip}",
                f"{patient.node.paths.keepalived_log} says which; keepalived.healthcheck_command is what it runs",
            )
        ]
    found = []
    for router in survey.current_masters:
        theirs = router.advert.priority
        if not bands.is_active(theirs):
            also = ", and so is this instance" if patient.band is Band.DRAINING else ""
            what = f"the MASTER, {router.source}, adverts priority {theirs} ({bands.describe(theirs)}){also}"
            means = "no instance is known to be healthy and to stay: a handover finds no successor"
            found.append(warning(what, means, f"vrrpctl status on {router.source}; vrrpctl promote where haproxy answers"))
        elif theirs == ours.priority:
            mend = "give every instance another keepalived.priority, or none: then the index decides"
            found.append(warning(f"{router.source} adverts our own priority, {theirs}", "two instances may win the same election", mend))
        elif (
            theirs < patient.priority and ours.preempt and not ours.preempt_delay and patient.keepalived_pid and not patient.haproxy_problem
        ):
            found.append(
                warning(
                    f"{router.source} is MASTER with priority {theirs}, below our {patient.priority}, and this instance does not take over",
                    "keepalived's check fails here, though haproxy answers: this instance is a weak backup",
                    f"{patient.node.paths.keepalived_log}; keepalived.healthcheck_command is what it runs",
                )
            )
    return found


def answers(patient: Patient) -> list[Finding]:
    """Exactly one machine answers for the VIP, and it is one of ours."""
    survey, vip = patient.survey, patient.vip
    answering = survey.answers[vip]
    strangers = [mac for mac in answering if not patient.peer_with(mac) and not mac.startswith(_VIRTUAL_MACS)]
    found = []
    if strangers:
        silent = [peer for peer in patient.peers if peer not in patient.peer_macs]
        unless = f" (unless it is {listed(silent)}, which answers for nothing else)" if silent else ""
        found.append(
            problem(
                f"{listed(strangers)}, which is no instance of this group{unless}, answers for {vip}",
                "clients reach a machine of somebody else's, or one of two",
                "find that MAC in the IaaS and free the address; reserve it there (docs/iaas.md)",
            )
        )
    if not patient.is_master and len(answering) > 1:
        mend = "vrrpctl doctor on each: one of them has a stale address, or does not hear the other"
        found.append(problem(f"{listed(map(patient.owner, answering))} answer for {vip}", _TWO, mend))
    if survey.current_masters and not answering and not patient.vip_here:
        master = survey.current_masters[0].source
        found.append(
            problem(
                f"{master} adverts {vip}, but nobody answers for it",
                "clients cannot find it, and no BACKUP takes over while the adverts go on",
                f"on {master}: is {vip} on its interface, is ARP filtered (arptables, anti-spoofing)? vrrpctl demote there moves it",
            )
        )
    for own in patient.own_addresses:
        if others := survey.answers.get(own):
            what = f"{listed(map(patient.owner, others))} answers for {own}, the address of this instance"
            mend = "find that MAC in the IaaS; an address of a BOSH network was given twice"
            found.append(problem(what, "adverts, health checks and clients reach the wrong machine", mend))
    return found


def successor(patient: Patient) -> list[Finding]:
    """A peer whose haproxy answers: without one a handover has nowhere to go."""
    config = patient.config
    if not config.peers:
        what = "the instance group has one instance"
        return [warning(what, f"whenever it stops, clients are without {patient.vip}", "scale it to two instances at least")]
    if config.drain.health_check.scheme == "unix":
        what = f"{config.drain.health_check.geturl()} cannot be asked of the peers, so their haproxy was not"
        means = "a handover cannot be hurried and takes three advert intervals"
        return [note(what, means, "let vrrp_drain.health_check ask a port (tcp:// or http://)")]
    what = "haproxy of the peers"
    healthy = patient.take_time(
        what, _PEER_SECONDS, lambda: health_check.answering(config.drain.health_check, patient.peers, _PEER_SECONDS)
    )
    silent = [peer for peer in patient.peers if peer not in healthy]
    if not silent:
        return []
    gone = [peer for peer in silent if peer not in patient.peer_macs]
    they = f"haproxy of {listed(silent)} does not answer us"
    if gone:
        they += f"; {listed(gone)} does not even answer ARP: off, or on another segment"
    mend = f"vrrpctl status there; {config.drain.health_check.geturl()} is what is asked, at their addresses"
    if healthy:
        return [warning(they, "that many fewer can take over", mend)]
    means = f"no healthy successor is known: when this instance stops, clients may be without {patient.vip}, and no handover is hurried"
    return [problem(they, means, mend)]
