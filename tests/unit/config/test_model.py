"""The configuration: defaults, and a refusal of every wrong value that names the property as the manifest has it."""

import json
import re
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from unit.support.fakes import IPV6_VIP, OTHER_SETTINGS, OWN, PEER, VIP, rendered
from unit.support.refusals import PEM, REFUSED_TOGETHER, WRONG, WRONG_INSIDE
from vrrp_drain.config.model import Config, Mail
from vrrp_drain.config.receivers import Hook, Webhook
from vrrp_drain.config.upstream_job import UpstreamJob
from vrrp_drain.runtime.errors import ConfigError

MAIL: dict[str, Any] = {
    "notification_email": ["a@example.org", "b@example.org"],
    "notification_email_from": "k@example.org",
    "smtp_server": "mail",
}


def test_defaults() -> None:
    """A manifest that gives only the VIP gets the documented defaults."""
    config = Config.parse(rendered())
    ours = config.keepalived
    assert (config.vip, ours.vip) == (ip_address(VIP), ip_interface(f"{VIP}/32"))
    assert (ours.interface, ours.virtual_router_id, ours.vrrp_version, ours.advert_int) == ("auto", 1, 2, 1.0)
    assert (ours.healthcheck_name, ours.healthcheck_command, ours.healthcheck_interval) == ("check_haproxy", "killall -0 haproxy", 2)
    assert (ours.healthcheck_timeout, ours.healthcheck_rise, ours.healthcheck_fall) == (2, 1, 1)
    assert (ours.priority, ours.lowered, ours.unhealthy_weight) == (254, 99, -188)
    assert (ours.preempt, ours.preempt_delay, ours.startup_delay) == (True, 0, 0)
    assert (ours.dont_track_primary, ours.track_process, ours.track_interfaces) == (False, None, ())
    assert (ours.unicast, ours.unicast_peers, ours.source, ours.auth_pass) == (False, (), None, None)
    assert (ours.garp_master_refresh, ours.garp_master_delay) == (60, 1)
    assert (ours.vips, ours.addresses, ours.use_vmac) == ((), (ip_address(VIP),), False)
    assert (ours.mail, ours.extra_global_config, ours.extra_instance_config) == (None, "", "")
    assert config.drain.upstream_job is None
    assert (config.drain.post_start_timeout, config.drain.on_no_successor) == (120.0, "proceed")
    assert config.drain.health_check is None
    assert (config.drain.health_interval, config.drain.health_fall, config.drain.health_rise) == (1, 2, 2)
    assert (config.drain.metrics_port, config.drain.hooks, config.drain.webhooks) == (9922, (), ())
    assert config.drain.handover_timeout == pytest.approx(3 * 1 + (256 - 222) / 256 + 2)
    assert (config.drain.drain_timeout, config.drain.quiet_time, config.drain.handoff_window) == (60, 1, 300)


