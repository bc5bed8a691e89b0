"""Checks of single values: what comes out of each that it accepts, and what it says of each that it does not.

The values that the properties refuse are in test_config.WRONG; here is what is common to all, and what no property shows.
"""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from vrrp_drain.config import validators
from vrrp_drain.config.validators import Check, Section
from vrrp_drain.runtime.errors import ConfigError
from vrrp_drain.runtime.ip import IPInterface


def test_a_key_is_taken_once() -> None:
    """What was taken is checked and gone; what is left is not a property."""
    section = Section("keepalived", {"preempt": False, "priority": 230, "nopreempt": True})
    assert section.take("preempt", validators.boolean, default=True) is False
    assert section.take_if_given("priority", validators.integer(1, 254)) == 230
    assert section.take_if_given("priority", validators.integer(1, 254)) is None
    with pytest.raises(ConfigError, match=r"^keepalived\.nopreempt is True: is not a property that this version knows$"):
        section.refuse_the_rest()


@pytest.mark.parametrize("raw", [{}, {"vips": None}], ids=["absent", "null"])
def test_what_is_not_given(raw: dict[str, Any]) -> None:
    """An absent key and null are the default, also an empty one; without a default the key is required."""
    vips: tuple[IPInterface, ...] = Section("keepalived", raw).take("vips", validators.list_of(validators.vip), default=())
    assert vips == ()
    assert Section("keepalived", raw).take_if_given("vips", validators.list_of(validators.vip)) is None
    with pytest.raises(ConfigError, match=r"^keepalived\.vips is None: must be given$"):
        Section("keepalived", raw).take("vips", validators.list_of(validators.vip))


def test_names_without_a_section() -> None:
    """At the top a key stands for itself."""
    with pytest.raises(ConfigError, match=r"^instances is 5: must be a list with at least one entry$"):
        Section("", {"instances": 5}).take("instances", validators.at_least_one)


@pytest.mark.parametrize(
    ("check", "value", "result"),
    [
        (
            validators.list_of(validators.vip),
            ["10.0.0.11", "2001:db8::10/64"],
            (ip_interface("10.0.0.11/32"), ip_interface("2001:db8::10/64")),
        ),
        (validators.list_of(validators.interface_name), [], ()),
        (validators.interface_or_auto, "auto", "auto"),
        (validators.interface_name, "eth0.100", "eth0.100"),
        (validators.process_name, "nginx-1.2_a+", "nginx-1.2_a+"),
        (validators.process_name, "x" * 15, "x" * 15),
        (validators.password, "a", "a"),
        (validators.password, "%&/()=?~", "%&/()=?~"),
        (validators.path, "/var/vcap/jobs/keepalived/config/keepalived.config", "/var/vcap/jobs/keepalived/config/keepalived.config"),
        (validators.peer_address, "10.0.0.2", ip_address("10.0.0.2")),
        (validators.peer_address, "fe80::2", ip_address("fe80::2")),
        (validators.network, "10.0.0.0/24", ip_network("10.0.0.0/24")),
        (validators.network, "10.0.0.5", ip_network("10.0.0.5/32")),
        (validators.network, "fe80::/10", ip_network("fe80::/10")),
        (validators.mail_addresses, "a@example.org", ("a@example.org",)),
        (validators.mail_addresses, ["a@example.org", "b@localhost"], ("a@example.org", "b@localhost")),
        (validators.server, "mail", ("mail", 25)),
        (validators.server, "mail.example.org:1", ("mail.example.org", 1)),
        (validators.server, "10.0.0.25:65535", ("10.0.0.25", 65535)),
        (validators.server, "2001:db8::25", ("2001:db8::25", 25)),
        (validators.server, "[2001:db8::25]", ("2001:db8::25", 25)),
        (validators.server, "[2001:db8::25]:587", ("2001:db8::25", 587)),
        (validators.keepalived_lines, "", ""),
        (validators.keepalived_lines, "a {\n  b {\n  }\n}\nc", "a {\n  b {\n  }\n}\nc"),
        (validators.keepalived_lines, "# an open {\nc ! a closed }", "# an open {\nc ! a closed }"),
        (validators.number(0, 1000), 2.5, 2.5),
        (validators.number(0, 1000), 1000, 1000),
        (validators.choice(-188, 0), -188, -188),
    ],
)
def test_an_accepted_value_has_its_final_type(check: Check[Any], value: object, result: object) -> None:
    """Each check returns what the program goes on with."""
    found = check(value)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("check", "value", "allowed"),
    [
        (validators.list_of(validators.vip), "10.0.0.11", "must be a list"),
        (validators.list_of(validators.interface_name), ["eth1", "eth 2"], "entry 'eth 2' must be the name of an interface"),
        (validators.list_of(validators.interface_name), ["eth1", "eth2", "eth1"], "entry 'eth1' is there twice"),
        (validators.list_of(validators.vip), ["2001:db8::10", "2001:db8:0::10/128"], "entry '2001:db8::10/128' is there twice"),
        (validators.mail_addresses, ["a@example.org", "nobody"], "entry 'nobody' must be an e-mail address"),
        (validators.mail_addresses, {"a@example.org": 1}, "must be a list"),
        (validators.server, "mail:0", "must be HOST or HOST:PORT"),
        (validators.server, "mail:65536", "must be HOST or HOST:PORT"),
        (validators.network, "10.0.0.5/24", "must be an address of this instance, or a network (10.0.0.0/24) in which it has one"),
        (validators.peer_address, "10.0.0.2/24", "must be a unicast IP address"),
        (validators.member_address, "10.0.0.2/24", "must be an IP address: give the job consumes"),
        (validators.keepalived_lines, "a {\n# }", "must be text in which every { has its }"),
        (validators.choice(2, 3), 4, "must be 2 or 3"),
        (validators.number(0.01, 255), float("nan"), "must be a number from 0.01 to 255"),
    ],
)
def test_a_refused_value_is_told_what_is_allowed(check: Check[Any], value: object, allowed: str) -> None:
    """The message is the second half of a sentence that begins with property and value; of a list it names the entry."""
    with pytest.raises(ValueError, match=r"^(must|entry) ") as error:
        check(value)
    assert str(error.value).startswith(allowed)


@pytest.mark.parametrize("value", ["a secret that is too long", "two words", 12345678, ["secret"]])
def test_a_password_is_not_told(value: object) -> None:
    """A refused keepalived.auth_pass ends up in no log."""
    with pytest.raises(ConfigError) as error:
        Section("keepalived", {"auth_pass": value}).take_if_given("auth_pass", validators.password)
    assert str(error.value).startswith("keepalived.auth_pass is '(hidden)': must be 1 to 8 characters: ")
