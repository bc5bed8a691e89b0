"""One look at the segment, with packets that a test puts on it."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.support.fakes import OWN, PEER, PEER_MAC, STRANGER, VIP, carries
from unit.support.services import FakeServices
from vrrp_drain.doctor import survey
from vrrp_drain.doctor.survey import Router, Survey
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.foreign import Difference

THE_VIP, THE_PEER, US = ip_address(VIP), ip_address(PEER), ip_address(OWN)
ADVERT = Advert(2, 1, 253, 1.0, (THE_VIP,))


def script(services: FakeServices, *heard: tuple[float, Advert, str]) -> None:
    """Put adverts on the wire, each so many seconds after the one before."""
    after = 0.0
    for pause, advert, source in heard:
        after += pause
        services.machine.hears(carries(advert, source), after=after)


pytestmark = pytest.mark.usefixtures("clock")


def test_a_look_ends_with_the_first_master(services: FakeServices) -> None:
    """Somebody else's use of the VRID does not end it, and is no master."""
    script(services, (0.1, replace(ADVERT, addresses=(ip_address("10.0.0.99"),)), STRANGER), (0.2, ADVERT, PEER), (0.2, ADVERT, PEER))
    services.machine.answers[VIP] = [PEER_MAC]
    found = survey.look(services)
    assert found.seconds == pytest.approx(0.3)
    assert [str(router.source) for router in found.masters] == [PEER]
    assert [router.foreign and router.foreign.difference for router in found.routers] == [Difference.VIP, None]
    assert found.answers == {THE_VIP: {PEER_MAC}}


def test_a_survey_listens_to_the_end(services: FakeServices) -> None:
    """Each advert's arrival is kept, other virtual routers and our own address are left out, and everybody is asked twice."""
    others = ((0.1, ADVERT, OWN), (0.1, replace(ADVERT, vrid=2), PEER))
    script(services, (0.5, ADVERT, PEER), *others, (0.9, ADVERT, PEER), (1.0, ADVERT, PEER))
    services.machine.answers[PEER] = [PEER_MAC]
    found = survey.listen(services, 3.3, [THE_PEER, US])
    (router,) = found.routers
    assert found.seconds == pytest.approx(3.3)
    assert router.longest_gap == pytest.approx(1.1)
    assert found.answers == {THE_VIP: frozenset(), THE_PEER: {PEER_MAC}, US: frozenset()}
    assert [(str(target), len(inquiry.asked), inquiry.closed) for target, inquiry in services.machine.inquiries] == [
        (each, 2, True) for each in (VIP, PEER, OWN)
    ]


def test_who_adverts_is_asked_for_his_mac(services: FakeServices) -> None:
    """A peer may speak from an address that nobody has told us; a stranger's MAC is of no interest."""
    other = replace(ADVERT, addresses=(ip_address("10.0.0.99"),))
    script(services, (0.5, ADVERT, "10.0.0.42"), (0.6, other, STRANGER), (1.0, ADVERT, "10.0.0.42"))
    services.machine.rules.situation = Situation()  # an open group
    services.machine.answers |= {"10.0.0.42": [PEER_MAC], STRANGER: ["02:00:00:00:00:77"]}
    found = survey.listen(services, 2.0, [])
    assert found.answers == {THE_VIP: frozenset(), ip_address("10.0.0.42"): {PEER_MAC}}
    assert all(inquiry.closed for _, inquiry in services.machine.inquiries)


def test_the_second_answer_counts(services: FakeServices) -> None:
    """A VIP that moves while we listen is not at two machines; a lost second answer does not make the first one unsaid."""
    script(services, (1.0, ADVERT, PEER))
    services.machine.answers |= {VIP: [PEER_MAC], PEER: [PEER_MAC]}
    services.machine.world.after(1.0, lambda: services.machine.answers.update({VIP: ["02:00:00:00:00:03"], PEER: []}))
    found = survey.listen(services, 2.0, [THE_PEER])
    assert found.answers == {THE_VIP: {"02:00:00:00:00:03"}, THE_PEER: {PEER_MAC}}


def test_what_is_let_in_and_what_leaves(services: FakeServices) -> None:
    """Whose adverts get to keepalived is known by source; ours are those that this machine sent, the last one counts."""
    machine = services.machine
    machine.world.after(0.05, lambda: setattr(machine.captures[0], "sent", carries(replace(ADVERT, priority=254), OWN)))
    machine.world.after(0.1, lambda: machine.listeners[0].packets.append(carries(ADVERT, PEER)))
    for after, source in ((0.1, PEER), (1.1, "10.0.0.3")):
        machine.world.after(after, lambda source=source: machine.captures[0].packets.append(carries(ADVERT, source)))  # type: ignore[misc]
    found = survey.listen(services, 2.0, ())
    assert [router.source for router in found.routers] == [THE_PEER, ip_address("10.0.0.3")]
    assert found.let_in == frozenset({THE_PEER})
    assert found.sent is not None
    assert found.sent.priority == 254
    assert (machine.captures[0].closed, machine.listeners[0].closed) == (True, True)
    assert survey.look(services).let_in is None, "a look does not ask"


@pytest.mark.parametrize(("pause", "confirmed"), [(0.0001, False), (0.49, False), (0.5, True)])
def test_who_is_heard_again_an_interval_later_is_somebody(pause: float, confirmed: bool) -> None:
    """Half of the shorter interval lies between two packets that are not one and its copy."""
    router = Router(ip_address(STRANGER), replace(ADVERT, advert_int=2.0), (1.0, 1.0 + pause))
    assert router.confirmed(1.0) is confirmed


def test_who_gave_up_meanwhile_is_no_current_master() -> None:
    """A MASTER adverts to the end, give or take half an interval."""
    old, new = Router(THE_PEER, ADVERT, (1.0, 2.0)), Router(ip_address("10.0.0.3"), ADVERT, (2.5, 3.5))
    found = Survey(3.0, 4.0, (old, new), {})
    assert found.masters == (old, new)
    assert found.current_masters == (new,)
    assert Router(THE_PEER, ADVERT, (1.0,)).longest_gap == 0.0
