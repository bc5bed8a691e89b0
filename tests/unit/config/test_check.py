"""Objects held against a schema: each key once, defaults, rules, and what may be told of secrets."""

from typing import Any

import pytest

from vrrp_drain.config.check import Wrong, check
from vrrp_drain.config.kinds import Boolean, Integer, ListOf, Text
from vrrp_drain.config.objects import ABOVE, GIVEN, IS, NOT, Derived, Object, Objects, Property, Rule, Where

SECRET = Text("[a-z]{1,8}", "1 to 8 letters")
INNER = Object((Property("token", SECRET, required=True), Property("tries", Integer(1, 9), default=3)), secret=True)
SECTION = Object(
    (
        Property("on", Boolean(), default=True),
        Property(
            "size", Integer(0, 10), default=Derived("2 where it is on", (((Where("on", IS, True),), 2), ((Where("on", IS, False),), 0)))
        ),
        Property("same", Integer(0, 10), default=Derived("size", same_as="size")),
        Property("names", ListOf(Text("[a-z]+", "letters")), default=[]),
        Property("password", SECRET, secret=True),
        Property("passwords", ListOf(SECRET), secret=True),
        Property("inner", Objects(INNER), default=[]),
    ),
    (
        Rule("size", "is too much for {names}", (Where("on", NOT + IS, True), Where("size", ABOVE, 5))),
        Rule("password", "is of no use where on is false", (Where("on", IS, False), Where("password", GIVEN))),
    ),
)
DOCUMENT = Object((Property("section", SECTION, required=True),))


def said(section: Any) -> str:
    with pytest.raises(Wrong) as wrong:
        check(DOCUMENT, {"section": section})
    return str(wrong.value)


@pytest.mark.parametrize("section", [{}, {"on": None, "size": None, "names": None, "inner": None}], ids=["absent", "null"])
def test_what_is_not_given(section: dict[str, Any]) -> None:
    """An absent key and null are the default, be it fixed or derived from another; without one they stay null."""
    values = check(DOCUMENT, {"section": section})["section"]
    assert values == {"on": True, "size": 2, "same": 2, "names": [], "password": None, "passwords": None, "inner": []}


def test_a_derived_default_follows_what_is_given() -> None:
    """The first case that holds has the value, and what is the same as another follows it."""
    values = check(DOCUMENT, {"section": {"on": False, "inner": [{"token": "a"}]}})["section"]
    assert (values["size"], values["same"], values["inner"]) == (0, 0, [{"token": "a", "tries": 3}])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"on": 1, "size": 11}, "section.on is 1: must be true or false"),
        ({"size": 11, "x": 1}, "section.size is 11: must be a whole number from 0 to 10"),
        ({"x": None, "on": False, "size": 6}, "section.x is None: is not a property that this version knows"),
        ({"names": ["a", "B"]}, "section.names is ['a', 'B']: entry 'B' must be letters"),
        ({"on": False, "size": 6, "names": ["a"]}, "section.size is 6: is too much for ['a']"),
        (5, "section is 5: must be a JSON object"),
        (None, "section is None: must be given"),
    ],
)
def test_the_first_that_is_wrong_is_refused(section: Any, message: str) -> None:
    """Properties in their order, then what is not known, then rules; each by its name, its value, and what is wrong with it."""
    assert said(section) == message


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"password": "Secret"}, "section.password is '(hidden)': must be 1 to 8 letters"),
        ({"password": 12345678}, "section.password is '(hidden)': must be 1 to 8 letters"),
        ({"passwords": ["Secret"]}, "section.passwords is '(hidden)': entry '(hidden)' must be 1 to 8 letters"),
        ({"password": "secret", "on": False}, "section.password is '(hidden)': is of no use where on is false"),
        ({"inner": ["secret"]}, "section.inner[0] is '(hidden)': must be a JSON object"),
        ({"inner": [{"token": "Secret"}]}, "section.inner[0].token is '(hidden)': must be 1 to 8 letters"),
        ({"inner": [{"token": "a", "tokn": "secret"}]}, "section.inner[0].tokn is '(hidden)': is not a property that this version knows"),
        ({"inner": [{"token": "a"}, {"token": "a", "tries": 10}]}, "section.inner[1].tries is 10: must be a whole number from 1 to 9"),
        ({"inner": [{}]}, "section.inner[0].token is None: must be given"),
    ],
)
def test_secrets_are_not_told(section: dict[str, Any], message: str) -> None:
    """A refused secret ends up in no log, nor does what stands behind a misspelt key beside one; there, numbers are told."""
    assert said(section) == message


def test_names_at_the_top() -> None:
    """There a key stands for itself."""
    with pytest.raises(Wrong, match=r"^sektion is 5: is not a property that this version knows$"):
        check(DOCUMENT, {"section": {}, "sektion": 5})
