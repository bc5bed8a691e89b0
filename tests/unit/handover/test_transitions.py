"""Both transition tables, as mathematics: nothing forgotten, nothing contradictory, and the promises hold on every walk."""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.support.fakes import MAC, PEER
from vrrp_drain.handover import demote, promote
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.transitions import Action, IllegalTransition, Row, Sign, Table


def states(table: Table[Any]) -> list[Any]:
    members: dict[str, Any] = type(table.start).__members__
    return list(members.values())


TABLES: list[Table[Any]] = [demote.TABLE, promote.TABLE]
ROWS = [row for table in TABLES for row in table.rows]
WAITING = [(table, state) for table in TABLES for state in states(table) if state not in table.final]
both_tables = pytest.mark.parametrize("table", TABLES, ids=["demote", "promote"])
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.state}-{row.sign.name}")

FACTS = {
    "vip": "10.0.0.10",
    "interface": "eth0",
    "vip_interface": "eth0",
    "vrid": 1,
    "active": 254,
    "lowered": 99,
    "seconds": "5.1",
    "whom": "haproxy/1",
    "asked": "asking the segment who answers for it",
    "nobody": "nobody else answers for 10.0.0.10",
    "unproven": "nobody answered for 10.0.0.10 on eth0",
}
EVENT_FACTS: dict[Sign, dict[str, object]] = {
    Sign.SUCCESSOR: {"peer": PEER, "priority": 253},
    Sign.LEAVER: {"peer": PEER, "priority": 99},
    Sign.PEER_ANSWERS: {"proof": f"{MAC} answers for 10.0.0.10"},
    Sign.ABLE: {"able": "haproxy/1"},
    Sign.FOREIGN: {"peer": PEER, "why": "another cluster uses VRID 1"},
}
BAND_ACTIONS = {Action.LOWER, Action.RAISE, Action.PUT_BACK}


def walk(table: Table[Any], signs: list[Sign]) -> list[Row[Any]]:
    """Return the rows that ``signs`` lead through, up to a final state."""
    state, rows = table.start, []
    for sign in signs:
        if state in table.final:
            break
        row = table.step(state, sign)
        if row is not None:
            rows.append(row)
            state = row.next
    return rows


def performed(rows: list[Row[Any]]) -> Iterator[Action]:
    return (action for row in rows for action in row.actions)


signs_of_a_walk = st.lists(st.sampled_from(Sign), max_size=60)
signs_of_a_long_walk = st.lists(st.sampled_from([s for s in Sign if s not in (Sign.DEADLINE, Sign.CANCEL)]), max_size=60)


@both_tables
def test_every_pair_is_decided_once(table: Table[Any]) -> None:
    """Every state that is not final and every sign are either one row or ignored, never both and never neither."""
    rows = [(row.state, row.sign) for row in table.rows]
    ignored = [(state, sign) for state, signs in table.ignored.items() for sign in signs]
    waiting = [state for of, state in WAITING if of is table]
    assert sorted(rows + ignored, key=str) == sorted(product(waiting, Sign), key=str)


@both_tables
def test_every_state_is_reachable(table: Table[Any]) -> None:
    """Rows lead from the start to every state."""
    reached = {table.start}
    while more := {row.next for row in table.rows if row.state in reached} - reached:
        reached |= more
    assert reached == set(states(table))


@pytest.mark.parametrize(("table", "state"), WAITING, ids=[str(state) for _, state in WAITING])
def test_every_wait_ends(table: Table[Any], state: Any) -> None:
    """A deadline ends every waiting state, and a signal ends every state at once."""
    cancelled = table.step(state, Sign.CANCEL)
    assert cancelled is not None
    assert cancelled.next.name == "CANCELLED"
    if state is not table.start:
        expired = table.step(state, Sign.DEADLINE)
        assert expired is not None
        assert expired.next in table.final


@both_tables
@pytest.mark.parametrize("sign", Sign)
def test_a_final_state_refuses_every_sign(table: Table[Any], sign: Sign) -> None:
    """After the end nothing can happen any more; the error names state and sign."""
    for state in table.final:
        with pytest.raises(IllegalTransition, match=f"{state.name} does not know {sign.name}"):
            table.step(state, sign)


def test_a_forgotten_pair_is_refused() -> None:
    """A pair that is neither a row nor ignored is a fault of the table and does not pass silently."""
    table = Table(start=Demote.START, final=frozenset({Demote.DONE}), rows=(), ignored={Demote.START: frozenset({Sign.VIP_GONE})})
    assert table.step(Demote.START, Sign.VIP_GONE) is None
    with pytest.raises(IllegalTransition):
        table.step(Demote.START, Sign.VIP_HERE)


