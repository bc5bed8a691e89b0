"""What this instance knows of the VIP right now, for people and as JSON. Changes nothing and takes no lock."""

import json
from collections.abc import Iterator, Sequence

import click

from vrrp_drain import doctor
from vrrp_drain.doctor import survey
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handover.prospects import Outlook, Prospects
from vrrp_drain.handover.services import Services
from vrrp_drain.notify.history import History
from vrrp_drain.notify.notice import CONDITIONS, Cause, Kind, Notice, Switch
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.boot import Boot
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.pid_file import PidFile
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.state import VrrpState
from vrrp_drain.watcher import comeback

from .session import Session
from .status_report import Status

_STORY = 500  # notices of the history that are looked through


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
        handoff_transport=drain.handoff_transport.value,
        handed_off_to=sorted({str(each.peer) for each in situation.armed}),
        bound_to_vip=_bound(services),
        hindrances=[each.line() for each in doctor.at_a_glance(services)],
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
    """Return what somebody took away of what pre-start put in place; what could not be had nobody took, and handoff says so."""
    try:
        if lacks := services.installation.lacks():
            services.machine.rules.trial(services.membership.group())
            there = services.machine.rules.state()
            if services.instance.tunnels and there.tables and not there.families:
                return []  # no tunnel was to be had, so there never were rules to hand on with
    except SystemFault:
        return []
    return lacks


def _connections(services: Services) -> int | None:
    config = services.instance.config
    try:
        return services.machine.haproxy.connections(config.keepalived.addresses, config.drain.quic_ports)
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
