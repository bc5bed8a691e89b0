"""Checks of the segment: whose adverts arrive, whose do not, and who answers for the VIP."""

from vrrp_drain.config.model import Proof
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.bands import Band

from . import segment_findings as findings
from .finding import Found
from .patient import Holder, Patient
from .survey import Survey

_LATE, _LOST = 1.5, 2.5  # advert intervals between two adverts: one was late or lost; nearly Master_Down_Interval
_VIRTUAL_MACS = ("00:00:5e:00:01:", "00:00:5e:00:02:")  # RFC 9568 section 7.3


def foreign(patient: Patient) -> list[Found]:
    """Adverts of our VRID that keepalived here refuses."""
    found: list[Found] = []
    ours = patient.config.keepalived.advert_int
    for router in patient.survey.routers:
        if router.foreign:
            found.append(findings.ForeignAdverts(router.foreign, router.confirmed(ours)))
        elif router.advert.advert_int != ours:
            found.append(findings.OtherInterval(router.source, router.advert.advert_int, ours))
    return found


def firewall(patient: Patient) -> list[Found]:
    """Adverts that the interface gets and keepalived does not."""
    dropped = _dropped(patient.survey)
    return [findings.Dropped(dropped, patient.interface, patient.is_master)] if dropped else []


def _dropped(survey: Survey) -> list[IPAddress]:
    """Return whose adverts a firewall keeps from keepalived."""
    let_in = survey.let_in
    if let_in is None:
        return []
    return [each.source for each in survey.masters if len(each.arrivals) > 1 and each.source not in let_in]


def adverts(patient: Patient) -> list[Found] | None:
    """On a BACKUP the MASTER's arrive; on the MASTER ours leave, and nobody of the cluster adverts beside us."""
    survey = patient.survey
    if survey.far:
        allowed = patient.config.keepalived.unicast_hops
        return [findings.TooFar(source, routers, allowed) for source, routers in survey.far.items()]
    if _dropped(survey) or (not survey.masters and any(router.foreign for router in survey.routers)):
        return None  # the cause has its own finding
    if not patient.heard_enough and not survey.masters:
        return [findings.TooShort(survey.seconds, patient.config.keepalived.advert_int)]
    return _beside_us(patient) if patient.is_master else _of_the_master(patient)


def _of_the_master(patient: Patient) -> list[Found] | None:
    survey, vip = patient.survey, patient.vip
    if len(survey.current_masters) > 1:
        return [findings.SideBySide([router.source for router in survey.current_masters])]
    if survey.masters:
        return []
    if holders := patient.holders(vip):
        if any(each.peer for each in holders):
            return [findings.Unheard(holders, vip, patient.interface, survey.seconds)]
        return None  # a stranger: another check's
    return [findings.Nobody(vip, patient.services.instance.paths.keepalived_log)]


def _beside_us(patient: Patient) -> list[Found]:
    survey, vip = patient.survey, patient.vip
    if survey.sent is None and patient.heard_enough and not patient.config.keepalived.use_vmac:
        return [findings.SendsNothing(vip, survey.seconds)]
    ours = survey.sent.priority if survey.sent else patient.priority
    found: list[Found] = [findings.BesideUs(router.source, router.advert.priority, ours) for router in survey.current_masters]
    others = [each for each in patient.holders(vip) if each.peer]
    if others and not found:
        found.append(findings.AnswersBesideUs(others, vip))
    if found or not patient.peers:
        return found
    return [findings.Unproven(patient.peers)]


def timing(patient: Patient) -> list[Found] | None:
    """The time between the adverts of a MASTER, against what it says itself."""
    if not patient.survey.current_masters:
        return None
    found: list[Found] = []
    for router in patient.survey.current_masters:
        gap, interval = router.longest_gap, router.advert.advert_int
        if gap > _LATE * interval:
            found.append(findings.Late(router.source, gap, interval, lost=gap > _LOST * interval))
    return found


def priorities(patient: Patient) -> list[Found] | None:
    """What the MASTER adverts, against our own band and everybody else's."""
    ours, survey, log = patient.config.keepalived, patient.survey, patient.services.instance.paths.keepalived_log
    if not patient.is_master and not survey.current_masters:
        return None
    if patient.is_master:
        sent = survey.sent.priority if survey.sent else patient.priority
        if sent in (patient.priority, bands.effective(patient.priority), 0):
            return []
        return [findings.OutOfBand(sent, patient.band, patient.priority, patient.vip, log)]
    found: list[Found] = []
    for router in survey.current_masters:
        theirs = router.advert.priority
        if not bands.is_active(theirs):
            found.append(findings.InactiveMaster(router.source, theirs, we_drain=patient.band is Band.DRAINING))
        elif theirs == ours.priority:
            found.append(findings.SamePriority(router.source, theirs))
        elif (
            theirs < patient.priority and ours.preempt and not ours.preempt_delay and patient.keepalived_pid and not patient.haproxy_problem
        ):
            found.append(findings.WeakBackup(router.source, theirs, patient.priority, log))
    return found


def answers(patient: Patient) -> list[Found]:
    """Exactly one machine answers for the VIP, and it is one of ours."""
    survey, vip = patient.survey, patient.vip
    holders = patient.holders(vip)
    strangers = [each.mac for each in holders if not each.peer and not each.mac.startswith(_VIRTUAL_MACS)]
    found: list[Found] = []
    if strangers:
        found.append(findings.StrangersAnswer(strangers, vip, patient.silent_peers))
    if not patient.is_master and len(holders) > 1:
        found.append(findings.TwoAnswer(holders, vip))
    if survey.current_masters and not holders and not patient.vip_here and patient.config.drain.takeover_proof is Proof.ARP:
        found.append(findings.SilentMaster(survey.current_masters[0].source, vip))
    for own in patient.own_addresses:
        if others := patient.holders(own):
            found.append(findings.OurAddressTaken(others, own))
    found += [findings.OurAddressTaken([Holder(mac, None) for mac in sorted(macs)], own) for own, macs in patient.taken_elsewhere().items()]
    return found
