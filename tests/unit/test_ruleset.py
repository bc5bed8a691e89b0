"""What nft of different versions lists of the same rules is the same to the lab's tests; what differs is not."""

from typing import Any

import pytest

from lab.fabric.ruleset import counted, held, normal

SAME = {
    "numbers": ("@th,0,8 33 @th,16,8 67-99 goto arm", "@th,0,8 0x21 @th,16,8 0x43-0x63 goto arm"),
    "a constant of which nft does not know the type": ("update @leaving { 0xa00000a [invalid type] }", "update @leaving { 10.0.0.10 }"),
    "one of IPv6": ("{ 0xfd000000000000000000000000000010 [invalid type] }", "{ fd00::10 }"),
    "a mark": ("meta mark set 0x10000000", "meta mark set 268435456"),
    "the lowest bits": ("@th,32,8 & 0x3f == 0x0 drop", "@th,34,6 0x0 drop"),
    "flags": ("tcp flags & (syn | ack) == syn update", "tcp flags syn / syn,ack update"),
    "other flags": ("tcp flags & (syn | ack) != syn goto", "tcp flags != syn / syn,ack goto"),
}
OTHERS = {
    "another number": ("@th,0,8 0x21", "@th,0,8 0x22"),
    "other bits": ("@th,32,8 & 0xc0 == 0x80", "@th,32,8 & 0xc0 == 0xc0"),
    "the highest bits": ("@th,32,8 & 0xc0 == 0x80", "@th,34,6 0x80"),
    "not equal": ("@th,34,6 != 0x0", "@th,34,6 0x0"),
    "other flags": ("tcp flags != syn / syn,ack", "tcp flags & (syn | ack) == syn"),
    "another address": ("ip saddr 10.0.0.1", "ip saddr 10.0.0.2"),
    "what a person wrote": ('comment "10.0.0.10"', 'comment "167772170"'),
    "a MAC": ("ether 00:00:5e:00:01:01", "ether 00:00:5e:00:01:02"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_the_same_in_other_words(one: str, other: str) -> None:
    """Each pair is what two versions print of one rule."""
    assert one != other
    assert normal(one) == normal(other)


@pytest.mark.parametrize(("one", "other"), OTHERS.values(), ids=OTHERS)
def test_what_differs_differs(one: str, other: str) -> None:
    """Nothing that a rule means is lost."""
    assert normal(one) != normal(other)


LISTED: list[dict[str, Any]] = [
    {"metainfo": {"version": "1.0.6"}},
    {"set": {"name": "heard", "elem": [{"elem": {"val": "10.0.0.2", "expires": 2}}, "10.0.0.3"]}},
    {"map": {"name": "leavers"}},
    {"rule": {"expr": [{"counter": {"packets": 3, "bytes": 99}}, {"drop": None}]}},
    {"rule": {"expr": [{"accept": None}]}},
    {"rule": {"expr": [{"counter": {"packets": 4, "bytes": 99}}]}},
]


def test_what_was_counted_and_held() -> None:
    """Of all rules together, and of all sets; a set that is empty has no elements to list."""
    assert counted(LISTED) == 7
    assert len(held(LISTED)) == 2
    assert counted(LISTED[:1]) == 0
    assert held(LISTED[2:3]) == []