@pytest.mark.parametrize(
    ("given", "window"),
    [
        ({"drain_timeout": 20, "handoff_window": 5}, 80),
        ({"drain_timeout": 0, "handoff_window": 1}, 60),
        ({"drain_timeout": 86400}, 86460),
        ({"drain_timeout": 20, "handoff_window": 81}, 81),
        ({"handoff_window": 86400}, 86400),
    ],
)
def test_connections_are_handed_over_for_as_long_as_drain_waits_for_them(given: dict[str, object], window: float) -> None:
    """The window is never shorter than a drain and the time before it: what drain still waits for would be cut."""
    assert Config.parse(rendered(vrrp_drain=given)).drain.handoff_window == window


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"vips": ["10.0.0.11", f"{IPV6_VIP}/64"]}, "vips", (ip_interface("10.0.0.11/32"), ip_interface(f"{IPV6_VIP}/64"))),
        ({"vips": ["10.0.0.11/24"]}, "addresses", (ip_address(VIP), ip_address("10.0.0.11"))),
        ({"interface": "eth0.100"}, "interface", "eth0.100"),
        ({"virtual_router_id": 255}, "virtual_router_id", 255),
        ({"priority": 222}, "lowered", 67),
        ({"preempt": False}, "preempt", False),
        ({"preempt": False}, "unhealthy_weight", 0),
        ({"preempt": False, "healthcheck_weight": 0}, "unhealthy_weight", 0),
        ({"healthcheck_weight": 0}, "unhealthy_weight", 0),
        ({"healthcheck_weight": -188}, "unhealthy_weight", -188),
        ({"preempt_delay": 1000}, "preempt_delay", 1000),
        ({"preempt_delay": 0.5}, "preempt_delay", 0.5),
        ({"startup_delay": 3600}, "startup_delay", 3600),
        ({"healthcheck_interval": 7}, "healthcheck_timeout", 7),
        ({"healthcheck_interval": 7, "healthcheck_timeout": 3}, "healthcheck_timeout", 3),
        ({"track_process": "haproxy"}, "track_process", "haproxy"),
        ({"track_interfaces": ["eth1", "eth2.7"]}, "track_interfaces", ("eth1", "eth2.7")),
        ({"dont_track_primary": True}, "dont_track_primary", True),
        ({"unicast": True}, "unicast", True),
        ({"unicast": True, "unicast_peers": [OWN, PEER]}, "unicast_peers", (ip_address(OWN), ip_address(PEER))),
        ({"unicast": True, "unicast_src_ip": "10.0.0.0/24"}, "source", ip_network("10.0.0.0/24")),
        ({"mcast_src_ip": OWN}, "source", ip_network(f"{OWN}/32")),
        ({"vip": IPV6_VIP, "mcast_src_ip": "fe80::/10"}, "source", ip_network("fe80::/10")),
        ({"auth_pass": "cf-lb-1"}, "auth_pass", "cf-lb-1"),
        ({"garp_master_refresh": 0}, "garp_master_refresh", 0),
        ({"garp_master_delay": 5}, "garp_master_delay", 5),
        ({**MAIL, "notification_email": "a@example.org"}, "mail", Mail(("a@example.org",), "k@example.org", ("mail", 25), 30)),
        ({**MAIL, "smtp_connect_timeout": 5}, "mail", Mail(("a@example.org", "b@example.org"), "k@example.org", ("mail", 25), 5)),
        ({**MAIL, "notification_email": []}, "mail", None),
        ({"smtp_server": "mail", "smtp_connect_timeout": 5}, "mail", None),
        ({"use_vmac": True}, "use_vmac", True),
        ({"extra_global_config": "a {\n}"}, "extra_global_config", "a {\n}"),
        ({"extra_instance_config": "notify /bin/true\n"}, "extra_instance_config", "notify /bin/true\n"),
    ],
)
def test_a_property_is_taken_as_it_is_given(given: dict[str, Any], name: str, value: object) -> None:
    """Each property becomes the value that its description promises."""
    assert getattr(Config.parse(rendered(keepalived=given)).keepalived, name) == value


def test_the_link_says_where_this_instance_is() -> None:
    """Its default network may be another one: with `network` the link gives all of them an address of the VIP's, us included."""
    raw = rendered()
    raw["instance"] = {**raw["instance"], "address": "10.1.0.1"}
    assert Config.parse(raw).me.address == ip_address(OWN)


@pytest.mark.parametrize(
    ("unicast_peers", "addresses"), [([], [PEER, "10.0.0.3"]), ([OWN, "10.0.0.6"], [OWN, "10.0.0.6"])], ids=["link", "manifest"]
)
def test_peers_are_those_of_the_manifest_or_of_the_link(unicast_peers: list[str], addresses: list[str]) -> None:
    """keepalived.unicast_peers tells where adverts come from; without it the link does."""
    config = Config.parse(rendered(3, keepalived={"unicast": True, "unicast_peers": unicast_peers}))
    assert config.peer_addresses == tuple(map(ip_address, addresses))


@pytest.mark.parametrize(
    ("keepalived", "handover_timeout", "post_start_timeout"),
    [
        ({}, 5.13, 120),
        ({"preempt_delay": 10}, 15.13, 120),
        ({"advert_int": 255}, 767.13, 1530.27),
        ({"vrrp_version": 3, "advert_int": 0.2}, 2.63, 120),
        ({"preempt_delay": 1000}, 1005.13, 2006.27),
    ],
    ids=str,
)
def test_the_default_timeouts_follow_the_slowest_successor(
    keepalived: dict[str, Any], handover_timeout: float, post_start_timeout: float
) -> None:
    """Both leave time for Master_Down_Interval of the lowest active priority, and for a preempt_delay on top."""
    drain = Config.parse(rendered(keepalived=keepalived)).drain
    assert (drain.handover_timeout, drain.post_start_timeout) == pytest.approx((handover_timeout, post_start_timeout), abs=0.006)


def test_members() -> None:
    """The instance knows itself and its peers, and is written as BOSH writes it."""
    config = Config.parse(rendered(3))
    assert str(config.me) == "haproxy/0"
    assert config.me.address == ip_address(OWN)
    assert [str(peer) for peer in config.peers] == ["haproxy/1", "haproxy/2"]


@pytest.mark.parametrize("section", ["keepalived", "vrrp_drain"])
def test_null_counts_as_not_given(section: str) -> None:
    """What a template renders as null gets the default, like an absent key."""
    optional = [name.split(".")[1] for name in (*WRONG, *WRONG_PATHS) if name.startswith(section) and name != "keepalived.vip"]
    assert len(optional) > 5
    assert Config.parse(rendered(**{section: dict.fromkeys(optional)})) == Config.parse(rendered())


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
    assert Config.parse(rendered(keepalived={"priority": 222})).keepalived.priority == 222


