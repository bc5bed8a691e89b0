"""`vrrpctl history`."""

import json

import click

from vrrp_drain.notify.history import History

from .session import Session


@click.command("history")
@click.option("-n", "--count", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many of the last notices.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one a line.")
@click.pass_obj
def command(session: Session, count: int, as_json: bool) -> None:
    """Say what happened here: moves with their durations and causes, and conditions."""
    for each in History(session.paths.history).last(count):
        found = each.as_json()
        click.echo(json.dumps(found) if as_json else f"{found['time']}  {each.line()}")