@every_row
def test_every_reason_has_its_facts(row: Row[Any]) -> None:
    """Each reason is one line that the facts of its event fill without a gap."""
    reason = row.reason.format_map(FACTS | EVENT_FACTS.get(row.sign, {}))
    assert reason
    assert "\n" not in reason
    assert "{" not in reason


@both_tables
def test_the_diagram_shows_every_state_and_row(table: Table[Any]) -> None:
    """The Mermaid diagram has the start, all rows, and an end for every final state."""
    lines = table.mermaid().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> START"]
    assert {f"    {row.state.name} --> {row.next.name}: {row.sign.name}" for row in table.rows} <= set(lines)
    assert {f"    {state.name} --> [*]" for state in table.final} <= set(lines)
    assert all(state.name in table.mermaid() for state in states(table))


@given(signs_of_a_walk)
def test_demote_takes_the_vip_away_only_from_a_dead_keepalived(signs: list[Sign]) -> None:
    """Whatever happens, the VIP is removed only after keepalived was found dead and a peer was heard as MASTER."""
    rows = walk(demote.TABLE, signs)
    for number, row in enumerate(rows):
        if Action.REMOVE_STALE_VIP in row.actions:
            heard = {each.sign for each in rows[: number + 1]}
            assert heard & {Sign.KEEPALIVED_GONE, Sign.VIP_STALE}
            assert heard & {Sign.SUCCESSOR, Sign.LEAVER}


def test_demote_resigns_whenever_it_begins_to_yield() -> None:
    """Every way from another state into YIELDING, where keepalived here has the VIP, resigns; nothing else does."""
    begins = [row for row in demote.TABLE.rows if row.next is Demote.YIELDING is not row.state]
    assert len(begins) >= 4
    assert [row for table in TABLES for row in table.rows if Action.RESIGN in row.actions] == begins


@given(signs_of_a_long_walk)
def test_demote_is_done_only_with_all_three_proofs(signs: list[Sign]) -> None:
    """A node that held the VIP is done only after, since it last came, an active peer adverted, it left, and a peer answered last."""
    rows = walk(demote.TABLE, signs)
    came = [number for number, row in enumerate(rows) if row.sign in (Sign.VIP_HERE, Sign.VIP_STALE)]
    if came and rows[-1].next is Demote.DONE:
        since = rows[came[-1] + 1 :]
        heard = {row.sign for row in since}
        assert heard & {Sign.SUCCESSOR, Sign.LEAVER}
        assert Sign.VIP_GONE in heard or Action.REMOVE_STALE_VIP in performed(since)
        assert since[-1].sign is Sign.PEER_ANSWERS


@given(signs_of_a_walk)
def test_demote_leaves_the_right_band(signs: list[Sign]) -> None:
    """While all peers are away, and after a cancelled demotion, the priority is raised or untouched.

    Everywhere else it is lowered, once for each time that it was up; at the end the caller decides.
    """
    rows = walk(demote.TABLE, signs)
    bands = [action for action in performed(rows) if action in BAND_ACTIONS]
    if rows and rows[-1].next in (Demote.CANCELLED, Demote.WAITING):
        assert bands[-1:] in ([], [Action.RAISE])
    else:
        assert bands[-1:] == [Action.LOWER][: len(rows)]
    assert (Action.LOWER, Action.LOWER) not in pairwise(bands)


@given(signs_of_a_walk)
def test_promote_leaves_the_right_band(signs: list[Sign]) -> None:
    """A promotion that fails or is cancelled puts the band back if it had raised it; a good end leaves it raised."""
    rows = walk(promote.TABLE, signs)
    bands = [action for action in performed(rows) if action in BAND_ACTIONS]
    if rows and rows[-1].next in (Promote.FAILED, Promote.CANCELLED):
        assert bands in ([], [Action.RAISE, Action.PUT_BACK])
    else:
        assert bands == [Action.RAISE][: len(rows)]


@given(signs_of_a_long_walk)
def test_promote_is_master_only_with_the_vip_and_silence(signs: list[Sign]) -> None:
    """MASTER means that the VIP came, did not leave again, and that then nobody else answered."""
    rows = walk(promote.TABLE, signs)
    if rows and rows[-1].next is Promote.MASTER:
        came = max(number for number, row in enumerate(rows) if row.sign is Sign.VIP_HERE)
        assert Sign.VIP_GONE not in {row.sign for row in rows[came:]}
        assert rows[-1].sign is Sign.NOBODY_ANSWERS
