"""keepalived.conf: what each property becomes. That keepalived accepts it is shown in tests/lab."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, rendered
from vrrp_drain.config.model import Config
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.keepalived.conf import render

FILES = {"vrrp_drain": Path("/run/keepalived/band"), "vrrp_drain_health": Path("/run/keepalived/health")}
PLACE = Attachment("eth0", "eth0", ip_address(OWN), ())
INSTANCE, GLOBAL, CHECK = "vrrp_instance haproxy_check_haproxy", "global_defs", "vrrp_script check_haproxy"
MAIL = {
    "notification_email": ["a@example.org", "b@example.org"],
    "notification_email_from": "keepalived@example.org",
    "smtp_server": "mail.example.org:2525",
}


def blocks(
    keepalived: dict[str, Any], attachment: Attachment = PLACE, *, process_events: bool = True, filtered: bool = False
) -> dict[str, list[str]]:
    """Return the rendered file as a list of settings for every block, under the block's first line."""
    found: dict[str, list[str]] = {}
    path: list[str] = []
    config = Config.parse(rendered(keepalived=keepalived))
    for line in render(config, attachment, FILES, process_events=process_events, filtered=filtered).splitlines():
        words = line.strip()
        if words.endswith("{"):
            path.append(words.removesuffix(" {"))
            found[" / ".join(path)] = []
        elif words == "}":
            path.pop()
        elif words and not words.startswith("#"):
            found[" / ".join(path)].append(words)
    assert path == [], "a block is not closed"
    return found


DEFAULTS = """\
# Written by vrrpctl at every start of keepalived: changes here are lost.
global_defs {
    router_id haproxy/0
    script_user root
    enable_script_security
    vrrp_lower_prio_no_advert
    vrrp_garp_master_refresh 60
    vrrp_garp_master_delay 1
}

vrrp_script check_haproxy {
    script "killall -0 haproxy"
    interval 2
    timeout 2
    rise 1
    fall 1
    weight -188
    init_fail
}

track_file vrrp_drain {
    file "/run/keepalived/band"
    weight 1
}

track_file vrrp_drain_health {
    file "/run/keepalived/health"
    weight 1
}

vrrp_instance haproxy_check_haproxy {
    state BACKUP
    interface eth0
    virtual_router_id 1
    version 2
    priority 254
    advert_int 1
    virtual_ipaddress {
        10.0.0.10/32
    }
    track_script {
        check_haproxy
    }
    track_file {
        vrrp_drain
        vrrp_drain_health
    }
}
"""


def test_the_file_of_the_defaults() -> None:
    """With the VIP alone given, this is the whole file, whether the kernel tells of processes or not."""
    for process_events in (True, False):
        assert render(Config.parse(rendered()), PLACE, FILES, process_events=process_events) == DEFAULTS


