"""Several have left: whatever the order in which instances leave, end and come back, a packet reaches who has its connection.

Each machine runs the rules that we really install (unit/support/kernel.py), and is told of the others by what they really send. All that
may happen to three machines is tried, and to four what takes up to five steps: who leaves, yields, ends, starts, whose connections end.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address

import pytest

from unit.support.kernel import Packet, Table
from vrrp_drain.handoff import forwarding
from vrrp_drain.handoff.forwarding import LEAVERS, LEAVING, MOST_HOPS
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.tables import installation
from vrrp_drain.linux.nftables.objects import FAMILIES
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, IPAddress
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert, build
from vrrp_drain.vrrp.bands import Band, base_of_rank
from vrrp_drain.vrrp.hello import Open

VIP = ip_address("10.0.0.10")
VRID, TOKEN = 1, bytes(16)
HOPS = 64  # of a packet as a client sends it
Known = frozenset[tuple[bytes, bytes]]  # what a machine has in its map of leavers


def address(machine: int) -> IPAddress:
    return ip_address(f"10.0.0.{machine + 1}")


@cache
def installed(machine: int, machines: int) -> Table:
    ranks = tuple((address(each), each) for each in range(machines) if each != machine)
    group = Group((VIP,), "eth0", VRID, 3, TOKEN, frozenset(who for who, _ in ranks), window=60.0, rank=machine, ranks=ranks)
    return Table(installation(group, 2))


def table(machine: int, machines: int, known: Known) -> Table:
    made = installed(machine, machines)
    made.sets[LEAVERS] = dict(known)
    made.sets[LEAVING] = {VIP.packed: b""} if known else {}
    return made


def knows(made: Table) -> Known:
    return frozenset(made.sets[LEAVERS].items())


def vrrp(sender: int, payload: bytes) -> Packet:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 255, 112, 0)
    return Packet(bytearray(14), bytearray(header + address(sender).packed + ALL_HOSTS_V4.packed), bytearray(payload), 112)


def said(sender: int, found: Open) -> Packet:
    return vrrp(sender, hello.build(TOKEN, VRID, address(sender), ALL_HOSTS_V4, rank=sender, open_there=found))


def farewell(sender: int) -> Packet:
    advert = Advert(3, VRID, base_of_rank(sender) + Band.DRAINING.value, 1.0, (VIP,))
    return vrrp(sender, build(advert, address(sender), ALL_HOSTS_V4))


@cache
def told(machine: int, machines: int, known: Known, sender: int, found: Open) -> Known:
    """Return what ``machine`` knows when ``sender`` has said hello."""
    made = table(machine, machines, known)
    assert made.receive(said(sender, found)) == (False, []), "keepalived does not hear it"
    return knows(made)


@cache
def left_by(machine: int, machines: int, known: Known, sender: int) -> Known:
    """Return what ``machine`` knows when ``sender`` has adverted that it leaves."""
    made = table(machine, machines, known)
    assert made.receive(farewell(sender)) == (True, []), "keepalived hears it too"
    return knows(made)


@cache
def arming(machine: int, machines: int, known: Known, peer: int) -> Known:
    """Return what ``machine`` knows when it has taken over from ``peer``, which stays healthy: as promote has it."""
    made = table(machine, machines, known)
    for order in forwarding.arming(FAMILIES[4], "vrrp_drain", (VIP,), address(peer), made.sets):
        made.change(order)
    return knows(made)


@cache
def handed(machine: int, machines: int, known: Known, hops: int) -> tuple[int, int] | None:
    """Return to whom ``machine`` hands a packet that it does not know, and with how many hops; None where it keeps it."""
    network = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, hops, 6, 0) + ip_address("10.0.0.200").packed + VIP.packed
    ack = struct.pack("!HHIIBBHHH", 40_000, 80, 1, 1, 5 << 4, 0x10, 0, 0, 0)
    stays, copies = table(machine, machines, known).receive(Packet(bytearray(14), bytearray(network), bytearray(ack)))
    assert len(copies) == (0 if stays else 1), "neither lost nor multiplied"
    return None if stays else (copies[0][0][3] - 1, copies[0][1].network[8])


@dataclass(frozen=True)
class Machine:
    """``runs``: its rules are installed. ``serves``: connections are open there. ``missed``: whom it cannot know of, without a watcher."""

    runs: bool = True
    serves: bool = False
    known: Known = frozenset()
    missed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Moment:
    """All machines, of which ``master`` has the VIP; ``watched``: the watchers run."""

    machines: tuple[Machine, ...]
    master: int
    watched: bool

    def but(self, number: int, **changes: object) -> "Moment":
        changed = replace(self.machines[number], **changes)  # type: ignore[arg-type]
        return replace(self, machines=(*self.machines[:number], changed, *self.machines[number + 1 :]))

    def others(self, number: int) -> list[int]:
        return [each for each, machine in enumerate(self.machines) if machine.runs and each != number]

    def all_hear(self, sender: int, found: Open) -> "Moment":
        """Return the moment after a hello of ``sender``; LEFT is one with adverts of the draining band."""
        after = self
        for each in self.others(sender):
            one, size = after.machines[each], len(self.machines)
            known = told(each, size, one.known, sender, found)
            if found is Open.LEFT:
                known = left_by(each, size, known, sender)
            after = after.but(each, known=known, missed=one.missed - {sender})
        return after

    # what may happen next

    def steps(self) -> Iterator["Moment"]:
        for each, machine in enumerate(self.machines):
            if not machine.runs:
                yield self.starts(each)
            elif each != self.master:
                yield self.ends(each)
                yield self.leaves(each)
                yield self.yields(each)
                if machine.serves:
                    yield self.finishes(each)

    def leaves(self, successor: int) -> "Moment":
        """The MASTER leaves, and ``successor`` takes the VIP over."""
        return replace(self.all_hear(self.master, Open.LEFT).but(successor, serves=True), master=successor)

    def yields(self, to: int) -> "Moment":
        """The MASTER is healthy, and ``to`` takes the VIP over from it."""
        before, one = self.master, self.machines[to]
        after = self.but(to, known=arming(to, len(self.machines), one.known, before), serves=True, missed=one.missed - {before})
        for each in self.others(before):
            if each != to:
                after = after.but(each, missed=after.machines[each].missed | {before})
        after = replace(after, master=to)
        return after.all_hear(before, Open.SOME) if self.watched else after

    def finishes(self, number: int) -> "Moment":
        """The last connection there ends."""
        return self.but(number, serves=False).without(number)

    def ends(self, number: int) -> "Moment":
        """post-stop."""
        return replace(
            self.all_hear(number, Open.NONE).but(number, runs=False, serves=False, known=frozenset(), missed=frozenset())
        ).without(number)

    def starts(self, number: int) -> "Moment":
        """pre-start, and the answers of the watchers to its hello."""
        serving = [each for each in self.others(number) if each != self.master and self.machines[each].serves]
        after = self.but(number, runs=True, missed=frozenset(serving)).all_hear(number, Open.NONE)
        for each in serving if self.watched else ():
            one = after.machines[number]
            after = after.but(number, known=told(number, len(self.machines), one.known, each, Open.SOME), missed=one.missed - {each})
        return after

    def without(self, number: int) -> "Moment":
        after = self
        for each, machine in enumerate(self.machines):
            after = after.but(each, missed=machine.missed - {number}) if number in machine.missed else after
        return after

    # what becomes of a packet

    def walk(self, machine: int, owner: int | None) -> tuple[int, int]:
        """Send a packet of ``owner``'s to ``machine``; return who keeps it, and how often it was handed on."""
        hops, handings = HOPS, 0
        while machine != owner:
            found = handed(machine, len(self.machines), self.machines[machine].known, hops)
            if found is None:
                break
            (machine, hops), handings = found, handings + 1
            assert handings < MOST_HOPS, f"it goes round: {self}"
            assert self.machines[machine].runs, f"it is handed to one that has ended: {self}"
        return machine, handings


