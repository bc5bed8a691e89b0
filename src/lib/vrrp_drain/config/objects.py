"""What properties are made of: a name, a kind, a default, and rules that hold between them.

Nothing here checks anything: check.py does on the instance, and check.rb in the jobs' templates while BOSH renders them.
"""

from typing import Any, Final, NamedTuple

from .kinds import Kind, Text

GIVEN: Final = "given"  # not null, not an empty list
IS: Final = "is"
ABOVE: Final = "above"  # a number
LONGER: Final = "longer"  # than the fact that is named
WHOLE: Final = "whole"  # a number without a fraction
HUNDREDTHS: Final = "hundredths"  # a number in steps of 0.01
FAMILY: Final = "family"  # of one of the addresses: 4 or 6
MEMBER: Final = "member"  # the address is that of an instance of the group
REPEATED: Final = "repeated"  # the address is there twice in the list, or is that of the property that is named
BEGINS: Final = "begins"  # with a text
AMONG: Final = "among"  # the texts of the fact that is named
NOT: Final = "not "  # before any of these


class Where(NamedTuple):
    """That the value of ``of`` is so: a property of the same object, or a fact (check.py, _learned). Of what is not given nothing is so."""

    of: str
    predicate: str
    than: object = None


class Rule(NamedTuple):
    """Where all of ``when`` is so, the value of ``on`` is refused: ``allowed`` is what is said, with values in braces.

    ``shows`` is the fact that is shown instead of the value. ``each``: the value is a list, of which each entry is asked by itself.
    """

    on: str
    allowed: str
    when: tuple[Where, ...]
    shows: str = ""
    each: bool = False


class Derived(NamedTuple):
    """A default that follows from others: in words for the description, and as far as a rule or the model wants it, as data.

    The first of ``cases`` whose conditions are all so has the value, or it is that of ``same_as``; else the model works it out.
    """

    words: str
    cases: tuple[tuple[tuple[Where, ...], object], ...] = ()
    same_as: str = ""


class Property(NamedTuple):
    """A key of an object. ``secret``: no error tells its value. ``linked``: the keepalived link has it, for the vrrp-drain job.

    ``beside`` is the default beside haproxy-boshrelease's keepalived job.
    """

    name: str
    kind: "Kind | Object | Objects | Headers"
    text: str = ""
    default: object = None
    example: object = None
    required: bool = False
    secret: bool = False
    linked: bool = False
    beside: str | None = None


class Object:
    """A JSON object with these properties and no others. Of a ``secret`` one errors tell numbers alone."""

    allowed = "must be a JSON object"

    def __init__(self, properties: tuple[Property, ...], rules: tuple[Rule, ...] = (), *, secret: bool = False) -> None:
        self.properties, self.rules, self.secret = properties, rules, secret

    def typed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return checked values in the types that the program works with; None stays None."""
        return {each.name: each.kind.typed(value) if (value := values[each.name]) is not None else None for each in self.properties}


class Objects:
    """A list of objects."""

    def __init__(self, of: Object, *, at_least_one: bool = False) -> None:
        self.of, self.at_least_one = of, at_least_one
        self.allowed = "must be a list with at least one entry" if at_least_one else "must be a list"

    def typed(self, values: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        return tuple(map(self.of.typed, values))


class Headers:
    """Names of HTTP headers with their values; those in ``reserved`` are every request's own."""

    allowed = "must be a JSON object"
    reserved_allowed = "is set by every request itself: leave it out"

    def __init__(self) -> None:
        self.names = Text("[!#$%&'*+.^_`|~0-9A-Za-z-]+", "names of HTTP headers as keys", verb="must have")  # RFC 9110, section 5.6.2
        self.reserved = ("connection", "content-length", "host", "transfer-encoding")
        self.of = Text("[!-~](?:[ -~]*[!-~])?", "one line of ASCII text without blanks around it")

    def typed(self, values: dict[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple(values.items())