@pytest.mark.parametrize(
    ("keepalived", "block", "line"),
    [
        ({"virtual_router_id": 77}, INSTANCE, "virtual_router_id 77"),
        ({"priority": 230}, INSTANCE, "priority 230"),
        ({"vrrp_version": 3, "advert_int": 0.29}, INSTANCE, "advert_int 0.29"),
        ({"vrrp_version": 3, "advert_int": 12.34}, INSTANCE, "advert_int 12.34"),
        ({"advert_int": 2}, INSTANCE, "advert_int 2"),
        ({"dont_track_primary": True}, INSTANCE, "dont_track_primary"),
        ({"preempt": False}, INSTANCE, "nopreempt"),
        ({"preempt": False}, CHECK, "weight 0"),
        ({"preempt_delay": 10}, INSTANCE, "preempt_delay 10"),
        ({"preempt_delay": 2.5}, INSTANCE, "preempt_delay 2.5"),
        ({"startup_delay": 3600}, GLOBAL, "vrrp_startup_delay 3600"),
        ({"vip": "10.0.0.10/24"}, f"{INSTANCE} / virtual_ipaddress", "10.0.0.10/24"),
        ({"vip": "2001:db8::10"}, f"{INSTANCE} / virtual_ipaddress", "2001:db8::10/128"),
        ({"vip": "2001:db8::10"}, INSTANCE, "version 3"),
        ({"healthcheck_command": "/bin/sh -c 'exit 0'"}, CHECK, "script \"/bin/sh -c 'exit 0'\""),
        ({"healthcheck_interval": 5}, CHECK, "interval 5"),
        ({"healthcheck_interval": 5}, CHECK, "timeout 5"),
        ({"healthcheck_timeout": 7}, CHECK, "timeout 7"),
        ({"healthcheck_rise": 2}, CHECK, "rise 2"),
        ({"healthcheck_fall": 3}, CHECK, "fall 3"),
        ({"healthcheck_weight": 0}, CHECK, "weight 0"),
        ({"healthcheck_name": "tcp80"}, "vrrp_instance haproxy_tcp80 / track_script", "tcp80"),
        ({"track_interfaces": ["eth1", "eth2"]}, f"{INSTANCE} / track_interface", "eth2 weight -188"),
        ({"track_interfaces": ["eth1"], "healthcheck_weight": 0}, f"{INSTANCE} / track_interface", "eth1 weight 0"),
        ({"garp_master_refresh": 0}, GLOBAL, "vrrp_garp_master_refresh 0"),
        ({"garp_master_delay": 2}, GLOBAL, "vrrp_garp_master_delay 2"),
        ({"extra_global_config": "vrrp_garp_interval 0.01"}, GLOBAL, "vrrp_garp_interval 0.01"),
        ({"extra_instance_config": 'notify "/bin/moved"\ndebug 1\n'}, INSTANCE, 'notify "/bin/moved"'),
        ({"extra_instance_config": 'notify "/bin/moved"\ndebug 1\n'}, INSTANCE, "debug 1"),
    ],
)
def test_a_property_has_its_line(keepalived: dict[str, Any], block: str, line: str) -> None:
    """Each property ends up as one setting of one block."""
    assert blocks(keepalived)[block].count(line) == 1


def test_a_block_in_added_text_is_a_block() -> None:
    """What extra_*_config nests stays nested, inside its own block."""
    text = "track_bfd {\n    upstream\n}\n"
    found = blocks({"extra_instance_config": text, "extra_global_config": text})
    assert (found[f"{INSTANCE} / track_bfd"], found[f"{GLOBAL} / track_bfd"]) == (["upstream"], ["upstream"])


@pytest.mark.parametrize("events", [True, False], ids=["the kernel tells", "the kernel does not tell"])
@pytest.mark.parametrize("weight", [-188, 0])
def test_a_process_is_tracked_either_way(events: bool, weight: int) -> None:
    """Where the kernel does not tell of its end, a check every second does; its weight is that of the health check."""
    found = blocks({"track_process": "haproxy", "healthcheck_weight": weight}, process_events=events)
    if events:
        assert found["vrrp_track_process track_process"] == ["process haproxy", f"weight {weight}"]
        assert found[f"{INSTANCE} / track_process"] == ["track_process"]
        assert found[f"{INSTANCE} / track_script"] == ["check_haproxy"]
        assert "vrrp_script process:gone" not in found
    else:
        check = ['script "killall -0 haproxy"', "interval 1", "timeout 1", f"weight {weight}", "init_fail"]
        assert found["vrrp_script process:gone"] == check
        assert found[f"{INSTANCE} / track_script"] == ["check_haproxy", "process:gone"]
        assert not {"vrrp_track_process track_process", f"{INSTANCE} / track_process"} & set(found)


def test_the_programs_of_all_checks_are_located() -> None:
    """keepalived gets each command as ``locate`` returns it."""
    config = Config.parse(rendered(keepalived={"track_process": "haproxy", "healthcheck_command": "nc -z 127.0.0.1 80"}))
    text = render(config, PLACE, FILES, process_events=False, locate=lambda command: f"/found/{command}")
    assert 'script "/found/nc -z 127.0.0.1 80"' in text
    assert 'script "/found/killall -0 haproxy"' in text


@pytest.mark.parametrize(("interfaces", "tracked"), [(["eth0"], None), (["eth0", "eth1"], ["eth1 weight -188"])])
def test_the_interface_of_the_adverts_is_not_tracked_twice(interfaces: list[str], tracked: list[str] | None) -> None:
    """keepalived tracks its own interface anyway: naming it again adds nothing."""
    assert blocks({"track_interfaces": interfaces}).get(f"{INSTANCE} / track_interface") == tracked


