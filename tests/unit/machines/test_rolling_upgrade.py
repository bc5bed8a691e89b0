"""What is wrong with a rolling upgrade is told, each thing by its name."""

from dataclasses import replace
from typing import Any

import pytest

from lab.clients.load import Found, Request
from lab.clients.transfers import Transfer
from lab.fabric.agent import ScriptRun
from lab.scenarios.ownership import Move, Why
from lab.scenarios.upgrade import Upgrade
from machines.rolling_upgrade import Outcome, outcome

NODES = ("haproxy/0", "haproxy/1", "haproxy/2")
MOVES = [Move(2.0, NODES[0], NODES[1], 10.0), Move(4.0, NODES[1], NODES[0], 3000.0, Why.WAY_BACK)]
ANSWERED = [Request("new", n / 200, 2.0, "ok", "request", NODES[0]) for n in range(1000)]
LOST = replace(ANSWERED[0], syns_resent=1)
CUT = Request("established", 2.0, 1.0, "reset", "request", "", client=1)
DRAINED = ScriptRun("vrrp-drain", "drain", 0, "0\n", "", 0.4)
WELL = Upgrade("with", NODES, Found(ANSWERED, 1.0, 50), [], [], MOVES, [], [(name, DRAINED) for name in NODES])


def test_an_upgrade_that_went_well() -> None:
    """Nobody noticed, and all of it happened."""
    assert outcome(WELL) == Outcome(1000, 0, 0, [])
    assert outcome(WELL).kept


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"found": Found([*ANSWERED, replace(ANSWERED[0], outcome="timeout")], 1.0, 50)}, Outcome(1001, 1, 0, [])),
        ({"found": Found([*ANSWERED[1:], LOST], 1.0, 50)}, Outcome(1000, 0, 0, ["SYNs were lost"])),
        ({"found": Found([*ANSWERED, CUT], 1.0, 50)}, Outcome(1000, 0, 1, [])),
        ({"transfers": [Transfer("upload", 1.0, 2.0, 20.0, "ConnectionResetError")]}, Outcome(1000, 0, 1, [])),
        ({"found": Found(ANSWERED[1:], 1.0, 50)}, Outcome(999, 0, 0, ["fewer than 1000 new connections"])),
        ({"moves": MOVES[1:]}, Outcome(1000, 0, 0, ["the first instance did not hand over to the second"])),
        ({"moves": MOVES[:1]}, Outcome(1000, 0, 0, ["the VIP did not come back"])),
        ({"drains": [(name, replace(DRAINED, exit_code=1)) for name in NODES]}, Outcome(1000, 0, 0, ["a drain went wrong"])),
        ({"drains": [(name, DRAINED) for name in NODES[1:]]}, Outcome(1000, 0, 0, ["a drain went wrong"])),
    ],
)
def test_an_upgrade_that_went_wrong(change: dict[str, Any], found: Outcome) -> None:
    """Each thing alone makes it no upgrade that nobody noticed."""
    assert outcome(replace(WELL, **change)) == found
    assert not found.kept
