"""The configuration: defaults, and a refusal of every wrong value that names the property as the manifest has it."""

import json
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from unit.fakes import OWN, PEER, VIP, rendered
from vrrp_drain.config import Config
from vrrp_drain.errors import ConfigError

IPV6_VIP = "2001:db8::10"


def test_defaults() -> None:
    """A manifest that gives only the VIP gets the documented defaults."""
    config = Config.parse(rendered())
    ours = config.keepalived
    assert (config.vip, ours.vip) == (ip_address(VIP), ip_interface(f"{VIP}/32"))
    assert (ours.interface, ours.virtual_router_id, ours.vrrp_version, ours.advert_int) == ("auto", 1, 2, 1.0)
    assert (ours.healthcheck_name, ours.healthcheck_command, ours.healthcheck_interval) == ("check_haproxy", "killall -0 haproxy", 2)
    assert ours.dont_track_primary is False
    assert (config.drain.post_start_timeout, config.drain.on_no_successor) == (120.0, "proceed")
    assert config.drain.health_check.geturl() == "tcp://127.0.0.1:80"
    assert config.drain.handover_timeout == pytest.approx(3 * 1 + (256 - 205) / 256 + 2)


def test_members() -> None:
    """The instance knows itself and its peers, and is written as BOSH writes it."""
    config = Config.parse(rendered(3))
    assert str(config.me) == "haproxy/0"
    assert config.me.address == ip_address(OWN)
    assert [str(peer) for peer in config.peers] == ["haproxy/1", "haproxy/2"]


@pytest.mark.parametrize("section", ["keepalived", "vrrp_drain"])
def test_null_counts_as_not_given(section: str) -> None:
    """What a template renders as null gets the default, like an absent key."""
    optional = {
        "keepalived": ("interface", "virtual_router_id", "vrrp_version", "advert_int", "priority", "healthcheck_name"),
        "vrrp_drain": ("handover_timeout", "post_start_timeout", "on_no_successor", "health_check"),
    }
    assert Config.parse(rendered(**{section: dict.fromkeys(optional[section])})) == Config.parse(rendered())


def test_the_keepalived_job_has_no_vrrp_drain_section() -> None:
    """The keepalived job renders three sections; the fourth has only defaults."""
    raw = rendered()
    del raw["vrrp_drain"]
    assert Config.parse(raw) == Config.parse(rendered())


@pytest.mark.parametrize("advert_int", [1, 40, 255])
def test_the_defaults_are_valid_at_every_interval(advert_int: int) -> None:
    """An advert_int that is allowed by itself never makes a default wrong: the keepalived job cannot see vrrp_drain.*."""
    assert Config.parse(rendered(keepalived={"advert_int": advert_int})).keepalived.advert_int == advert_int


@pytest.mark.parametrize(
    ("ours", "indexes", "bootstrap", "priority"),
    [(0, [0, 1, 2], 0, 254), (2, [0, 1, 2], 0, 252), (7, [9, 7, 3], 3, 253), (3, [3, 1, 7], 7, 252)],
)
def test_the_rank_gives_the_priority(ours: int, indexes: list[int], bootstrap: int, priority: int) -> None:
    """The bootstrap instance comes first whatever its index, the others follow by index, gaps do not count."""
    raw = rendered(len(indexes))
    for each, index in zip(raw["instances"], indexes, strict=True):
        each.update(index=index, bootstrap=index == bootstrap)
    raw["instance"] = raw["instances"][indexes.index(ours)]
    assert Config.parse(raw).keepalived.priority == priority


def test_a_priority_of_the_manifest_wins() -> None:
    """keepalived.priority overrides the rank."""
    assert Config.parse(rendered(keepalived={"priority": 205})).keepalived.priority == 205


def test_fifty_instances_have_fifty_priorities() -> None:
    """The largest group still gives every instance a base of its own."""
    raw = rendered(50)
    bases = [Config.parse(raw | {"instance": each}).keepalived.priority for each in raw["instances"]]
    assert bases == list(range(254, 204, -1))