def test_further_vips_are_not_in_the_adverts() -> None:
    """virtual_ipaddress is what adverts list and peers compare; the rest is excluded from it, of either family."""
    found = blocks({"vips": ["10.0.0.11", "2001:db8::10/64"]})
    assert found[f"{INSTANCE} / virtual_ipaddress"] == ["10.0.0.10/32"]
    assert found[f"{INSTANCE} / virtual_ipaddress_excluded"] == ["10.0.0.11/32", "2001:db8::10/64"]


def test_unicast() -> None:
    """Adverts go from our address to every peer, as the place has them."""
    found = blocks({"unicast": True}, replace(PLACE, peers=(ip_address(PEER), ip_address("10.0.0.3"))))
    assert f"unicast_src_ip {OWN}" in found[INSTANCE]
    assert found[f"{INSTANCE} / unicast_peer"] == [f"{PEER} min_ttl 255", "10.0.0.3 min_ttl 255"]
    assert not [line for line in found[INSTANCE] if line.startswith("mcast_src_ip")]


def test_who_tells_clients_where_the_vip_is_when_two_masters_meet() -> None:
    """The watcher, once open connections are left with the one that yields. keepalived at once, where there are no rules that could hand
    them on, and where that one does not serve who still comes to it: with a virtual MAC."""
    line = "vrrp_garp_lower_prio_repeat 0"
    assert line in blocks({}, filtered=True)[GLOBAL]
    assert line not in blocks({})[GLOBAL]
    assert line not in blocks({"use_vmac": True}, filtered=True)[GLOBAL]


def test_unicast_over_routers() -> None:
    """How far a peer may be keepalived sees to where our rules do not, which drop what is too far before it gets there."""
    place, given = replace(PLACE, peers=(ip_address(PEER),)), {"unicast": True, "unicast_hops": 2}
    assert blocks(given, place)[f"{INSTANCE} / unicast_peer"] == [f"{PEER} min_ttl 253"]
    assert blocks(given, place, filtered=True)[f"{INSTANCE} / unicast_peer"] == [PEER]
    assert "unicast_ttl 255" in blocks(given, place)[INSTANCE]


@pytest.mark.parametrize(("keepalived", "lines"), [({}, []), ({"mcast_src_ip": "10.0.0.0/24"}, [f"mcast_src_ip {OWN}"])])
def test_multicast(keepalived: dict[str, Any], lines: list[str]) -> None:
    """The source is given where a property names it: as the address that the place has found, never as the network."""
    assert [line for line in blocks(keepalived)[INSTANCE] if "src_ip" in line] == lines


def test_a_virtual_mac() -> None:
    """The VIPs get an interface of their own; adverts stay on the real one."""
    lines = blocks({"use_vmac": True, "virtual_router_id": 7}, replace(PLACE, vip_interface="vrrp.7"))[INSTANCE]
    assert {"use_vmac vrrp.7", "vmac_xmit_base", "interface eth0"} <= set(lines)


def test_a_password() -> None:
    """auth_pass is version 2's simple password."""
    assert blocks({"auth_pass": "cf-lb-1"})[f"{INSTANCE} / authentication"] == ["auth_type PASS", "auth_pass cf-lb-1"]


@pytest.mark.parametrize(
    ("more", "server", "timeout"),
    [
        ({}, "mail.example.org 2525", 30),
        ({"smtp_connect_timeout": 5}, "mail.example.org 2525", 5),
        ({"smtp_server": "[2001:db8::25]:587"}, "2001:db8::25 587", 30),
    ],
)
def test_mail(more: dict[str, Any], server: str, timeout: int) -> None:
    """Every transition of the instance is mailed to all recipients."""
    found = blocks(MAIL | more)
    assert found[f"{GLOBAL} / notification_email"] == MAIL["notification_email"]
    settings = ["notification_email_from keepalived@example.org", f"smtp_server {server}", f"smtp_connect_timeout {timeout}"]
    assert found[GLOBAL][-3:] == settings
    assert "smtp_alert" in found[INSTANCE]


def test_without_recipients_there_is_no_mail() -> None:
    """A sender and a server alone do nothing."""
    assert blocks({"notification_email_from": "keepalived@example.org", "smtp_server": "mail", "notification_email": []}) == blocks({})
