"""Before keepalived starts, with unicast: is there a MASTER that does not send us its adverts? Time is frozen."""

import time
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, PEER_MAC, VIP, Clock, carries, rendered
from unit.support.machine import FakeMachine
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config
from vrrp_drain.handover import unheard
from vrrp_drain.runtime.ip import Packet
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.hello import Word

ADVERT = carries(Advert(2, 1, 254, 1.0, (ip_address(VIP),)), PEER, OWN)
PATIENCE = 18.0  # fifteen seconds, and three advert intervals


def says(word: Word) -> Packet:
    source, own = ip_address(PEER), ip_address(OWN)
    return Packet(source, own, 255, hello.build(hello.token("id-0", 1), 1, source, own, word))


class Search:
    """What pre-start finds out; ``took`` seconds."""

    def __init__(self, services: FakeServices) -> None:
        self.services, self.machine = services, services.machine
        self.machine.pid = None
        self.configure()

    def configure(self, *, unicast: bool = True, **drain: Any) -> None:
        self.services.configure(Config.parse(rendered(keepalived={"unicast": unicast}, vrrp_drain=drain)))
        peers = (ip_address(PEER),) if unicast else ()
        attachment = replace(self.services.instance.attachment, peers=peers, source=ip_address(OWN))
        object.__setattr__(self.services.instance, "attachment", attachment)

    def __call__(self, *, heard: Packet | None = None) -> str:
        register = self.services.membership.register()
        if heard is not None:
            register.hear(heard, time.monotonic())
        began = time.monotonic()
        found = unheard.master(self.services.instance, self.machine, register, self.services.announcements)
        self.took = round(time.monotonic() - began, 2)
        return found


@pytest.fixture
def search(clock: Clock, services: FakeServices) -> Search:
    return Search(services)


def test_where_adverts_have_come_no_time_is_lost(search: Search, machine: FakeMachine) -> None:
    """Whoever is MASTER knows us; with multicast it need not."""
    machine.answers[VIP] = [PEER_MAC]
    assert (search(heard=ADVERT), search.took) == ("", 0.0)
    machine.pid = 4711
    assert (search(), search.took) == ("", 0.0), "keepalived runs: it is too late to keep it from that"
    machine.pid = None
    search.configure(unicast=False)
    assert (search(), search.took) == ("", 0.0)
    assert machine.said == []


def test_where_nobody_has_the_vip(search: Search, machine: FakeMachine) -> None:
    """The first instance of a group may start, after a second."""
    machine.hears(says(Word.STAYS), after=0.1)
    assert (search(), search.took) == ("", 1.0)


def test_a_master_that_does_not_know_us(search: Search, machine: FakeMachine) -> None:
    """It is told again and again; then nothing is started, and the reason names it, our address and what to do."""
    machine.answers[VIP] = [PEER_MAC]
    said = search()
    assert said.startswith(
        f"{PEER_MAC} has {VIP}, and none of its adverts reaches {OWN}, the address of haproxy/0: keepalived here would be"
    )
    assert search.took == PATIENCE
    assert len({each.packet.destination for each in machine.said}) == 1
    assert len(machine.said) >= 9 * 2


def test_a_master_that_learns_of_us(search: Search, machine: FakeMachine) -> None:
    """Its first advert to us is all that was missing."""
    machine.answers[VIP] = [PEER_MAC]
    machine.hears(says(Word.HOLDS), after=0.3)
    machine.hears(replace(ADVERT, destination=ip_address("224.0.0.18")), after=1.0)
    machine.hears(ADVERT, after=2.5)
    assert (search(), search.took) == ("", 2.5)


def test_a_master_where_nobody_answers(search: Search, machine: FakeMachine) -> None:
    """Where ARP says nothing it says itself that it has the VIP."""
    search.configure(takeover_proof="adverts")
    machine.answers[VIP] = [PEER_MAC]
    machine.hears(says(Word.HOLDS), after=0.3)
    assert search().startswith(f"{PEER} has {VIP}, ")
    assert machine.inquiries[0][1].asked == []


@pytest.mark.parametrize(
    ("word", "proven", "seconds"), [(Word.STAYS, True, 1.0), (Word.STAYS, False, PATIENCE), (Word.LEAVES, True, PATIENCE)]
)
def test_a_stale_vip_needs_a_master(search: Search, machine: FakeMachine, word: Word, proven: bool, seconds: float) -> None:
    """A machine that answers for the VIP, and says that it takes part without having it, has no keepalived any more: it keeps nobody."""
    machine.answers[VIP] = [PEER_MAC]
    machine.proofs = [VIP] if proven else []
    machine.hears(says(word), after=0.3)
    assert bool(search()) is (seconds == PATIENCE)
    assert search.took == pytest.approx(seconds, abs=0.01)


def test_an_interface_that_is_down(search: Search, machine: FakeMachine) -> None:
    """Nobody can be asked there: pre-start goes on, and doctor says the rest."""
    machine.asking_fault = OSError("Network is down")
    assert (search(), search.took) == ("", 1.0)