@pytest.mark.parametrize(
    ("given", "version", "prefix_length"),
    [
        ({"vip": VIP}, 2, 32),
        ({"vip": f"{VIP}/24"}, 2, 24),
        ({"vip": VIP, "vrrp_version": 3, "advert_int": 0.29}, 3, 32),
        ({"vip": VIP, "vrrp_version": 3, "advert_int": 40.95}, 3, 32),
        ({"vip": IPV6_VIP}, 3, 128),
        ({"vip": f"{IPV6_VIP}/64", "advert_int": 0.01}, 3, 64),
    ],
)
def test_the_version_follows_the_family(given: dict[str, Any], version: int, prefix_length: int) -> None:
    """IPv4 speaks version 2 unless told otherwise, IPv6 version 3; the prefix length of the VIP is kept."""
    ours = Config.parse(rendered(keepalived=given)).keepalived
    assert (ours.vrrp_version, ours.vip.network.prefixlen) == (version, prefix_length)


WRONG: dict[str, list[object]] = {
    "keepalived.vip": [
        *("10.0.0", "haproxy.example.org", f"{VIP}/33", 7, True),
        *("224.0.0.18", "255.255.255.255", "127.0.0.1", "::", "fe80::10%eth0"),
    ],
    "keepalived.interface": ["", "eth 0", "a-name-too-long-for-linux", "eth0/1", 3],
    "keepalived.virtual_router_id": [0, 256, "1", 1.5, True],
    "keepalived.vrrp_version": [1, 4, "3", 2.0, True],
    "keepalived.advert_int": [0, -1, 256, 0.5, 1.5, "1", True, [1]],
    "keepalived.priority": [204, 255, "254", True],
    "keepalived.healthcheck_name": ["", "check haproxy", 'a"b', "x" * 65, 5],
    "keepalived.healthcheck_command": ["", "  ", 'say "hello"', "two\nlines", 5],
    "keepalived.healthcheck_interval": [0, 3601, "2", 1.5, True],
    "keepalived.healthcheck_timeout": [0, 3601, "2", 1.5, True],
    "keepalived.healthcheck_rise": [0, 101, "2", 1.5, True],
    "keepalived.healthcheck_fall": [0, 101, "2", 1.5, True],
    "keepalived.healthcheck_weight": [-50, 100, "0", False, 1.5],
    "keepalived.garp_master_refresh": [-1, 86401, "60", 1.5, True],
    "keepalived.garp_master_delay": [0, 3601, "5", 1.5, True],
    "keepalived.dont_track_primary": [0, "true", "yes"],
    "vrrp_drain.handover_timeout": [0, 3, 3.19, -5, 3601, "10", True],
    "vrrp_drain.post_start_timeout": [0, 3, 3601, "120", True],
    "vrrp_drain.on_no_successor": ["stop", "", True],
    "vrrp_drain.health_check": [
        *("127.0.0.1:80", "https://127.0.0.1/", "http:///health", "http://127.0.0.1:port/", "http://[::1", 80),
        *("tcp://127.0.0.1", "tcp://:80", "tcp://127.0.0.1:0", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:80/path"),
        *("unix://", "unix:///", "unix://host/path"),
    ],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name}={value!r}") for name, values in WRONG.items() for value in values],
)
def test_a_wrong_value_is_refused_by_its_property(name: str, value: object) -> None:
    """The message begins with the property as the manifest has it, then the value, then what is allowed."""
    section, key = name.split(".")
    with pytest.raises(ConfigError) as error:
        Config.parse(rendered(**{section: {key: value}}))
    before, _, allowed = str(error.value).partition(f"{name} is {value!r}: ")
    assert before == ""
    assert allowed
    assert error.value.name == name


@pytest.mark.parametrize(
    ("keepalived", "name"),
    [
        ({"vip": IPV6_VIP, "vrrp_version": 2}, "keepalived.vrrp_version"),
        ({"vrrp_version": 3, "advert_int": 41}, "keepalived.advert_int"),
        ({"vrrp_version": 3, "advert_int": 0.015}, "keepalived.advert_int"),
        ({"vip": OWN}, "keepalived.vip"),
        ({"vip": f"{PEER}/24"}, "keepalived.vip"),
        ({"vip": None}, "keepalived.vip"),
        ({"nopreempt": True}, "keepalived.nopreempt"),
    ],
)
def test_contradictions_are_refused(keepalived: dict[str, Any], name: str) -> None:
    """A value that only another property makes wrong is refused too, and so is what this version does not know."""
    key = name.partition(".")[2]
    with pytest.raises(ConfigError, match=rf"^{name} is '?{keepalived[key]}"):
        Config.parse(rendered(keepalived=keepalived))