def test_thirty_three_instances_have_as_many_priorities() -> None:
    """The largest group still gives every instance a base of its own."""
    raw = rendered(33)
    bases = [Config.parse(raw | {"instance": each}).keepalived.priority for each in raw["instances"]]
    assert bases == list(range(254, 221, -1))


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


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name}={value!r}") for name, values in WRONG.items() for value in values],
)
def test_a_wrong_value_is_refused_by_its_property(name: str, value: object) -> None:
    """The message begins with the property as the manifest has it, then the value, then what is allowed."""
    section, key = name.split(".")
    with pytest.raises(ConfigError) as error:
        Config.parse(rendered(**{section: {key: value}}))
    shown = "(hidden)" if name in ("keepalived.auth_pass", "vrrp_drain.webhooks") else value
    before, _, allowed = str(error.value).partition(f"{name} is {shown!r}: ")
    assert before == ""
    assert allowed
    assert error.value.name == name


WRONG_PATHS: dict[str, list[object]] = {
    "vrrp_drain.keepalived_config": ["", "keepalived.config", "/two words", '/a"b', 5],
    "vrrp_drain.keepalived_pid_file": ["", "keepalived.pid", "/two words", '/a"b', 5],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name}={value!r}") for name, values in WRONG_PATHS.items() for value in values],
)
def test_a_wrong_path_is_refused_by_its_property(name: str, value: object) -> None:
    """Where another release's keepalived has its files is told by absolute paths."""
    with pytest.raises(ConfigError) as error:
        Config.parse(rendered(vrrp_drain={name.split(".")[1]: value}))
    assert str(error.value) == f"{name} is {value!r}: must be an absolute path"


@pytest.mark.parametrize(("given", "name", "wrong"), REFUSED_TOGETHER)
def test_contradictions_are_refused(given: dict[str, dict[str, Any]], name: str, wrong: str) -> None:
    """A value that only another property makes wrong is refused by its own name, with what it contradicts; no password is told."""
    with pytest.raises(ConfigError) as error:
        Config.parse(rendered(3, **given))
    assert error.value.name == name
    assert str(error.value).split(": ", 1)[1].startswith(wrong)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("given", "name", "wrong"), WRONG_INSIDE)
def test_a_wrong_receiver_is_refused_by_its_place(given: dict[str, Any], name: str, wrong: str) -> None:
    """The message names the entry and its key, and tells nothing that could be a credential."""
    with pytest.raises(ConfigError) as error:
        Config.parse(rendered(**given))
    assert error.value.name == name
    assert str(error.value).endswith(f": {wrong}")
    assert not re.search("secret|s\u00e9cret|sec ret", str(error.value))


def test_receivers() -> None:
    """Hooks and webhooks are taken with their defaults, and repr tells nothing that could be a credential."""
    header = {"Authorization": "Bearer secret"}
    full = {"url": "http://[::1]:8080/a?b=secret", "headers": header, "timeout": 1, "retry_for": 0}
    drain = {"hooks": [{"command": ["/bin/a", "b c"]}], "webhooks": [{"url": "https://a.example.org", "ca_cert": PEM}, full]}
    parsed = Config.parse(rendered(vrrp_drain=drain | {"metrics_port": 0}))
    assert parsed.drain.metrics_port is None
    assert parsed.drain.hooks == (Hook(("/bin/a", "b c"), 30.0),)
    assert parsed.drain.webhooks == (
        Webhook("https://a.example.org", (), PEM, 5.0, 86400.0),
        Webhook("http://[::1]:8080/a?b=secret", (("Authorization", "Bearer secret"),), None, 1, 0),
    )
    assert [each.origin for each in parsed.drain.webhooks] == ["https://a.example.org", "http://[::1]:8080"]
    assert not re.search("secret|TUlJ", repr(parsed))


@pytest.mark.parametrize(
    ("keepalived", "message"),
    [
        ({"vip": None}, "keepalived.vip is None: must be given"),
        ({"nopreempt": True}, "keepalived.nopreempt is True: is not a property that this version knows"),
    ],
)
def test_a_missing_and_an_unknown_property_are_refused(keepalived: dict[str, Any], message: str) -> None:
    """The VIP has no default, and what this version does not know is not ignored."""
    with pytest.raises(ConfigError) as error:
        Config.parse(rendered(keepalived=keepalived))
    assert str(error.value) == message


OTHER = {"keepalived_config": "/other/keepalived.config", "keepalived_pid_file": "/other/keepalived.pid"}


