"""keepalived.conf: what each property becomes. That keepalived accepts it is shown in tests/lab."""

from pathlib import Path
from typing import Any

import pytest

from unit.fakes import rendered
from vrrp_drain.config import Config
from vrrp_drain.keepalived_conf import render

BAND_FILE = Path("/run/keepalived/band")


def blocks(keepalived: dict[str, Any]) -> dict[str, list[str]]:
    """Return the rendered file as a list of settings for every block, under the block's first line."""
    found: dict[str, list[str]] = {}
    path: list[str] = []
    for line in render(Config.parse(rendered(keepalived=keepalived)), "eth0", BAND_FILE).splitlines():
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


def test_the_file_of_the_defaults() -> None:
    """With the VIP alone given, this is the whole file."""
    assert blocks({}) == {
        "global_defs": [
            *("router_id haproxy/0", "script_user root", "enable_script_security"),
            *("vrrp_garp_master_refresh 60", "vrrp_garp_master_delay 5"),
        ],
        "vrrp_script check_haproxy": [
            *('script "killall -0 haproxy"', "interval 2", "timeout 2", "rise 1", "fall 1", "weight -100", "init_fail"),
        ],
        "track_file vrrp_drain": [f'file "{BAND_FILE}"', "weight 1"],
        "vrrp_instance haproxy_check_haproxy": [
            *("state BACKUP", "interface eth0", "virtual_router_id 1", "version 2", "priority 254", "advert_int 1"),
        ],
        "vrrp_instance haproxy_check_haproxy / virtual_ipaddress": ["10.0.0.10/32"],
        "vrrp_instance haproxy_check_haproxy / track_script": ["check_haproxy"],
        "vrrp_instance haproxy_check_haproxy / track_file": ["vrrp_drain"],
    }


@pytest.mark.parametrize(
    ("keepalived", "block", "line"),
    [
        ({"virtual_router_id": 77}, "vrrp_instance haproxy_check_haproxy", "virtual_router_id 77"),
        ({"priority": 230}, "vrrp_instance haproxy_check_haproxy", "priority 230"),
        ({"vrrp_version": 3, "advert_int": 0.29}, "vrrp_instance haproxy_check_haproxy", "advert_int 0.29"),
        ({"vrrp_version": 3, "advert_int": 12.34}, "vrrp_instance haproxy_check_haproxy", "advert_int 12.34"),
        ({"advert_int": 2}, "vrrp_instance haproxy_check_haproxy", "advert_int 2"),
        ({"dont_track_primary": True}, "vrrp_instance haproxy_check_haproxy", "dont_track_primary"),
        ({"vip": "10.0.0.10/24"}, "vrrp_instance haproxy_check_haproxy / virtual_ipaddress", "10.0.0.10/24"),
        ({"vip": "2001:db8::10"}, "vrrp_instance haproxy_check_haproxy / virtual_ipaddress", "2001:db8::10/128"),
        ({"vip": "2001:db8::10"}, "vrrp_instance haproxy_check_haproxy", "version 3"),
        ({"healthcheck_command": "/bin/sh -c 'exit 0'"}, "vrrp_script check_haproxy", "script \"/bin/sh -c 'exit 0'\""),
        ({"healthcheck_interval": 5}, "vrrp_script check_haproxy", "interval 5"),
        ({"healthcheck_interval": 5}, "vrrp_script check_haproxy", "timeout 5"),
        ({"healthcheck_timeout": 7}, "vrrp_script check_haproxy", "timeout 7"),
        ({"healthcheck_rise": 2}, "vrrp_script check_haproxy", "rise 2"),
        ({"healthcheck_fall": 3}, "vrrp_script check_haproxy", "fall 3"),
        ({"healthcheck_weight": 0}, "vrrp_script check_haproxy", "weight 0"),
        ({"garp_master_refresh": 0}, "global_defs", "vrrp_garp_master_refresh 0"),
        ({"garp_master_delay": 2}, "global_defs", "vrrp_garp_master_delay 2"),
        ({"healthcheck_name": "tcp80"}, "vrrp_instance haproxy_tcp80 / track_script", "tcp80"),
    ],
)
def test_a_property_has_its_line(keepalived: dict[str, Any], block: str, line: str) -> None:
    """Each property ends up as one setting of one block."""
    assert blocks(keepalived)[block].count(line) == 1
