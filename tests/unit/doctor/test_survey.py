"""One look at the segment, with packets that a test puts on it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.support.fakes import OWN, PEER, PEER_MAC, STRANGER, VIP, Clock, FakeInquiry, FakeListener, carries
from unit.support.services import FakeServices
from vrrp_drain.doctor import survey
from vrrp_drain.doctor.survey import Router, Survey
from vrrp_drain.runtime.ip import IPAddress, Packet
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.foreign import Difference

THE_VIP, THE_PEER, US = ip_address(VIP), ip_address(PEER), ip_address(OWN)
ADVERT = Advert(2, 1, 253, 1.0, (THE_VIP,))


class PeerTable:
    """Adverts at times of the frozen clock, packets on the wire, and a MAC for each address that somebody has."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.script: list[tuple[float, Advert, str]] = []
        self.capture, self.behind = FakeListener(), FakeListener()
        self.owners: dict[IPAddress, str] = {}
        self.inquiries: dict[IPAddress, FakeInquiry] = {}

    def arrivals(self, capture: FakeListener, end: Callable[[], float]) -> Iterator[Packet]:
        assert capture is self.capture
        for after, advert, source in self.script:
            self._clock.sleep(after)
            yield carries(advert, source)
        self._clock.sleep(end() - time.monotonic())

    def inquire(self, interface: str, mac: str, target: IPAddress) -> FakeInquiry:
        inquiry = self.inquiries[target] = FakeInquiry(time.monotonic)
        if target in self.owners:
            inquiry.on_ask = lambda: inquiry.macs.append(self.owners[target])
        return inquiry


@pytest.fixture
def peer_table(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> PeerTable:
    created = PeerTable(clock)
    monkeypatch.setattr(survey, "arrivals", created.arrivals)
    monkeypatch.setattr(survey, "inquire", created.inquire)
    monkeypatch.setattr(survey, "PacketCapture", lambda interface, family, vrid, outgoing: created.capture)
    monkeypatch.setattr(survey, "AdvertListener", lambda interface, family: created.behind)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return created


def test_a_look_ends_with_the_first_master(services: FakeServices, peer_table: PeerTable) -> None:
    """Somebody else's use of the VRID does not end it, and is no master."""
    peer_table.script = [(0.1, replace(ADVERT, addresses=(ip_address("10.0.0.99"),)), STRANGER), (0.2, ADVERT, PEER), (0.2, ADVERT, PEER)]
    peer_table.owners = {THE_VIP: PEER_MAC}
    found = survey.look(services)
    assert found.seconds == pytest.approx(0.3)
    assert [str(router.source) for router in found.masters] == [PEER]
    assert [router.foreign and router.foreign.difference for router in found.routers] == [Difference.VIP, None]
    assert found.answers == {THE_VIP: {PEER_MAC}}


def test_a_survey_listens_to_the_end(services: FakeServices, peer_table: PeerTable) -> None:
    """Each advert's arrival is kept, other virtual routers and our own address are left out, and everybody is asked twice."""
    peer_table.script = [
        (0.5, ADVERT, PEER),
        (0.1, ADVERT, OWN),
        (0.1, replace(ADVERT, vrid=2), PEER),
        (0.9, ADVERT, PEER),
        (1.0, ADVERT, PEER),
    ]
    peer_table.owners = {THE_PEER: PEER_MAC}
    found = survey.listen(services, 3.3, [THE_PEER, US])
    (router,) = found.routers
    assert found.seconds == pytest.approx(3.3)
    assert router.longest_gap == pytest.approx(1.1)
    assert found.answers == {THE_VIP: frozenset(), THE_PEER: {PEER_MAC}, US: frozenset()}
    assert {len(inquiry.asked) for inquiry in peer_table.inquiries.values()} == {2}
    assert all(inquiry.closed for inquiry in peer_table.inquiries.values())


def test_the_second_answer_counts(services: FakeServices, peer_table: PeerTable) -> None:
    """A VIP that moves while we listen is not at two machines; a lost second answer does not make the first one unsaid."""
    peer_table.script = [(1.0, ADVERT, PEER)]
    peer_table.owners = {THE_VIP: PEER_MAC, THE_PEER: PEER_MAC}
    moved = iter([PEER_MAC, "02:00:00:00:00:03"])
    once = iter([PEER_MAC])
    original = peer_table.inquire

    def inquire(interface: str, mac: str, target: IPAddress) -> FakeInquiry:
        inquiry = original(interface, mac, target)
        answers = {THE_VIP: moved, THE_PEER: once}[target]
        inquiry.on_ask = lambda: inquiry.macs.extend([each for each in [next(answers, None)] if each])
        return inquiry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "inquire", inquire)
        found = survey.listen(services, 2.0, [THE_PEER])
    assert found.answers == {THE_VIP: {"02:00:00:00:00:03"}, THE_PEER: {PEER_MAC}}


def test_what_is_let_in_and_what_leaves(services: FakeServices, peer_table: PeerTable) -> None:
    """Whose adverts get to keepalived is known by source; ours are those that this machine sent, the last one counts."""
    peer_table.script = [(0.1, ADVERT, PEER), (1.0, ADVERT, "10.0.0.3")]
    peer_table.behind.packets = [carries(ADVERT, PEER)]
    peer_table.capture.sent = carries(replace(ADVERT, priority=254), OWN)
    found = survey.listen(services, 2.0, ())
    assert [router.source for router in found.routers] == [THE_PEER, ip_address("10.0.0.3")]
    assert found.let_in == frozenset({THE_PEER})
    assert found.sent is not None
    assert found.sent.priority == 254
    assert (peer_table.capture.closed, peer_table.behind.closed) == (True, True)
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