def test_a_timeout_shorter_than_the_election_is_refused_with_its_reason() -> None:
    """A handover_timeout in which no backup can take over is refused, and the message gives Master_Down_Interval."""
    drain = {"handover_timeout": 6}
    with pytest.raises(ConfigError, match=r"^vrrp_drain.handover_timeout is 6: .*Master_Down_Interval, 6\.20 s at keepalived.advert_int 2"):
        Config.parse(rendered(keepalived={"advert_int": 2}, vrrp_drain=drain))


@pytest.mark.parametrize(
    "health_check",
    [
        "tcp://127.0.0.1:80",
        "tcp://[::1]:443",
        "http://127.0.0.1/health",
        "http://localhost:8080/health?full=1",
        "unix:///var/vcap/stats.sock",
    ],
)
def test_health_checks(health_check: str) -> None:
    """Each kind of health_check in the property's description is taken as it is written."""
    assert Config.parse(rendered(vrrp_drain={"health_check": health_check})).drain.health_check == urlsplit(health_check)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instances": []}, "instances is []: must be a list with at least one entry"),
        ({"instances": {"name": "haproxy"}}, "instances is {'name': 'haproxy'}: must be a list"),
        ({"instances": None}, "instances is None: must be given"),
        ({"instances": ["haproxy/0"]}, "instances[0] is 'haproxy/0': must be a JSON object"),
        ({"instance": None}, "instance is None: must be given"),
        ({"keepalived": None}, "keepalived is None: must be given"),
        ({"keepalived": [VIP]}, f"keepalived is ['{VIP}']: must be a JSON object"),
        ({"vrrp_drain": 5}, "vrrp_drain is 5: must be a JSON object"),
        ({"metrics": {}}, "metrics is {}: is not a property that this version knows"),
    ],
)
def test_a_wrong_shape_is_refused(changes: dict[str, Any], message: str) -> None:
    """Sections that are missing, unknown or of another shape are refused by their name."""
    with pytest.raises(ConfigError) as error:
        Config.parse(rendered() | changes)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        (
            "address",
            "0.haproxy.default.cf.bosh",
            "must be an IP address: the keepalived link must be rendered with addresses",
        ),
        ("address", None, "must be given"),
        ("index", "0", "must be a whole number"),
        ("index", -1, "must be a whole number"),
        ("bootstrap", "true", "must be true or false"),
        ("name", "two words", "must be text without blanks"),
        ("id", "", "must be text without blanks"),
        ("az", "z1", "is not a property that this version knows"),
    ],
)
def test_a_wrong_instance_is_refused_by_its_place(key: str, value: object, allowed: str) -> None:
    """An instance of the link that cannot be read is named by its place in the list."""
    raw = rendered()
    raw["instances"][1][key] = value
    with pytest.raises(ConfigError) as error:
        Config.parse(raw)
    assert str(error.value).startswith(f"instances[1].{key} is {value!r}: {allowed}")


def test_an_instance_outside_the_link_is_refused() -> None:
    """A link to another instance group is found out: we are not among its instances."""
    raw = rendered()
    raw["instance"] = raw["instance"] | {"id": "id-9"}
    with pytest.raises(ConfigError, match=r"^instance.id is 'id-9': must be one of the keepalived link's instances"):
        Config.parse(raw)


def test_more_than_fifty_instances_are_refused() -> None:
    """The fifty-first instance would fall out of the active band."""
    with pytest.raises(ConfigError, match=r"^instances is 51: at most 50 can share one VIP"):
        Config.parse(rendered(51))


@pytest.mark.parametrize("raw", [[], "text", 5, None])
def test_what_is_no_object_is_refused(raw: object) -> None:
    """A configuration that is valid JSON but no object is refused."""
    with pytest.raises(ConfigError, match=r"^configuration is .*: must be a JSON object"):
        Config.parse(raw)


def test_load(tmp_path: Path) -> None:
    """A file with what the template rendered gives the same configuration as its content."""
    file = tmp_path / "vrrp-drain.json"
    file.write_text(json.dumps(rendered()))
    assert Config.load(file) == Config.parse(rendered())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"<%= p('keepalived.vip') %>"])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    """The message names the file."""
    file = tmp_path / "vrrp-drain.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^configuration file is '{file}': must be JSON"):
        Config.load(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The message names the file and says why."""
    with pytest.raises(ConfigError, match=rf"^configuration file is '{tmp_path}/none': must be readable \(No such file or directory\)"):
        Config.load(tmp_path / "none")
