"""keepalived dies, hangs or is stopped while haproxy serves: what the watcher says in its place, and when it ends what is left of it."""

import time
from ipaddress import ip_address

import pytest

from unit.support.fakes import PEER, VIP
from unit.support.theatre import ALIVE, DIED, Theatre, when
from vrrp_drain.notify.notice import Kind
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.hello import Word

TOLD, RESIGNED = [99] * 6, [*[99] * 6, 0, *[99] * 3]  # what is said once that we leave, and once more that nobody need wait
AT = 2.0  # seconds, when it happens


@pytest.fixture
def master(stage: Theatre) -> Theatre:
    """Give the watcher of a MASTER, with a peer whose haproxy answers."""
    stage.vip(here=True)
    stage.machine.healthy_peers = [PEER]
    stage.at(1.0, lambda: stage.verdict(ALIVE))
    return stage


def word(stage: Theatre) -> tuple[Band | None, Stage | None]:
    return stage.services.control.read(), Boot(stage.services.instance.paths.drain_run).stage()


def said_at(stage: Theatre) -> list[float]:
    """Have the times noted at which anything is said, in seconds since the beginning."""
    at: list[float] = []
    stage.machine.on_say = lambda said: at.append(round(time.monotonic() - stage.start, 2)) if said.advert else None
    return at


def test_the_vrrp_process_dies(master: Theatre) -> None:
    """It is said in that moment that we leave and resign; keepalived begins anew as one that leaves; the successor hears it again."""
    at = said_at(master)
    master.at(AT, master.machine.processes.vrrp_ends)
    master.adverts(AT + 0.05, 8.0)
    found = master.run(4.0)
    assert master.machine.adverts_said() == [*TOLD, *RESIGNED, 99, 99, 99]
    assert at[:16] == [AT] * 16
    assert at[16] == AT + 0.05
    assert word(master) == (Band.DRAINING, Stage.DIED)
    assert not master.services.vip.is_here(), "the successor has it, and nobody is here to take it off"
    band, state = (next(each for each in found if each.kind is kind) for kind in (Kind.BAND, Kind.STATE))
    assert (band.cause, state.cause, state.state, when(state)) == ("keepalived_stopped", "keepalived_stopped", "stopped", AT)


def test_it_is_back_at_once(master: Theatre) -> None:
    """Its parent starts it anew before anybody looks: the successor is reminded all the same, and nothing living is killed."""
    processes = master.machine.processes

    def respawn() -> None:
        processes.vrrp_ends()
        master.machine.world.after(0.02, processes.vrrp_starts)
        master.machine.world.after(0.02, lambda: master.vip(here=False))

    master.at(AT, respawn)
    master.adverts(AT + 0.05, 8.0)
    found = master.run(4.0)
    assert master.machine.adverts_said()[:16] == [*TOLD, *RESIGNED]
    assert processes.killed == []
    assert next(each.cause for each in found if each.kind is Kind.STATE) == "keepalived_stopped"


def test_nobody_could_take_over(master: Theatre, log: pytest.LogCaptureFixture) -> None:
    """No peer's haproxy answers: nothing is lowered and nobody is hurried, the VIP is served from here."""
    master.machine.healthy_peers = []
    master.at(AT, master.machine.processes.vrrp_ends)
    master.run(6.0)
    assert master.machine.adverts_said() == TOLD
    assert word(master) == (Band.ACTIVE, Stage.PROMOTED)
    assert master.services.vip.is_here()
    assert any("nobody is hurried to take it over: haproxy of haproxy/1 does not answer" in each for each in log.messages)


def test_a_peer_that_leaves_itself_is_not_hurried(master: Theatre) -> None:
    """Its haproxy answers still, but it said that it is being stopped."""
    master.machine.rules.hears(ip_address(PEER), Word.LEAVES)
    master.at(AT, master.machine.processes.vrrp_ends)
    master.run(4.0)
    assert 0 not in master.machine.adverts_said()
    assert word(master) == (Band.ACTIVE, Stage.PROMOTED)


def test_a_resignation_that_is_lost_is_said_again(master: Theatre) -> None:
    """Less than an interval apart, five times, and then no more: the VIP stays where it is served."""
    at = said_at(master)
    master.at(AT, master.machine.processes.vrrp_ends)
    master.run(12.0)
    resigned = [when for when, said in zip(at, master.machine.adverts_said(), strict=True) if said == 0]
    assert resigned == pytest.approx([AT + 0.7 * n for n in range(5)], abs=0.05)
    assert master.services.vip.is_here()


def test_a_dead_haproxy_keeps_no_clients(master: Theatre) -> None:
    """Both die: peers must not send clients to one that cannot serve them."""
    master.at(1.5, lambda: master.verdict(DIED))
    master.at(AT, master.machine.processes.vrrp_ends)
    master.run(2.3)
    assert 99 not in master.machine.adverts_said()
    assert word(master) == (Band.ACTIVE, Stage.PROMOTED)


def test_whoever_moves_something_has_the_word(master: Theatre, cancellation: Cancellation) -> None:
    """While a script or an operator holds the lock, the band is theirs."""
    path = master.services.instance.paths.lock
    path.parent.mkdir(parents=True, exist_ok=True)
    master.at(AT, master.machine.processes.vrrp_ends)
    with Lock(path, "promote", 1.0, cancellation, print):
        master.run(3.0)
    assert word(master) == (Band.ACTIVE, Stage.PROMOTED)
    assert 0 in master.machine.adverts_said()


