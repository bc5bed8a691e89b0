"""Values that several tests look at."""

from dataclasses import replace

from unit.support.fakes import PEER, PEER_MAC, VIP
from vrrp_drain.commands.status_report import Status
from vrrp_drain.notify.notice import Cause, Kind, Notice
from vrrp_drain.vrrp.state import VrrpState

MOVED = Notice(
    1795406706.789, "haproxy/0", "10.0.0.10", Kind.STATE, "backup", "master", Cause.PEER_LOST, "nobody adverts", "10.0.0.1", 254, 0.5
)
BACKUP = Status(
    instance="haproxy/0",
    vip=VIP,
    interface="eth0",
    vip_interface="eth0",
    virtual_router_id=7,
    vip_here=False,
    unserved=[],
    state=VrrpState.BACKUP,
    since=86401.0,
    why="state master -> backup, drain: this instance was told to leave",
    keepalived_pid=4711,
    keepalived_detail="",
    band="draining",
    band_since=86400.0,
    asked_by="demote",
    asked_at=86400.0,
    taken_out_by=None,
    taken_out_at=None,
    let_go_by=None,
    let_go_until=None,
    waits_for="vrrpctl promote",
    priority=99,
    haproxy_healthy=True,
    haproxy_detail="",
    haproxy_saturated="",
    master=PEER,
    master_priority=253,
    answering=[PEER_MAC],
    successors=[PEER],
    peers_away=[],
    peers_ended=[],
    connections=17,
    handoff=True,
    handoff_transport="direct",
    handed_off_to=[],
    bound_to_vip=[],
    watcher_pid=4712,
    conditions=[],
    hindrances=[],
    obstacles=[],
)
MASTER = replace(
    BACKUP,
    vip_here=True,
    unserved=[],
    state=VrrpState.MASTER,
    band="active",
    band_since=None,
    priority=254,
    master=None,
    master_priority=None,
    answering=[],
)
