"""Kinds of values: what comes out of each that is accepted, and what is said of each that is not.

The values that the properties refuse are in unit.support.refusals; here is what is common to all, and what no property shows.
"""

import re
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.support.values import ADDRESSES, NO_ADDRESSES, near, right
from vrrp_drain.config.kinds import Address, Boolean, Choice, Integer, Kind, Lines, ListOf, Number, Text, Words
from vrrp_drain.config.objects import Object, Objects
from vrrp_drain.config.schema import JOBS
from vrrp_drain.config.schema_drain import VRRP_DRAIN, WEBHOOK
from vrrp_drain.config.schema_keepalived import KEEPALIVED


def of(name: str, properties: Object = KEEPALIVED) -> Kind:
    """Return the kind of a property."""
    (found,) = (each.kind for each in properties.properties if each.name == name)
    assert isinstance(found, Kind)
    return found


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        (of("vips"), ["10.0.0.11", "2001:db8::10/64"], (ip_interface("10.0.0.11/32"), ip_interface("2001:db8::10/64"))),
        (of("track_interfaces"), [], ()),
        (of("interface"), "auto", "auto"),
        (of("interface"), "eth0.100", "eth0.100"),
        (of("track_process"), "nginx-1.2_a+", "nginx-1.2_a+"),
        (of("track_process"), "x" * 15, "x" * 15),
        (of("auth_pass"), "a", "a"),
        (of("auth_pass"), "%&/()=?~", "%&/()=?~"),
        (of("haproxy_pid_file", VRRP_DRAIN), "/var/vcap/haproxy.pid", Path("/var/vcap/haproxy.pid")),
        (of("unicast_peers"), ["10.0.0.2", "fe80::2"], (ip_address("10.0.0.2"), ip_address("fe80::2"))),
        (of("unicast_src_ip"), "10.0.0.0/24", ip_network("10.0.0.0/24")),
        (of("unicast_src_ip"), "10.0.0.5", ip_network("10.0.0.5/32")),
        (of("unicast_src_ip"), "fe80::/10", ip_network("fe80::/10")),
        (of("notification_email"), "a@example.org", ("a@example.org",)),
        (of("notification_email"), ["a@example.org", "b@localhost"], ("a@example.org", "b@localhost")),
        (of("smtp_server"), "mail", ("mail", 25)),
        (of("smtp_server"), "mail.example.org:1", ("mail.example.org", 1)),
        (of("smtp_server"), "10.0.0.25:65535", ("10.0.0.25", 65535)),
        (of("smtp_server"), "2001:db8::25", ("2001:db8::25", 25)),
        (of("smtp_server"), "[2001:db8::25]", ("2001:db8::25", 25)),
        (of("smtp_server"), "[2001:db8::25]:587", ("2001:db8::25", 587)),
        (of("health_check", VRRP_DRAIN), "tcp://[::1]:443", urlsplit("tcp://[::1]:443")),
        (of("extra_global_config"), "", ""),
        (of("extra_global_config"), "a {\n  b {\n  }\n}\nc", "a {\n  b {\n  }\n}\nc"),
        (of("extra_global_config"), "# an open {\nc ! a closed }", "# an open {\nc ! a closed }"),
        (Words(), ["/bin/a", ""], ("/bin/a", "")),
        (Number(0, 1000), 2.5, 2.5),
        (Number(0, 1000), 1000, 1000),
        (Choice(-188, 0), -188, -188),
    ],
)
def test_an_accepted_value_has_its_final_type(kind: Kind, value: object, result: object) -> None:
    """Each kind gives what the program goes on with."""
    assert kind.problem(value) is None
    found = kind.typed(value)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (of("vips"), "10.0.0.11", "must be a list"),
        (of("track_interfaces"), ["eth1", "eth 2"], "entry 'eth 2' must be the name of an interface"),
        (of("track_interfaces"), ["eth1", "eth2", "eth1"], "entry 'eth1' is there twice"),
        (of("vips"), ["2001:db8::10", "2001:db8:0::10/128"], "entry '2001:db8::10' is there twice"),
        (of("vip"), "127.0.0.1", "must be a unicast address that clients can reach"),
        (of("vip"), "10.0.0.1/255.255.255.0", "must be an IPv4 or IPv6 address, with a prefix length or without"),
        (of("notification_email"), ["a@example.org", "nobody"], "entry 'nobody' must be an e-mail address"),
        (of("notification_email"), {"a@example.org": 1}, "must be a list"),
        (of("smtp_server"), "mail:0", "must be HOST or HOST:PORT"),
        (of("smtp_server"), "mail:65536", "must be HOST or HOST:PORT"),
        (of("smtp_server"), "[10.0.0.25]:25", "must be HOST or HOST:PORT"),
        (of("unicast_src_ip"), "10.0.0.5/24", "must be an address of this instance, or a network (10.0.0.0/24) in which it has one"),
        (of("unicast_peers"), ["10.0.0.2/24"], "entry '10.0.0.2/24' must be a unicast IP address"),
        (of("extra_global_config"), "a {\n# }", "must be text in which every { has its }"),
        (Choice(2, 3), 4, "must be 2 or 3"),
        (Choice(2, 3), 2.0, "must be 2 or 3"),
        (Choice(-188, 0), False, "must be -188 or 0"),
        (Integer(1, 255), 1.0, "must be a whole number from 1 to 255"),
        (Number(0.01, 255), float("nan"), "must be a number from 0.01 to 255"),
        (Number(0.01, 255), True, "must be a number from 0.01 to 255"),
        (Boolean(), 1, "must be true or false"),
    ],
)
def test_a_refused_value_is_told_what_is_allowed(kind: Kind, value: object, said: str) -> None:
    """The message is the second half of a sentence that begins with property and value; of a list it names the entry."""
    assert str(kind.problem(value)) == said


