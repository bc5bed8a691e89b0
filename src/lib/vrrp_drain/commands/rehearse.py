"""`vrrpctl rehearse`."""

import json
import logging
import time
from dataclasses import replace

import click

from vrrp_drain import rehearsal
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.errors import Felt

from .session import SECONDS, Session

log = logging.getLogger(__name__)

_RATES = 10, 200  # connections a second


def _in_flight(context: click.Context, parameter: click.Parameter, value: str | None) -> rehearsal.MaxInFlight | None:
    try:
        return None if value is None else rehearsal.MaxInFlight.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from error


@click.command("rehearse")
@click.option("--rate", type=click.IntRange(*_RATES), default=100, show_default=True, help="Connections to try each second.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where clients connect.  [default: that of vrrp_drain.health_check]")
@click.option("--timeout", type=SECONDS, help="Seconds that each move may take.  [default: vrrp_drain.handover_timeout]")
@click.option(
    "--max-in-flight", "in_flight", metavar="N|N%", callback=_in_flight, help="That of the manifest: say what a deploy would meet."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(
    session: Session, rate: int, port: int | None, timeout: float | None, in_flight: rehearsal.MaxInFlight | None, as_json: bool
) -> None:
    """On the MASTER: hand the VIP to a peer and take it back, and say what clients would have felt.

    And what a deploy would meet that updates several instances at a time.

    Nothing is moved while doctor finds a problem. However it ends, this instance is in the active band again.
    """
    logs.set_up("rehearse", session.paths.drain_log, chatty=True)
    with session.alone(timeout) as opened:
        services = opened.services
        rehearsal.check(services)
        forecast = rehearsal.forecast(services, in_flight)
        target, known = rehearsal.target(services, port), rehearsal.names(services)
        client = rehearsal.Client(target, time.monotonic(), known.keys() - target.macs)
        with rehearsal.Prober(client, rate) as prober:
            seconds = timeout or services.instance.config.drain.handover_timeout
            report = replace(rehearsal.rehearse(services, opened.cancellation, prober, known, seconds), deploy=forecast)
    click.echo(json.dumps(report.as_json()) if as_json else "\n".join(report.lines()))
    if report.total.felt and report.error is None:
        raise Felt(report.summary)
    log.info("%s", report.summary)
    if report.error is not None:
        raise report.error
    if forecast.felt:
        raise Felt(f"a deploy with max_in_flight {in_flight} would take {forecast.vip} away from clients: the last lines above say why")
