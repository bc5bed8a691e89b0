"""keepalived.conf, written from the configuration (keepalived.conf(5), 2.2 and later). Pure."""

from pathlib import Path

from .config import Config


def render(config: Config, interface: str, band_file: Path) -> str:
    """Return the text of keepalived.conf for this instance on ``interface``.

    The priority is the base; the check's weight and the track file's value move it between the bands. The check
    starts as failed, so that a node which has just booted does not take the VIP before its haproxy answers.
    """
    ours = config.keepalived
    flags = "    dont_track_primary\n" if ours.dont_track_primary else ""
    return f"""\
# Written by vrrpctl at every start of keepalived: changes here are lost.
global_defs {{
    router_id {config.me}
    script_user root
    enable_script_security
    vrrp_garp_master_refresh {ours.garp_master_refresh}
    vrrp_garp_master_delay {ours.garp_master_delay}
}}

vrrp_script {ours.healthcheck_name} {{
    script "{ours.healthcheck_command}"
    interval {ours.healthcheck_interval}
    timeout {ours.healthcheck_timeout}
    rise {ours.healthcheck_rise}
    fall {ours.healthcheck_fall}
    weight {ours.healthcheck_weight}
    init_fail
}}

track_file vrrp_drain {{
    file "{band_file}"
    weight 1
}}

vrrp_instance {config.me.name}_{ours.healthcheck_name} {{
    state BACKUP
    interface {interface}
{flags}    virtual_router_id {ours.virtual_router_id}
    version {ours.vrrp_version}
    priority {ours.priority}
    advert_int {ours.advert_int:g}
    virtual_ipaddress {{
        {ours.vip.with_prefixlen}
    }}
    track_script {{
        {ours.healthcheck_name}
    }}
    track_file {{
        vrrp_drain
    }}
}}
"""
