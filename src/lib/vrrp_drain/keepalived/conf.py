"""keepalived.conf, written from the configuration (keepalived.conf(5), 2.2 and later). Pure."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from vrrp_drain.config.model import Config
from vrrp_drain.runtime.ip import TTL, IPInterface

from .attachment import Attachment

_INDENT = "    "
_PROCESS_CHECK = "process:gone"  # no name that an operator may give healthcheck_name


def render(
    config: Config,
    attachment: Attachment,
    track_files: Mapping[str, Path],
    *,
    process_events: bool,
    filtered: bool = False,
    locate: Callable[[str], str] = str,
) -> str:
    """Return the text of keepalived.conf for this instance.

    The priority is the base; the weights of what is tracked and the values of ``track_files`` (name to path) move it between the
    bands. The check starts as failed, so that a node which has just booted does not take the VIP before its haproxy answers.
    ``process_events`` tells whether the kernel reports the end of a process; otherwise track_process becomes a check.
    ``filtered`` tells whether our rules keep out who is not of the group or too far away; otherwise keepalived does, of unicast, as well as
    it can: it knows the peers' addresses of now alone, so one that is given another address has to wait until this instance is updated.
    ``locate`` finds the program of a command: keepalived runs none whose path is not safe.
    """
    blocks = [_global(config, filtered=filtered), _check(config, locate)]
    if config.keepalived.track_process:
        blocks.append(_process(config, process_events, locate))
    blocks += [_block(f"track_file {name}", [f'file "{path}"', "weight 1"]) for name, path in track_files.items()]
    blocks.append(_instance(config, attachment, track_files, process_events=process_events, filtered=filtered))
    return "# Written by vrrpctl at every start of keepalived: changes here are lost.\n" + "\n\n".join(blocks) + "\n"


def _global(config: Config, *, filtered: bool) -> str:
    ours = config.keepalived
    lines = [
        f"router_id {config.me}",
        "script_user root",
        "enable_script_security",
        "vrrp_lower_prio_no_advert",  # nobody makes us send by sending: an advert and gratuitous ARP for each of a lower priority
        f"vrrp_garp_master_refresh {ours.garp_master_refresh}",
        f"vrrp_garp_master_delay {ours.garp_master_delay}",
    ]
    # Two MASTERs meet: the watcher tells clients where the VIP is, once open connections are left with the other one, which serves them
    # until then. With a virtual MAC it does not.
    if filtered and not ours.use_vmac:
        lines.append("vrrp_garp_lower_prio_repeat 0")
    if ours.startup_delay:
        lines.append(f"vrrp_startup_delay {ours.startup_delay:g}")
    if ours.mail:
        host, port = ours.mail.server
        lines += [_block("notification_email", ours.mail.recipients), f"notification_email_from {ours.mail.sender}"]
        lines += [f"smtp_server {host} {port}", f"smtp_connect_timeout {ours.mail.timeout}"]
    return _block("global_defs", [*lines, *ours.extra_global_config.splitlines()])


def _check(config: Config, locate: Callable[[str], str]) -> str:
    ours = config.keepalived
    lines = [
        f'script "{locate(ours.healthcheck_command)}"',
        f"interval {ours.healthcheck_interval}",
        f"timeout {ours.healthcheck_timeout}",
        f"rise {ours.healthcheck_rise}",
        f"fall {ours.healthcheck_fall}",
        f"weight {ours.unhealthy_weight}",
        "init_fail",
    ]
    return _block(f"vrrp_script {ours.healthcheck_name}", lines)


def _process(config: Config, process_events: bool, locate: Callable[[str], str]) -> str:
    """What watches the process: the kernel, or a check every second."""
    ours = config.keepalived
    if process_events:
        return _block("vrrp_track_process track_process", [f"process {ours.track_process}", f"weight {ours.unhealthy_weight}"])
    command = locate(f"killall -0 {ours.track_process}")
    return _block(
        f"vrrp_script {_PROCESS_CHECK}", [f'script "{command}"', "interval 1", "timeout 1", f"weight {ours.unhealthy_weight}", "init_fail"]
    )


def _instance(config: Config, attachment: Attachment, track_files: Iterable[str], *, process_events: bool, filtered: bool) -> str:
    ours = config.keepalived
    checks = [ours.healthcheck_name]
    if ours.track_process and not process_events:
        checks.append(_PROCESS_CHECK)
    lines = ["state BACKUP", f"interface {attachment.interface}"]
    lines += _flags(dont_track_primary=ours.dont_track_primary, nopreempt=not ours.preempt, smtp_alert=ours.mail is not None)
    lines += [f"virtual_router_id {ours.virtual_router_id}", f"version {ours.vrrp_version}"]
    lines += [f"priority {ours.priority}", f"advert_int {ours.advert_int:g}"]
    if ours.preempt_delay:
        lines.append(f"preempt_delay {ours.preempt_delay:g}")
    if ours.use_vmac:
        lines += [f"use_vmac {attachment.vip_interface}", "vmac_xmit_base"]
    if attachment.peers:
        near = "" if filtered else f" min_ttl {TTL - ours.unicast_hops}"
        peers = _block("unicast_peer", (f"{peer}{near}" for peer in attachment.peers))
        lines += [f"unicast_src_ip {attachment.source}", f"unicast_ttl {TTL}", peers, *_flags(check_unicast_src=not filtered)]
    elif ours.source is not None:
        lines.append(f"mcast_src_ip {attachment.source}")
    if ours.auth_pass is not None:
        lines.append(_block("authentication", ["auth_type PASS", f"auth_pass {ours.auth_pass}"]))
    lines.append(_block("virtual_ipaddress", [_address(ours.vip)]))
    if ours.vips:  # not in the adverts, whose receivers may refuse a list that is not theirs
        lines.append(_block("virtual_ipaddress_excluded", map(_address, ours.vips)))
    lines.append(_block("track_script", checks))
    if ours.track_process and process_events:
        lines.append(_block("track_process", ["track_process"]))
    if others := [name for name in ours.track_interfaces if name != attachment.interface]:  # its own keepalived tracks anyway
        lines.append(_block("track_interface", [f"{name} weight {ours.unhealthy_weight}" for name in others]))
    lines.append(_block("track_file", track_files))
    return _block(f"vrrp_instance {config.me.name}_{ours.healthcheck_name}", [*lines, *ours.extra_instance_config.splitlines()])


def _flags(**flags: bool) -> list[str]:
    return [name for name, is_set in flags.items() if is_set]


def _address(vip: IPInterface) -> str:
    return vip.with_prefixlen


def _block(name: str, lines: Iterable[str]) -> str:
    inside = "\n".join(lines)
    return f"{name} {{\n" + "".join(f"{_INDENT}{line}\n" for line in inside.splitlines()) + "}"