def moments(machines: int, *, watched: bool, depth: int | None = None) -> Iterator[Moment]:
    """Yield every moment that can come to be, the first machine being MASTER at first; ``depth`` bounds how many steps it takes."""
    first = Moment((Machine(serves=True), *(Machine() for _ in range(machines - 1))), 0, watched)
    seen, edge, steps = {first}, [first], 0
    while edge and (depth is None or steps < depth):
        yield from edge
        edge, steps = [*{after for moment in edge for after in moment.steps()} - seen], steps + 1
        seen.update(edge)
    yield from edge


@pytest.mark.parametrize(("machines", "depth"), [(2, None), (3, None), (4, 5)])
def test_every_connection_is_reached_in_every_order(machines: int, depth: int | None) -> None:
    """Whoever of the machines the packet comes to, be it the MASTER or one whose clients have not learnt the move yet."""
    for moment in moments(machines, watched=True, depth=depth):
        for owner in (each for each, machine in enumerate(moment.machines) if machine.serves and each != moment.master):
            for start in moment.others(owner):
                found, handings = moment.walk(start, owner)
                assert found == owner, f"from {start} it comes to {found}, not to {owner}: {moment}"
                assert handings <= 2 * machines
        assert moment.walk(moment.master, None)[1] <= 2 * machines, f"one that nobody knows is answered late: {moment}"


@pytest.mark.parametrize(("machines", "depth"), [(2, None), (3, None), (4, 4)])
def test_without_watchers(machines: int, depth: int | None) -> None:
    """The kernels alone reach every connection of whoever has left since all that run have started; no packet goes round ever."""
    for moment in moments(machines, watched=False, depth=depth):
        for owner in (each for each, machine in enumerate(moment.machines) if machine.serves and each != moment.master):
            found, _ = moment.walk(moment.master, owner)
            assert found == owner or any(owner in each.missed for each in moment.machines), f"{found}, not {owner}: {moment}"
        moment.walk(moment.master, None)
