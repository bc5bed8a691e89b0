"""`vrrpctl doctor`."""

import json

import click

from vrrp_drain import doctor
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.errors import Unwell

from .session import SECONDS, Session


@click.command("doctor")
@click.option("--timeout", type=SECONDS, default=10.0, show_default=True, help="Seconds that all checks together may take.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_obj
def command(session: Session, timeout: float, as_json: bool) -> None:
    """Look for everything that makes a handover fail, and say how to mend it. Changes nothing."""
    logs.set_up("doctor", session.paths.drain_log, chatty=False)
    report = doctor.examine(session.paths, timeout)
    logs.say_where(report.instance or "unknown instance")
    click.echo(json.dumps(report.as_json()) if as_json else "\n".join(report.lines()))
    if not report.healthy:
        raise Unwell(report.summary)
