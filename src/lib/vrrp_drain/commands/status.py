"""What this instance knows of the VIP right now, for people and as JSON. Changes nothing and takes no lock."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import click

from vrrp_drain.doctor import survey
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handover.prospects import Outlook, Prospects
from vrrp_drain.handover.services import Services
from vrrp_drain.linux import listeners
from vrrp_drain.notify.history import History
from vrrp_drain.notify.notice import CONDITIONS, Cause, Kind, Notice, Switch
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.boot import Boot
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.pid_file import PidFile
from vrrp_drain.runtime.plain import plain
from vrrp_drain.runtime.standing_order import StandingOrder, utc
from vrrp_drain.vrrp.bands import Band, describe
from vrrp_drain.vrrp.state import VrrpState
from vrrp_drain.watcher import comeback

from .session import Session

_STORY = 500  # notices of the history that are looked through
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
    unserved: Annotated[list[str], "VIPs that are on no interface here when this instance is MASTER, or now that it is, and why"]
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
    handed_off_to: Annotated[list[str], "peers that get the packets of connections that they served before"]
    bound_to_vip: Annotated[list[str], "listeners on a VIP itself, as `10.0.0.10:80`: a move cuts their connections"]
    watcher_pid: Annotated[int | None, "the watcher's pid; null where it does not run"]
    conditions: Annotated[list[str], "what the watcher has found wrong and not over: the sentences of the notices"]
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
            yield Row("handoff", "installed" if self.handoff else "not installed: a move cuts the connections that are open")
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


def look(services: Services) -> Status:
    """Listen for one advert interval, ask who answers for the VIP and whose haproxy answers, and return what was found."""
    instance = services.instance
    drain = instance.config.drain
    here = services.machine.haproxy.health(drain)
    band_name = ""
    try:
        band, unhealthy = services.control.read() or Band.ACTIVE, services.control.unhealthy()
    except SystemFault as error:
        band, unhealthy, band_name = Band.ACTIVE, False, str(error)
    vip_here, pid = services.vip.is_here(), services.vip.keepalived()
    found = survey.look(services)
    master = next(iter(found.masters), None)
    try:
        situation = services.machine.rules.state()
    except SystemFault:
        situation = Situation()
    boot, watcher = Boot(instance.paths.drain_run), PidFile.holder(instance.paths.watcher_pid_file)
    stage = boot.stage()
    stay_out, let_go = (each(instance.paths).read() for each in (StandingOrder.stay_out, StandingOrder.let_go))
    outlook = Prospects(instance, services.membership).look()
    address_of = {str(each): str(each.address) for each in instance.config.peers}
    healthy = [address_of.get(each, each) for each in outlook.healthy]
    answering = sorted(found.answers[instance.vip])
    story = History(instance.paths.history).last(_STORY)
    why = _why(story)
    return Status(
        instance=instance.name,
        vip=str(instance.vip),
        interface=instance.interface,
        vip_interface=instance.attachment.vip_interface,
        virtual_router_id=instance.config.keepalived.virtual_router_id,
        vip_here=vip_here,
        unserved=[str(each) for each in services.vip.unserved()],
        state=VrrpState.of(keepalived_runs=pid is not None, vip_here=vip_here),
        since=why.at if why else None,
        why=why.line() if why else "",
        keepalived_pid=pid,
        keepalived_detail=services.vip.problem(),
        band=band_name or str(band),
        band_since=services.control.changed_at(),
        asked_by=stage.value if stage else None,
        asked_at=boot.entered_at(),
        taken_out_by=stay_out.who if stay_out else None,
        taken_out_at=stay_out.at if stay_out else None,
        let_go_by=let_go.who if let_go else None,
        let_go_until=let_go.until if let_go else None,
        waits_for=""
        if band is not Band.DRAINING
        else comeback.waits_for(instance, stage, problem=here.problem, running=pid is not None, watched=watcher is not None),
        priority=instance.priority(band, unhealthy=unhealthy),
        haproxy_healthy=not here.problem,
        haproxy_detail=here.problem,
        haproxy_saturated=here.full,
        master=str(master.source) if master else None,
        master_priority=master.advert.priority if master else None,
        answering=answering,
        successors=healthy if outlook.asked else None,
        peers_away=[name for name, _ in outlook.away],
        peers_ended=[*outlook.ended],
        connections=_connections(services),
        handoff=bool(situation.families),
        handed_off_to=sorted({str(each.peer) for each in situation.armed}),
        bound_to_vip=_bound(services),
        watcher_pid=watcher,
        conditions=_conditions(story),
        obstacles=[
            *_obstacles(services, here.asked, vip_here=vip_here, running=pid is not None, master=master is not None, outlook=outlook)
        ],
        haproxy_asked=here.asked,
    )


def _why(story: Sequence[Notice]) -> Notice | None:
    """Return the last notice of who has the VIP."""
    return next((each for each in reversed(story) if each.kind in (Kind.STATE, Kind.MASTER_MOVED)), None)


def _conditions(story: Sequence[Notice]) -> list[str]:
    """Return the reasons of the conditions that began and are not over, as far as the watcher that began last knows."""
    began = max((n for n, each in enumerate(story) if each.kind is Kind.WATCHER and each.cause is not Cause.DAMPED), default=0)
    last = {each.kind: each for each in story[began:] if each.kind in CONDITIONS}
    return [each.reason for each in last.values() if each.state == Switch.ON]


def _obstacles(services: Services, asked: str, *, vip_here: bool, running: bool, master: bool, outlook: Outlook) -> Iterator[str]:
    """Yield what stands against a smooth drain of this instance; ``asked`` is what haproxy is asked here."""
    instance = services.instance
    if not running:
        yield f"keepalived {services.vip.problem()} here"
    if not instance.config.peers:
        yield "this instance has no peer, so clients are without the VIP while it is stopped"
    elif vip_here and not outlook.able:
        yield f"no peer can take {instance.vip} now: {outlook} (asked as here: {asked or 'where it listened last'})"
    if lacks := _lacks(services):
        yield f"{', '.join(lacks)}: taken away by somebody; the watcher puts it back within a second, without one pre-start does"
    if not vip_here and not master:
        yield f"nobody adverts {instance.vip}"


def _lacks(services: Services) -> list[str]:
    """Return what somebody took away of what pre-start put in place; a kernel that refuses it never had it, and handoff says so."""
    try:
        if lacks := services.installation.lacks():
            services.machine.rules.trial(services.membership.group())
    except SystemFault:
        return []
    return lacks


def _connections(services: Services) -> int | None:
    try:
        return services.machine.haproxy.connections(services.instance.config.keepalived.addresses)
    except SystemFault:
        return None


def _bound(services: Services) -> list[str]:
    try:
        return services.installation.bound_to_vip()
    except SystemFault:
        return []


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_obj
def command(session: Session, as_json: bool) -> None:
    """Say where the VIP is and how this instance stands."""
    logs.set_up("status", session.paths.drain_log, chatty=False)
    with session.opened() as opened:
        found = look(opened.services)
    click.echo(json.dumps(found.as_json()) if as_json else "\n".join(found.lines()))
