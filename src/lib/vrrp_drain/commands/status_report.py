"""How this instance stands, as `vrrpctl status` says it: in plain words for people, and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

from vrrp_drain.config.model import Transport
from vrrp_drain.linux import listeners
from vrrp_drain.runtime.plain import plain, utc
from vrrp_drain.vrrp.bands import describe
from vrrp_drain.vrrp.state import VrrpState

_WORDS = (
    "`pre-start`, `drain` (or pre-stop), `last drain` (BOSH stops or deletes it), `leave`, `demote`, `promote` (or post-start), `reboot`, "
    "`the end of keepalived` (the watcher saw it), or `unknown` (it cannot be read)"
)


@dataclass(frozen=True)
class Row:
    """One line for people; ``bad`` where somebody should do something about it."""

    label: str
    text: str
    bad: bool = False


@dataclass(frozen=True)
class Status:
    """One look. docs/operate.md has the table of these fields."""

    instance: Annotated[str, "this instance, as `haproxy/0`"]
    vip: Annotated[str, "the address of `keepalived.vip`"]
    interface: Annotated[str, "the interface that carries the adverts"]
    vip_interface: Annotated[str, "the interface that carries the VIP: another one, `vrrp.VRID`, with `keepalived.use_vmac` alone"]
    virtual_router_id: Annotated[int, "`keepalived.virtual_router_id`"]
    vip_here: Annotated[bool, "whether the VIP is on that interface, be it stale"]
    unserved: Annotated[
        list[str],
        "VIPs that no client reaches when this instance is MASTER, or now that it is: on no interface, or not used by the kernel; and why",
    ]
    state: Annotated[VrrpState, "`master`, `backup`, or `stopped` (keepalived does not run, or is stopped)"]
    since: Annotated[float | None, "when the VIP last moved as the watcher saw it, in seconds since the epoch; null where it saw no move"]
    why: Annotated[str, "why it moved then: that line of the history; empty where there is none"]
    keepalived_pid: Annotated[int | None, "keepalived's pid; null where it does not run, or is stopped"]
    keepalived_detail: Annotated[str, "why it speaks for no VIP, as `does not run`; empty where it runs"]
    band: Annotated[str, "`active` or `draining` (demoted); what is wrong with the band's file where it cannot be read"]
    band_since: Annotated[float | None, "when the band was written, in seconds since the epoch"]
    asked_by: Annotated[str | None, f"who last said what this instance is to be: {_WORDS}; null where nobody has"]
    asked_at: Annotated[float | None, "when that was, in seconds since the epoch"]
    taken_out_by: Annotated[
        str | None, "who said `vrrpctl demote --until-promoted`; null where nobody has since the last `vrrpctl promote`"
    ]
    taken_out_at: Annotated[float | None, "when that was, in seconds since the epoch"]
    let_go_by: Annotated[str | None, "who said `vrrpctl let-go`, as long as it stands; null otherwise"]
    let_go_until: Annotated[float | None, "until when it stands, in seconds since the epoch"]
    waits_for: Annotated[str, "while the band is `draining`: what has to happen before this instance takes part again; empty otherwise"]
    priority: Annotated[int, "what this instance adverts, or would as MASTER, as far as its band and the watcher decide it"]
    haproxy_healthy: Annotated[bool, "whether haproxy answers `haproxy_asked`"]
    haproxy_detail: Annotated[str, "what is wrong with it; empty where nothing is"]
    haproxy_saturated: Annotated[str, "why it takes no new connection although it serves whom it has; empty where it does"]
    master: Annotated[str | None, "address of the peer that adverts; null where none does: while this instance is MASTER, none should"]
    master_priority: Annotated[int | None, "the priority that the peer adverts"]
    answering: Annotated[list[str], "MACs of others that answer for the VIP; while this instance is MASTER, there should be none"]
    successors: Annotated[
        list[str] | None, "peers that take part and whose haproxy answers; null where it cannot be asked from here, as through a socket"
    ]
    peers_away: Annotated[list[str], "peers that said that they are being stopped or started, and will take part again"]
    peers_ended: Annotated[list[str], "peers that said that BOSH stops or deletes them, or that an operator demoted them"]
    connections: Annotated[int | None, "TCP connections to the VIPs that end here; null where the kernel does not tell"]
    handoff: Annotated[bool, "whether the rules that hand open connections over are installed"]
    handoff_transport: Annotated[str, "how their packets get to whoever serves them: `direct` or `tunnel` (`vrrp_drain.handoff_transport`)"]
    handed_off_to: Annotated[list[str], "peers that get the packets of connections that they served before"]
    bound_to_vip: Annotated[list[str], "listeners on a VIP itself whose connections no mark tells, as `10.0.0.10:80`: a move cuts them"]
    watcher_pid: Annotated[int | None, "the watcher's pid; null where it does not run"]
    conditions: Annotated[list[str], "what the watcher has found wrong and not over: the sentences of the notices"]
    hindrances: Annotated[
        list[str], "what the machine keeps from a smooth move, such as a kernel that lacks a part, and the mend: doctor's quick checks"
    ]
    obstacles: Annotated[list[str], "what stands against a smooth drain of this instance now"]
    haproxy_asked: Annotated[
        str,
        "what haproxy is asked, as `tcp://127.0.0.1:443`: `vrrp_drain.health_check`, or where it listens; empty where that is not known",
    ] = ""

    def as_json(self) -> dict[str, object]:
        """Return the fields under their names, and whether a drain would succeed now."""
        return {**asdict(self), "drainable": not self.obstacles}

    def lines(self) -> list[str]:
        """Return it in plain words."""
        return [f"{row.label:<12}{plain(row.text)}" for row in self.rows()]

    def rows(self) -> Iterator[Row]:
        """Yield what the lines are made of."""
        yield Row("instance", self.instance)
        yield Row("VIP", self._holder())
        if self.since is not None:
            yield Row("since", f"{utc(self.since)}: {self.why}")
        since = f" since {utc(self.band_since)}" if self.band_since else ""
        yield Row("band", f"{self.band}{since}, priority {self.priority}, VRID {self.virtual_router_id}")
        if self.waits_for:
            when = f" at {utc(self.asked_at)}" if self.asked_at else ""
            yield Row("waits for", f"{self.waits_for} (draining since {self.asked_by}{when})")
        if self.let_go_by:
            until = f" until {utc(self.let_go_until)}" if self.let_go_until else ""
            yield Row("let go", f"BOSH may stop this instance without a successor{until}, says {self.let_go_by} (vrrpctl let-go)", bad=True)
        yield Row("keepalived", self.keepalived_detail or f"runs (pid {self.keepalived_pid})")
        yield Row("haproxy", self.haproxy_saturated or self.haproxy_detail or f"answers{self._asked()}")
        if self.connections is not None:
            yield Row("connections", f"{self.connections} to the VIP end here")
        if self.handed_off_to:
            yield Row("handoff", f"open connections go to {', '.join(self.handed_off_to)}, which served them before")
        else:
            installed = "installed" if self.handoff_transport == Transport.DIRECT else f"installed, through a {self.handoff_transport}"
            yield Row("handoff", installed if self.handoff else "not installed: a move cuts the connections that are open")
        alone = "does not run: keepalived's own check alone sees to haproxy"
        yield Row("watcher", f"runs (pid {self.watcher_pid})" if self.watcher_pid else alone)
        for each in self.conditions:
            yield Row("condition", each, bad=True)
        if self.answering and self.vip_here:
            yield Row("warning", f"{', '.join(self.answering)} also answers for {self.vip}: clients reach one of two machines", bad=True)
        for each in self.unserved:
            yield Row("warning", f"{each}: clients of it get no answer from here (vrrpctl doctor has the mend)", bad=True)
        if self.bound_to_vip:
            yield Row("warning", listeners.advice(self.bound_to_vip), bad=True)
        for each in self.hindrances:
            yield Row("warning", each, bad=True)
        for each in self.obstacles:
            yield Row("drain", f"would not be smooth: {each}", bad=True)
        if self.peers_away:
            yield Row("away", f"{', '.join(self.peers_away)}: being stopped or started, as they said")
        if self.peers_ended:
            yield Row(
                "taken out", f"{', '.join(self.peers_ended)}: stopped, deleted or demoted, as they said, until somebody wants them back"
            )
        if not self.obstacles:
            yield Row("drain", f"would succeed now: {self._successors()}")

    def _holder(self) -> str:
        if self.vip_here and self.keepalived_pid:
            return f"{self.vip} is here, on {self.vip_interface}: this instance is MASTER"
        if self.vip_here:
            why = f"but keepalived {self.keepalived_detail}: it is stale; vrrpctl demote clears it safely"
            return f"{self.vip} is on {self.vip_interface}, {why}"
        if self.master:
            return f"{self.vip} is at {self.master}, which adverts priority {self.master_priority} ({describe(self.master_priority or 0)})"
        return f"{self.vip} is not here and nobody adverts it: clients are without it, or adverts do not reach this instance"

    def _asked(self) -> str:
        return f" at {self.haproxy_asked}" if self.haproxy_asked else ""

    def _successors(self) -> str:
        if not self.vip_here:
            return "this instance is not MASTER"
        if self.successors is None:
            return f"whether the peers are healthy cannot be asked from here ({self.haproxy_asked or 'nobody knows where haproxy listens'})"
        return f"haproxy answers at {', '.join(self.successors)}"
