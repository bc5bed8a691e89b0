"""The watcher's loop: what wakes it, what it looks at, what it tells. Sockets are fakes, time is frozen, the segment is not there."""

import time
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import PEER, STRANGER, VIP, Clock, address, link
from unit.support.theatre import ALIVE, DIED, Theatre, lasted, packet, when
from vrrp_drain.notify.notice import Kind
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, GROUP_V4, TTL, Packet
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.watcher.age import Age


def test_a_quiet_cluster(stage: Theatre, log: pytest.LogCaptureFixture) -> None:
    """It says that it begins, and then nothing; at its end everything is closed."""
    stage.adverts(0.1, 20.0)
    assert stage.run(20.0) == []
    begins = stage.told[0]
    assert (begins.cause, begins.state, begins.instance, when(begins)) == ("start", "backup", "haproxy/0", 0.0)
    assert log.messages == ["watcher backup, start: it begins to watch"]
    machine = stage.machine
    opened: list[Any] = [*machine.selectors, *machine.watches, *machine.captures]
    assert [each.closed for each in opened] == [True] * 3
    assert not stage.monitor.running


def test_the_kernel_is_asked_for_addresses_when_it_said_that_something_changed(stage: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every five seconds: in a quiet minute a dozen times, and within one look of a change."""
    asked: list[float] = []
    is_here = stage.services.vip.is_here

    def look() -> bool:
        asked.append(time.monotonic() - stage.start)
        return is_here()

    monkeypatch.setattr(stage.services.vip, "is_here", look)
    stage.adverts(0.1, 60.0)
    stage.at(31.0, stage.addresses_change)
    stage.run(60.0)
    assert len(asked) <= 15
    assert 31.0 in [round(at, 3) for at in asked]


def test_a_change_that_the_kernel_did_not_tell_is_seen_in_time(stage: Theatre) -> None:
    """A lost message costs five seconds at most."""
    stage.adverts(0.1, 12.0)

    def silently() -> None:
        stage.ipr.addresses.append(address(2, f"{VIP}/32"))

    stage.at(6.0, silently)
    (notice, *_) = stage.run(12.0)
    assert (notice.kind, notice.state) == (Kind.STATE, "master")
    assert when(notice) <= 11.01


def test_a_takeover_is_explained_by_the_advert_before_it(stage: Theatre, log: pytest.LogCaptureFixture) -> None:
    """Both wake it at once: the advert is heard first, whichever descriptor comes first."""
    stage.adverts(0.1, 5.0)

    def both() -> None:
        stage.vip(here=True)
        stage.hear(packet(98), packet(0))

    stage.at(5.0, both)
    (notice,) = stage.run(6.0)
    assert (notice.kind, notice.previous, notice.state, notice.cause) == (Kind.STATE, "backup", "master", "drain")
    assert when(notice) == 5.0
    assert log.messages[-1].startswith("state backup -> master, drain: 10.0.0.2 is leaving (priority 98)")


def test_everybody_is_told_and_the_metrics_agree(stage: Theatre) -> None:
    """What a scrape says of state, band, priority and haproxy is how things stand."""
    stage.adverts(0.1, 3.0)
    stage.at(0.9, lambda: stage.hear(packet(version=3, source=STRANGER)))
    stage.at(1.5, lambda: stage.hear(packet(version=3, source=STRANGER), packet(damaged=True), packet(damaged=True)))
    stage.at(2.0, lambda: stage.verdict(ALIVE))
    stage.at(2.5, lambda: stage.write(Band.DRAINING))
    found = stage.run(3.0)
    assert [each.kind for each in found] == [Kind.FOREIGN, Kind.BAND]
    assert [stage.sample("adverts_total", verdict=each) for each in ("valid", "foreign", "damaged")] == [3, 2, 2]
    assert [stage.sample("state", state=each) for each in ("master", "backup", "stopped")] == [0, 1, 0]
    assert (stage.sample("band", band="draining"), stage.sample("effective_priority")) == (1, 99)
    assert (stage.sample("haproxy_up"), stage.sample("foreign")) == (1, 1)


def test_the_death_of_the_masters_haproxy(stage: Theatre) -> None:
    """It marks, resigns and tells in the moment of the verdict; when haproxy is back the mark goes, and that is told."""
    marks: list[bool] = []
    stage.vip(here=True)
    stage.at(1.0, lambda: stage.verdict(ALIVE))
    stage.at(2.0, lambda: stage.verdict(DIED))
    stage.at(2.01, lambda: marks.append(stage.services.control.unhealthy()))
    stage.at(2.1, lambda: stage.vip(here=False))
    stage.adverts(2.1, 8.0, priority=253)
    stage.at(6.0, lambda: stage.verdict(ALIVE))
    stage.at(6.01, lambda: marks.append(stage.services.control.unhealthy()))
    down, left, moved, up = stage.run(8.0)
    assert (down.kind, down.cause, when(down)) == (Kind.HAPROXY, "haproxy_died", 2.0)
    assert (left.kind, left.state, left.cause, lasted(left)) == (Kind.STATE, "backup", "haproxy_died", 0.1)
    assert (moved.kind, moved.state, moved.cause) == (Kind.MASTER_MOVED, PEER, "haproxy_died"), "heard only after the VIP was gone"
    assert (up.kind, up.state, lasted(up)) == (Kind.HAPROXY, "up", 4.0)
    assert marks == [True, False]
    assert stage.machine.adverts_said() == [*[66] * 6, 0, *[66] * 3], "one resignation, before the VIP has left"
    assert stage.services.machine.rules.arms[0] == ([VIP], PEER)


@pytest.mark.parametrize(("to", "said_at"), [("id-0", [0.0, 2.5]), ("id-1", [0.0])])
def test_a_hello_to_us_is_answered(stage: Theatre, to: str, said_at: list[float]) -> None:
    """At the look after it; one that is meant for another instance is not."""
    at: list[float] = []
    stage.machine.on_say = lambda said: at.append(round(time.monotonic() - stage.start, 2))
    source = ip_address(PEER)
    heard = Packet(source, ALL_HOSTS_V4, TTL, hello.build(hello.token(to, 1), 1, source, ALL_HOSTS_V4))
    stage.at(2.3, lambda: stage.hear(heard))
    stage.run(4.0)
    assert sorted(set(at)) == said_at
    assert stage.machine.adverts_said() == []


def test_a_haproxy_that_was_down_from_the_start_is_not_told(stage: Theatre) -> None:
    """Its first answer is nothing new, unless a watcher before this one had marked it as dead."""
    stage.adverts(0.1, 3.0)
    stage.at(1.0, lambda: stage.verdict(ALIVE))
    assert stage.run(3.0) == []


def test_after_a_watcher_that_was_killed(stage: Theatre) -> None:
    """The mark that it left goes as soon as haproxy answers."""
    stage.services.control.mark(unhealthy=True)
    marks: list[bool] = []
    stage.adverts(0.1, 3.0)
    stage.at(1.0, lambda: marks.append(stage.services.control.unhealthy()))
    stage.at(2.0, lambda: stage.verdict(ALIVE))
    stage.at(2.5, lambda: marks.append(stage.services.control.unhealthy()))
    (notice,) = stage.run(3.0)
    assert (notice.kind, notice.state) == (Kind.HAPROXY, "up")
    assert marks == [True, False]


def test_at_its_end_no_mark_stays(stage: Theatre) -> None:
    """keepalived's own check decides alone again."""
    stage.adverts(0.1, 3.0)
    stage.at(1.0, lambda: stage.verdict(ALIVE))
    stage.at(2.0, lambda: stage.verdict(DIED))
    stage.run(3.0)
    assert not stage.services.control.unhealthy()


def test_processes_are_watched_once_each(stage: Theatre) -> None:
    """The end of either process of keepalived's and of haproxy's wakes it at once, and a new keepalived is watched again."""
    ended: list[bool] = []
    haproxys = stage.machine.world.fd(lambda: bool(ended))
    stage.adverts(0.1, 6.0)
    stage.monitor.fresh = [haproxys]
    stage.at(1.1, lambda: ended.append(True))

    def start() -> None:
        stage.machine.pid, stage.machine.processes.vrrp, stage.machine.keepalived_ended = 4713, 4714, False

    stage.machine.keepalived_ends(after=2.1)
    stage.at(4.05, start)
    stopped, started = stage.run(6.0)
    assert stage.monitor.gone == [haproxys]
    assert len(stage.machine.pidfds) == 4
    assert sorted(stage.machine.closed) == sorted(stage.machine.pidfds[:2])
    assert (stopped.state, when(stopped)) == ("stopped", 2.1)
    assert (started.state, started.cause) == ("backup", "keepalived_started")
    assert 4.05 <= when(started) <= 4.31


def test_a_flood_keeps_it_from_nothing(stage: Theatre) -> None:
    """With adverts always waiting it looks as often as ever: the VIP's coming is told within a quarter of a second."""
    flood = [packet(n % 255, f"10.1.{n // 250}.{n % 250 + 1}", version=3) for n in range(2000)]

    def more() -> None:
        stage.clock.sleep(0.01)  # what it takes to hear a burst
        stage.hear(*flood[:64])

    for n in range(300):
        stage.at(1.0 + n * 0.01, more)
    stage.at(2.0, lambda: stage.ipr.addresses.append(address(2, f"{VIP}/32")))
    stage.at(2.001, stage.addresses_change)
    stage.at(2.5, lambda: stage.verdict(ALIVE))
    stage.at(3.0, lambda: stage.verdict(DIED))
    found = [each for each in stage.run(4.0) if each.kind in (Kind.STATE, Kind.HAPROXY)]
    assert [(each.kind, each.state) for each in found] == [(Kind.STATE, "master"), (Kind.HAPROXY, "down")]
    assert when(found[0]) < 2.3
    assert when(found[1]) < 3.3
    assert (stage.sample("adverts_total", verdict="foreign") or 0) > 10_000


def test_what_it_cannot_see_is_said_once(stage: Theatre, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    """The kernel does not answer for two seconds: it goes on, and what happened meanwhile is told afterwards."""
    get_addr = stage.ipr.get_addr

    def refuse(**asked: object) -> list[Any]:
        raise OSError(105, "No buffer space available")

    stage.adverts(0.1, 6.0)
    stage.at(2.05, lambda: setattr(stage.ipr, "get_addr", refuse))
    stage.at(2.1, stage.addresses_change)
    stage.at(4.05, lambda: setattr(stage.ipr, "get_addr", get_addr))
    stage.at(3.0, lambda: stage.write(Band.DRAINING))
    found = stage.run(6.0)
    assert [each.kind for each in found] == [Kind.BAND]
    said = "cannot see how this instance stands (No buffer space available); it is tried again"
    assert [message for message in log.messages if said in message] == [said, f"no longer so: {said}"]


def test_an_interface_that_is_made_anew_is_heard_again(stage: Theatre) -> None:
    """It goes, and comes with another number: the deaf socket is replaced as soon as a new one can be had, and what hung off
    the interface is put in place again."""
    links = stage.ipr.links

    def goes() -> None:
        stage.ipr.links = [each for each in links if each["index"] != 2]
        stage.addresses_change()

    def comes() -> None:
        stage.machine.listening_fault = SystemFault("cannot hear VRRP adverts on eth0: No such device")
        stage.ipr.links = [links[0], link(7, "eth0", "02:00:00:00:00:01")]
        stage.addresses_change()

    def is_ready() -> None:
        stage.machine.listening_fault = None

    stage.adverts(0.1, 2.0)
    stage.at(2.0, goes)
    stage.at(3.0, comes)
    stage.at(3.6, is_ready)
    stage.at(5.0, lambda: stage.hear(packet()))
    stage.run(6.0)
    first, second = stage.machine.captures
    assert (first.closed, second.closed) == (True, True)
    assert first.fileno() not in stage.machine.selectors[0].get_map()
    assert (len(stage.services.installation.vip_on_lo.holds), len(stage.services.machine.rules.held)) == (1, 1)
    assert stage.sample("adverts_total", verdict="valid") == 3


@pytest.mark.parametrize("heard", [True, False], ids=["a peer is MASTER", "nobody is MASTER"])
def test_a_stale_vip(stage: Theatre, log: pytest.LogCaptureFixture, heard: bool) -> None:
    """Where a peer has it, it is taken off, and that is said; where nobody has it, it goes on serving."""
    stage.vip(here=True)
    stage.services.machine.pid = None
    if heard:
        stage.adverts(0.1, 4.0)
    found = stage.run(4.0)
    stale = [each.state for each in found if each.kind is Kind.STALE_VIP]
    assert stale == (["on", "off"] if heard else ["on"])
    assert stage.services.vip.is_here() is not heard
    assert (f"{VIP} was taken off eth0: {PEER} has it" in log.messages) is heard


def test_after_a_reboot(stage: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, puts in place what pre-start would have, and starts the promotion once haproxy answers."""
    (stage.services.instance.paths.drain_run / "boot").unlink()
    started: list[object] = []

    def start(command: list[str], **options: object) -> Any:
        started.append((command[1], round(time.monotonic() - stage.start, 1)))
        return type("Promotion", (), {"poll": lambda self: None})()

    monkeypatch.setattr("subprocess.Popen", start)
    stage.adverts(0.1, 5.0)
    stage.at(3.0, lambda: stage.verdict(ALIVE))
    stage.run(5.0)
    assert stage.told[0].cause == "reboot"
    assert stage.services.installation.vip_on_lo.holds == [([VIP], "eth0")]
    assert started == [("promote", 3.0)]


@pytest.mark.parametrize("jump", [3600.0, -3600.0], ids=["an hour on", "an hour back"])
def test_a_clock_that_jumps(stage: Theatre, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """No condition begins, durations are true, and from then on notices have the new time."""
    frozen, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: frozen() + offset[0])
    stage.vip(here=True)
    stage.at(1.0, lambda: stage.verdict(ALIVE))
    stage.at(4.9, lambda: stage.write(Band.DRAINING))
    stage.at(4.95, lambda: offset.__setitem__(0, jump))
    stage.at(5.1, lambda: stage.vip(here=False))
    stage.adverts(5.1, 9.0)
    stage.at(8.0, lambda: stage.verdict(DIED))
    band, left, moved, down = stage.run(9.0)
    assert (band.kind, left.cause, moved.cause, down.kind) == (Kind.BAND, "drain", "drain", Kind.HAPROXY)
    assert when(left) == pytest.approx(5.1 + jump)
    assert left.seconds is not None
    assert 0.0 <= left.seconds <= 0.5


@pytest.mark.parametrize(
    ("word", "by"),
    [(Stage.DEMOTED, ", by vrrpctl demote"), (Stage.LEFT, ", by vrrpctl leave"), (Stage.LEAVING, "")],
    ids=lambda one: str(one),
)
def test_what_an_operator_said_is_told(stage: Theatre, word: Stage, by: str) -> None:
    """Who took this instance out or let it go, from when to when; and which command lowered the priority, where it was an operator's."""
    paths = stage.services.instance.paths
    stay_out, let_go = StandingOrder.stay_out(paths), StandingOrder.let_go(paths)
    stage.adverts(0, 20)
    stage.at(3, lambda: stay_out.give("alice"))
    stage.at(6, lambda: Boot(paths.drain_run).enter(word))
    stage.at(6, lambda: stage.write(Band.DRAINING))
    stage.at(9, lambda: let_go.give("bob", 3))
    stage.at(15, stay_out.take_back)
    told = stage.run(18)
    assert [(each.kind, each.state) for each in told] == [
        (Kind.TAKEN_OUT, "on"),
        (Kind.BAND, "draining"),
        (Kind.LET_GO, "on"),
        (Kind.LET_GO, "off"),
        (Kind.TAKEN_OUT, "off"),
    ]
    assert "said by alice at" in told[0].reason
    assert told[1].reason == f"the priority of this instance is 99 now{by}"
    assert "by vrrpctl let-go: said by bob at" in told[2].reason
    assert told[3].seconds == pytest.approx(3, abs=0.6)


def test_an_age(clock: Clock) -> None:
    """Whatever the wall clock says: what is new was written after the last look, and then grows older by the second."""
    age = Age()
    assert age.look(None, 10.0, 1000.0) == 3600.0
    assert age.look(1000.1, 10.25, 1000.25) == pytest.approx(0.15)
    assert age.look(1000.1, 12.25, 5000.0) == pytest.approx(2.15)
    assert age.look(1005.0, 12.5, 5000.0) == pytest.approx(0.25)
    assert age.look(9999.0, 12.75, 5000.0) == 0.0
    assert age.look(9999.0, 99999.0, 5000.0) == 3600.0


def test_an_age_at_the_start() -> None:
    """Nothing was seen before: the wall clock has to be believed."""
    assert Age().look(1000.0, 10.0, 1002.0) == pytest.approx(2.0)
    assert Age().look(1000.0, 10.0, 99999.0) == 3600.0


def test_adverts_that_cannot_be_heard_at_all_end_it(stage: Theatre) -> None:
    """Without a socket it is of no use: monit sees it end, and starts it again."""
    stage.machine.listening_fault = SystemFault("cannot hear VRRP adverts on eth0: Operation not permitted; run as root")
    with pytest.raises(SystemFault, match=r"^cannot hear VRRP adverts"):
        stage.run(1.0)


@pytest.mark.parametrize(
    ("here", "priority", "announced"),
    [(True, 253, True), (True, 254, False), (True, 0, False), (False, 253, False)],
    ids=["we outrank it", "it is no less", "it resigned", "we are BACKUP"],
)
def test_two_masters_that_meet(stage: Theatre, here: bool, priority: int, announced: bool) -> None:
    """Whoever stays tells the segment where the VIP is, whoever yields tells nobody."""
    stage.vip(here=here)
    stage.at(2.0, lambda: stage.hear(packet(priority)))
    stage.run(3.0)
    assert bool(stage.machine.announced) is announced


def test_who_stood_still_hears_before_it_speaks(stage: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MASTER that was paused may not be the only one any more: a rival's connections are left with it before clients are called here."""
    source, order = ip_address(PEER), list[str]()
    leaves = Packet(source, ALL_HOSTS_V4, TTL, hello.build(hello.token("id-0", 1), 1, source, ALL_HOSTS_V4, hello.Word.LEAVES))
    monkeypatch.setattr(stage.machine, "announce", lambda *_: order.append("announce"))
    monkeypatch.setattr(stage.machine.rules, "arm", lambda *_: order.append("arm"))

    def stand_still() -> None:
        """Have it be paused when it is awake already, for something else: a second passes, and an advert arrives."""
        watch = stage.machine.watches[-1]
        drain = watch.drain

        def paused() -> None:
            drain()
            stage.clock.sleep(1.0)
            stage.hear(packet(253))

        monkeypatch.setattr(watch, "drain", paused)
        watch.changed = True

    stage.vip(here=True)
    stage.at(2.0, lambda: stage.hear(leaves))
    stage.at(2.6, lambda: stage.hear(leaves))  # clients are called once a second at most
    stage.at(2.7, stand_still)
    stage.run(2.8)
    assert order == ["announce", "arm", "announce"]


@pytest.mark.parametrize("parted", [True, False], ids=["it fell silent before", "it was never away"])
def test_who_yields_after_a_partition_says_so(stage: Theatre, parted: bool) -> None:
    """The MASTER may never have heard us: one advert more tells it that there were two. In a move that somebody
    asked for there is nobody to tell."""
    stage.adverts(0.1, 3.0 if parted else 6.0)
    if not parted:
        stage.at(6.4, lambda: stage.hear(packet(0)))
    stage.at(6.5, lambda: stage.vip(here=True))
    stage.at(9.0, lambda: stage.hear(packet(255)))
    stage.at(9.001, lambda: stage.vip(here=False))
    stage.run(10.0)
    assert stage.machine.adverts_said() == ([254] if parted else [])
    assert {each.packet.destination for each in stage.machine.said if each.advert} == ({GROUP_V4} if parted else set())