def beside(found: dict[str, Any], **sections: dict[str, Any]) -> Config:
    """Return the configuration beside another release's keepalived that is set to ``found``."""

    def read(job: UpstreamJob) -> dict[str, Any]:
        assert job == UpstreamJob(Path("/other/keepalived.config"), Path("/other/keepalived.pid"))
        return OTHER_SETTINGS | found

    return Config.parse(rendered(**sections | {"vrrp_drain": {**OTHER, **sections.get("vrrp_drain", {})}}), read=read)


@pytest.mark.parametrize(
    ("found", "priority", "lowered", "unhealthy_weight"),
    [
        ({}, 103, 83, -2),
        ({"priority": 100}, 102, 82, -2),
        ({"weight": 0}, 101, 81, 0),
        ({"weight": -20}, 101, 81, -20),
        ({"priority": 21, "weight": 0}, 21, 1, 0),
    ],
)
def test_the_priorities_of_another_jobs_keepalived(found: dict[str, Any], priority: int, lowered: int, unhealthy_weight: int) -> None:
    """A healthy instance adverts base plus weight, a lowered one 50 less, and an unhealthy one lacks the weight."""
    ours = beside(found).keepalived
    assert (ours.priority, ours.lowered, ours.unhealthy_weight) == (priority, lowered, unhealthy_weight)


def test_the_settings_of_another_jobs_keepalived() -> None:
    """The VIP comes from its link, all else from its configuration, and our own properties keep their defaults."""
    found = {"interface": "eth1", "virtual_router_id": 7, "vrrp_version": 2, "advert_int": 2.0, "auth_pass": "secret"}
    config = beside(found | {"unicast": True, "unicast_peers": [PEER]}, keepalived={"vip": f"{VIP}/24"})
    ours = config.keepalived
    assert (ours.vip, ours.vips) == (ip_interface(f"{VIP}/24"), ())
    assert {name: getattr(ours, name) for name in found} == found
    assert (ours.unicast, config.peer_addresses) == (True, (ip_address(PEER),))
    assert config.drain.upstream_job == UpstreamJob(Path(OTHER["keepalived_config"]), Path(OTHER["keepalived_pid_file"]))
    assert config.drain.handover_timeout == pytest.approx(3 * 2 + (256 - 222) / 256 + 2)


def test_another_jobs_nopreempt_is_its_own_business() -> None:
    """What our job would refuse together is only taken note of."""
    ours = beside({"preempt": False}).keepalived
    assert (ours.preempt, ours.unhealthy_weight) == (False, -2)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({"priority": 20}, "keepalived.priority"),
        ({"priority": 255}, "keepalived.priority"),
        ({"weight": 254}, "keepalived.weight"),
        ({"virtual_router_id": 0}, "keepalived.virtual_router_id"),
        ({"vrrp_version": 4}, "keepalived.vrrp_version"),
        ({"advert_int": 1.5}, "keepalived.advert_int"),
        ({"interface": "eth0/1"}, "keepalived.interface"),
        ({"unicast": True, "unicast_peers": ["haproxy"]}, "keepalived.unicast_peers"),
    ],
)
def test_what_cannot_be_right_in_another_jobs_keepalived_is_refused(found: dict[str, Any], name: str) -> None:
    """Its settings are checked like ours, and what is taken away must be there to take away."""
    with pytest.raises(ConfigError, match=rf"^{name} is "):
        beside(found)


def test_another_jobs_link_gives_the_vip_alone() -> None:
    """A property that only our job has, in a link that is not from our job, is a mix-up."""
    with pytest.raises(ConfigError, match=r"^vrrp_drain\.keepalived_config is '/other/keepalived\.config': is for another release's"):
        beside({}, keepalived={"preempt": False})


def test_our_own_job_is_read_from_no_file() -> None:
    """Without vrrp_drain.keepalived_config nothing is looked for on the disk."""
    assert Config.parse(rendered(), read=lambda job: pytest.fail("read")).drain.upstream_job is None


def test_another_jobs_file_is_read(tmp_path: Path) -> None:
    """The files that the properties name are what is read; a file that is not there is refused by the property."""
    raw = rendered(vrrp_drain={"keepalived_config": f"{tmp_path}/config", "keepalived_pid_file": f"{tmp_path}/pid"})
    with pytest.raises(ConfigError, match=rf"^vrrp_drain\.keepalived_config is '{tmp_path}/config': must be the configuration file"):
        Config.parse(raw)
    (tmp_path / "config").write_text("vrrp_instance one {\npriority 90\n}\n")
    assert Config.parse(raw).keepalived.priority == 90


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
            "must be an IP address: give the job consumes: {keepalived: {from: keepalived, ip_addresses: true}}",
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


def test_more_than_thirty_three_instances_are_refused() -> None:
    """The thirty-fourth instance would fall out of the active band."""
    with pytest.raises(ConfigError, match=r"^instances is 34: at most 33 can share one VIP"):
        Config.parse(rendered(34))


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
