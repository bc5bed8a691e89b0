"""What this instance knows of the VIP right now, for people and as JSON. Changes nothing and takes no lock."""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass

from . import haproxy, listeners
from .bands import Band, describe
from .errors import SystemFault
from .handoff import Situation
from .listener import adverts
from .neighbour import inquire
from .netlink import Netlink
from .node import Node

_LEAST_SECONDS = 0.4
_ANSWER_SECONDS = 0.2  # everybody who has the VIP gets this long to say so


@dataclass(frozen=True)
class Status:
    """One look; ``band_since`` is in seconds since the epoch, ``answering`` are MACs that are not ours."""

    instance: str
    vip: str
    interface: str
    virtual_router_id: int
    vip_here: bool
    keepalived_pid: int | None
    band: str
    band_since: float | None
    priority: int
    haproxy_healthy: bool
    haproxy_detail: str
    master: str | None
    master_priority: int | None
    answering: list[str]
    handoff: bool
    handed_off_to: list[str]
    bound_to_vip: list[str]

    def as_json(self) -> dict[str, object]:
        """Return the fields under their names; README.md lists them."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it in plain words."""
        if self.vip_here and self.keepalived_pid:
            holder = f"{self.vip} is here, on {self.interface}: this instance is MASTER"
        elif self.vip_here:
            holder = f"{self.vip} is on {self.interface}, but keepalived does not run: it is stale; vrrpctl demote clears it safely"
        elif self.master:
            holder = (
                f"{self.vip} is at {self.master}, which adverts priority {self.master_priority} ({describe(self.master_priority or 0)})"
            )
        else:
            holder = f"{self.vip} is not here and nobody adverts it: clients are without it, or adverts do not reach this instance"
        since = time.strftime(" since %Y-%m-%d %H:%M:%S UTC", time.gmtime(self.band_since)) if self.band_since else ""
        lines = [
            f"instance    {self.instance}",
            f"VIP         {holder}",
            f"band        {self.band}{since}, priority {self.priority}, VRID {self.virtual_router_id}",
            f"keepalived  {f'runs (pid {self.keepalived_pid})' if self.keepalived_pid else 'does not run'}",
            f"haproxy     {'answers' if self.haproxy_healthy else self.haproxy_detail}",
        ]
        if self.handed_off_to:
            lines.append(f"handoff     open connections go to {', '.join(self.handed_off_to)}, which served them before")
        elif not self.handoff:
            lines.append("handoff     not installed: a move cuts the connections that are open")
        if self.answering and self.vip_here:
            lines.append(f"warning     {', '.join(self.answering)} also answers for {self.vip}: clients reach one of two machines")
        if self.bound_to_vip:
            lines.append(f"warning     {listeners.advice(self.bound_to_vip)}")
        return lines


def look(node: Node, netlink: Netlink) -> Status:
    """Listen for one advert interval, ask who answers for the VIP, and return what was found."""
    detail = haproxy.problem(node.config.drain.health_check)
    try:
        band, band_name = node.lever.read() or Band.ACTIVE, ""
    except SystemFault as error:
        band, band_name = Band.ACTIVE, str(error)
    vip_here = node.vip_here()
    master, master_priority, answering = _survey(node, netlink)
    try:
        situation = node.handoff.state()
    except SystemFault:
        situation = Situation()
    try:
        bound = node.bound_to_vip()
    except SystemFault:
        bound = []
    return Status(
        instance=str(node.config.me),
        vip=str(node.config.vip),
        interface=node.interface,
        virtual_router_id=node.config.keepalived.virtual_router_id,
        vip_here=vip_here,
        keepalived_pid=node.keepalived_pid(),
        band=band_name or str(band),
        band_since=node.lever.changed_at(),
        priority=node.config.keepalived.lowered if band is Band.DRAINING else node.config.keepalived.priority,
        haproxy_healthy=not detail,
        haproxy_detail=detail,
        master=master,
        master_priority=master_priority,
        answering=answering,
        handoff=bool(situation.families),
        handed_off_to=sorted({str(each.peer) for each in situation.armed}),
        bound_to_vip=bound,
    )


def _survey(node: Node, netlink: Netlink) -> tuple[str | None, int | None, list[str]]:
    """Return who adverts our virtual router, with which priority, and which other MACs answer for the VIP."""
    ours, vip = node.config.keepalived, node.config.vip
    own = netlink.addresses()
    inquiry = inquire(node.interface, netlink.mac(node.interface), vip)
    answers_until = time.monotonic() + _ANSWER_SECONDS
    try:
        with suppress(OSError):  # the interface is down: nobody can answer
            inquiry.ask()
        heard = adverts(node.interface, vip.version, max(_LEAST_SECONDS, 1.1 * ours.advert_int))
        from_peers = (
            (packet.source, advert.priority)
            for advert, packet in heard
            if (advert.vrid, advert.version) == (ours.virtual_router_id, ours.vrrp_version) and packet.source not in own
        )
        master, priority = next(from_peers, (None, None))
        time.sleep(max(0.0, answers_until - time.monotonic()))
        return str(master) if master else None, priority, sorted({*inquiry.answers()} - netlink.macs())
    finally:
        inquiry.close()
