"""Values of properties, drawn from the schema: right ones, edges, near misses and nonsense."""

import math
from functools import cache
from typing import Any

from hypothesis import strategies as st

from unit.support.fakes import IPV6_VIP, OWN, PEER, VIP
from unit.support.refusals import SEPARATORS
from vrrp_drain.config.kinds import Address, Boolean, Choice, Integer, Kind, Lines, ListOf, Number, Text, Words
from vrrp_drain.config.objects import Headers, Object, Objects, Property

ADDRESSES = [VIP, OWN, PEER, IPV6_VIP, "2001:DB8:0:0:0:0:0:10", "10.0.0.6", "fe80::2", "::ffff:10.0.0.10", "64:ff9b::10.0.0.10"]
NO_ADDRESSES = [
    *(
        "010.0.0.1",
        "10.0.0.256",
        "10.0.1",
        "1.2.3.4.5",
        "0x0a.0.0.1",
        "1:2:3:4:5:6:7",
        "1:2:3:4::5:6:7:8",
        "1::2::3",
        ":1::2",
        "1::2:",
        ":::",
    ),
    *(
        "::1.2.3.04",
        "12345::",
        "::g",
        "fe80::2%eth0",
        "[::1]",
        "",
        ":",
        "::1:2:3:4:5:6:7:8",
        "10.0.0.1\n",
        "\uff11\uff10.0.0.1",
        "1:2:3:4:5:6:7::",
    ),
    *("0.0.0.0", "127.1.2.3", "224.0.0.18", "255.255.255.255", "::", "::1", "ff02::12", "::ffff:127.0.0.1"),
]
PREFIXES = ["", "/24", "/32", "/33", "/128", "/129", "/0", "/024", "/-1", "/", "/24/24", "/255.255.255.0", "/\u0662\u0664"]
ODD = [
    *SEPARATORS,
    " ",
    "\t",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\u0130",
    "\u00e9",
    "\u0663",
    "{",
    "}",
    "#",
    "!",
    '"',
    "%",
    "/",
    ":",
    "@",
    "<",
    "\U0001f600",
]
NUMBERS: list[Any] = [
    0,
    1,
    2,
    3,
    -1,
    -188,
    0.5,
    1.0,
    1.5,
    0.015,
    0.10001,
    0.29,
    0.1 + 0.2,
    40.95,
    40.951,
    41,
    3.13,
    3.1328125,
    6.13,
    1e16,
    10**30,
]
NONSENSE = st.one_of(
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, "", "true", "1", "auto", [], {}, [None], [[]], {"": None}]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers() | st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3),
)


@cache
def any_of(kind: Kind | Object | Objects | Headers) -> st.SearchStrategy[Any]:
    """Return what an operator might give for a property of ``kind``: right or almost, seldom something else."""
    return st.one_of(right(kind), right(kind), near(kind), near(kind), NONSENSE)


@cache
def right(kind: Kind | Object | Objects | Headers) -> st.SearchStrategy[Any]:
    """Return what each value of ``kind`` by itself is; of objects and lists perhaps not all that is inside."""
    match kind:
        case Boolean():
            return st.booleans()
        case Integer(low=low, high=high):
            return st.sampled_from([low, high]) | st.integers(low, high)
        case Number(low=low, high=high):
            nice = [each for each in NUMBERS if low <= each <= high]
            return st.sampled_from([low, high, *nice]) | st.floats(low, high) | st.integers(math.ceil(low), math.floor(high))
        case Choice(values=values):
            return st.sampled_from(values)
        case Text(pattern=pattern):
            return st.from_regex(pattern, fullmatch=True)
        case Lines():
            return st.text(alphabet="{}#!a \n\t", max_size=12)
        case Words():
            return st.lists(st.sampled_from(["/bin/true", "/", "a", ""]), min_size=1, max_size=3).map(lambda words: ["/bin/a", *words])
        case Address():
            text = st.sampled_from(ADDRESSES) | st.ip_addresses().map(str)
            return st.builds(str.__add__, text, st.sampled_from(PREFIXES[:4])) if kind.prefix else text
        case ListOf():
            return st.lists(right(kind.of), max_size=3) | st.lists(any_of(kind.of), max_size=3)
        case Headers():
            name = st.sampled_from(["X-Token", "Host", "connection", "TRANSFER-ENCODING", "A"]) | right(kind.names)
            return st.dictionaries(name, st.none() | any_of(kind.of), max_size=3)
        case Object():
            return given_of(kind)
        case Objects():
            return st.lists(right(kind.of) | any_of(kind.of), max_size=2)
    raise TypeError(kind)


@cache
def near(kind: Kind | Object | Objects | Headers) -> st.SearchStrategy[Any]:
    """Return what is almost of ``kind``."""
    match kind:
        case Integer(low=low, high=high) | Number(low=low, high=high):
            edges = [
                low - 1,
                high + 1,
                float(low),
                high + 0.5,
                math.nextafter(low, -math.inf),
                math.nextafter(high, math.inf),
                str(low),
                True,
            ]
            return st.sampled_from(edges)
        case Choice(values=values):
            return st.sampled_from([*map(str, values), *(each + 0.0 for each in values if isinstance(each, int)), list(values)])
        case Text():
            return st.builds(_with, right(kind), st.sampled_from(ODD), st.integers(0, 20)) | right(kind).map(lambda text: text * 4)
        case Lines():
            return st.builds(_with, right(kind), st.sampled_from(ODD), st.integers(0, 20))
        case Words():
            return st.lists(st.sampled_from(["/bin/true", "bin/true", "", "/\0", "\0", 5, None]), max_size=3)
        case Address():
            return st.builds(str.__add__, st.sampled_from([*ADDRESSES, *NO_ADDRESSES]), st.sampled_from(PREFIXES))
        case ListOf():
            return st.lists(near(kind.of), max_size=3) | near(kind.of)
        case Object():
            return st.builds(dict.__or__, given_of(kind), st.dictionaries(st.sampled_from(["urll", "x", ""]), NONSENSE, max_size=1))
        case Objects():
            return st.lists(near(kind.of), max_size=2) | right(kind.of)
    return NONSENSE


def given_of(kind: Object) -> st.SearchStrategy[dict[str, Any]]:
    """Return what of an object's properties is given; what is required mostly is."""

    def of(one: Property) -> st.SearchStrategy[Any]:
        return st.one_of(right(one.kind), right(one.kind), any_of(one.kind), st.none())

    required = {each.name: of(each) for each in kind.properties if each.required}
    return st.fixed_dictionaries(required, optional={each.name: of(each) for each in kind.properties if not each.required})


def _with(text: str, odd: str, place: int) -> str:
    return text[:place] + odd + text[place:]