@given(st.sampled_from([Address("any", prefix=True), Address("any")]), st.data())
def test_an_address_is_what_ipaddress_reads(kind: Address, data: st.DataObject) -> None:
    """Nothing is accepted that could not be made an address; of what is accepted all that is plain is."""
    value = data.draw(right(kind) | near(kind) | st.text("0123456789abcdef:.", max_size=20))
    if kind.problem(value) is None:
        kind.typed(value)
    else:
        assert value not in [each for each in ADDRESSES if each]
        assert value in NO_ADDRESSES or "/" in value or not _read(value)


def _read(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def patterns(kind: Any) -> list[str]:
    """Return every regular expression in a part of the schema."""
    match kind:
        case Text(pattern=pattern) | Lines(pattern=pattern):
            return [pattern]
        case Words(first=first, others=others):
            return [first, others]
        case Object():
            return [each for one in kind.properties for each in patterns(one.kind)]
        case Objects() | ListOf():
            return patterns(kind.of)
    return [*patterns(kind.names), *patterns(kind.of)] if hasattr(kind, "names") else []


PATTERNS = sorted({pattern for job in JOBS.values() for pattern in patterns(job.document)})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mean_the_same_in_both_languages(pattern: str) -> None:
    """Nothing is in them that Python and Ruby read differently: anchors, Unicode classes, a dot, nested sets."""
    for token in re.findall(r"\[(?:\\.|[^\]\\])*\]|\(\?.|\\.|.", pattern):
        if token.startswith("["):
            assert not re.search(r"\[|&&|--|~~|\|\||\\[^utrnfv]", token[1:-1])
        else:
            assert token not in (".", "^", "$")
            assert not token.startswith("\\") or token in (r"\[", r"\]")
            assert not token.startswith("(?") or token == "(?:"


def test_a_webhooks_certificates() -> None:
    """Blanks around and between certificates are Python's and Ruby's alike."""
    pem = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----"
    kind = of("ca_cert", WEBHOOK)
    assert kind.problem(f"\n{pem}\r\n\t{pem}\v") is None
    assert kind.problem(f"\u00a0{pem}") is not None