@pytest.mark.parametrize("main_too", [False, True], ids=["the VRRP process", "both processes"])
def test_a_stopped_one(master: Theatre, main_too: bool) -> None:
    """Seen within a quarter of a second, told; once a peer is MASTER it is ended, and the VIP goes."""
    processes = master.machine.processes
    at = said_at(master)

    def stop() -> None:
        processes.stopped, processes.main_stopped = True, main_too

    master.at(AT, stop)
    master.adverts(AT + 0.4, 5.0)
    found = master.run(4.0)
    assert AT < at[0] <= AT + 0.4
    assert [(each.vrrp and each.vrrp.stopped, each.main.stopped) for each in processes.killed] == [(True, main_too)]
    assert not master.services.vip.is_here()
    assert word(master) == (Band.DRAINING, Stage.DIED)
    state = next(each for each in found if each.kind is Kind.STATE)
    assert (state.cause, state.state) == ("keepalived_hung", "stopped")
    assert 0 not in master.machine.adverts_said()[16:], "nobody resigns beside a MASTER"


def test_a_stopped_one_without_a_successor_is_left(master: Theatre) -> None:
    """Nobody else has the VIP, so nobody takes it off, and whoever stopped it may let it go on."""
    processes = master.machine.processes
    master.machine.healthy_peers = []
    master.at(AT, lambda: setattr(processes, "stopped", True))
    master.run(8.0)
    assert processes.killed == []
    assert master.services.vip.is_here()
    assert master.sample("stale_vip") == 1


def test_one_that_goes_on_in_time(master: Theatre) -> None:
    """Stopped for less than a tenth of a second, as a debugger does: nothing is said."""
    processes = master.machine.processes
    master.at(AT + 0.01, lambda: setattr(processes, "stopped", True))
    master.at(AT + 0.09, lambda: setattr(processes, "stopped", False))
    assert master.run(4.0) == []
    assert master.machine.adverts_said() == []


def test_one_that_is_stuck(master: Theatre) -> None:
    """Nothing stopped it, but it does not wake up: that is a hang after two advert intervals, before peers hear three of silence."""
    at = said_at(master)
    master.at(AT, lambda: setattr(master.machine.processes, "progresses", False))
    master.run(6.0)
    assert AT + 1.9 < at[0] < AT + 3.0


def test_one_that_the_machine_keeps_waiting(master: Theatre) -> None:
    """It is ready to run, and has no processor: to kill it would not help."""
    processes = master.machine.processes
    processes.ready = True
    master.at(AT, lambda: setattr(processes, "progresses", False))
    assert master.run(8.0) == []


def test_a_backup_may_sleep(stage: Theatre) -> None:
    """Its VIP is elsewhere: it has nothing to do, and nobody minds."""
    stage.adverts(0.1, 9.0)
    stage.at(AT, lambda: setattr(stage.machine.processes, "progresses", False))
    assert stage.run(8.0) == []


def test_a_stopped_backup_is_ended(stage: Theatre) -> None:
    """When it went on it would hold itself for the MASTER, whom it has not heard for so long, and tell all clients so."""
    processes = stage.machine.processes
    stage.adverts(0.1, 9.0)
    stage.at(AT, lambda: setattr(processes, "stopped", True))
    stage.at(AT + 2.0, processes.vrrp_starts)
    stage.run(8.0)
    assert len(processes.killed) == 1
    assert stage.machine.adverts_said() == []
    assert word(stage) == (Band.ACTIVE, Stage.PROMOTED)


def test_keepalived_is_restarted_by_hand(master: Theatre) -> None:
    """monit restart keepalived: it resigns and takes the VIP away itself. Peers hear why, and it begins anew as one that leaves."""
    master.at(AT, lambda: master.vip(here=False))
    master.machine.keepalived_ends(after=AT + 0.05)
    master.adverts(AT + 0.1, 6.0)
    master.run(4.0)
    assert master.machine.adverts_said()[:6] == TOLD
    assert 0 not in master.machine.adverts_said()
    assert word(master) == (Band.DRAINING, Stage.DIED)


def test_a_planned_stop_stays_one(master: Theatre) -> None:
    """BOSH stops this instance: keepalived's end is part of it, and whose word it is does not change."""
    boot = Boot(master.services.instance.paths.drain_run)
    master.at(1.2, lambda: boot.enter(Stage.LEAVING))
    master.at(1.2, lambda: master.write(Band.DRAINING))
    master.at(AT, lambda: master.vip(here=False))
    master.machine.keepalived_ends(after=AT + 0.05)
    master.run(4.0)
    assert word(master) == (Band.DRAINING, Stage.LEAVING)


def test_what_cannot_be_said_or_written(master: Theatre, log: pytest.LogCaptureFixture) -> None:
    """It goes on: what that means is told once, and the VIP is not dropped."""
    master.machine.sending_fault = SystemFault("cannot send adverts on eth0: Network is down")
    master.at(AT, master.machine.processes.vrrp_ends)
    master.run(6.0)
    assert master.services.vip.is_here()
    said = "cannot send adverts on eth0: Network is down: a peer takes over after three advert intervals, and open connections are cut"
    assert log.messages.count(said) == 1


def test_the_log_names_both(master: Theatre, log: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log at night learns which address went, and to whom."""
    master.at(AT, lambda: setattr(master.machine.processes, "stopped", True))
    master.adverts(AT + 0.4, 5.0)
    master.run(4.0)
    assert f"{VIP} was taken off eth0: {PEER} has it" in log.messages
