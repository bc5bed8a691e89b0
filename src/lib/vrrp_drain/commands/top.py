"""`vrrpctl top`: status and the last moves, live."""

import time
from collections.abc import Callable, Sequence
from itertools import islice

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vrrp_drain.notify.history import History
from vrrp_drain.notify.notice import Notice, Severity
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.plain import plain, utc
from vrrp_drain.vrrp.state import VrrpState

from .session import SECONDS, Session
from .status import look
from .status_report import Status

_STATE = {VrrpState.MASTER: "bold green", VrrpState.BACKUP: "cyan", VrrpState.STOPPED: "bold red"}
_MOVES_SHOWN = 12


def show(look: Callable[[], Status], story: Callable[[], Sequence[Notice]], stop: Callable[[float], bool], every: float) -> None:
    """Redraw every ``every`` seconds until ``stop``, which is called with the seconds to wait, returns True."""
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            live.update(draw(look(), story(), time.time()), refresh=True)
            if stop(max(0.0, began + every - time.monotonic())):
                return


def draw(status: Status, story: Sequence[Notice], now: float) -> RenderableType:
    """Return one screen."""
    title = Text.assemble(
        (f" {status.state.upper()} ", f"reverse {_STATE[status.state]}"), f"  {status.instance}  {status.vip}  {utc(now)}"
    )
    facts = Table.grid(padding=(0, 2))
    for row in islice(status.rows(), 1, None):  # the title names the instance
        facts.add_row(Text(row.label, style="dim"), Text(plain(row.text), style="bold red" if row.bad else ""))
    moves = Table(title="last", title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("ago", "what", "change", "took", "why"):
        moves.add_column(heading, no_wrap=heading != "why")
    for each in reversed(story):
        change = plain(f"{each.previous} -> {each.state}" if each.previous else each.state)
        took = f"{each.seconds:.2f} s" if each.seconds is not None else ""
        style = "red" if each.severity is Severity.WARNING else ""
        moves.add_row(ago(now - each.at), each.kind.value, change, took, plain(f"{each.cause}: {each.reason}"), style=style)
    return Group(title, "", facts, "", moves)


def ago(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    seconds = max(0, round(seconds))
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small} {smaller}"
    return f"{seconds} s"


@click.command("top")
@click.option("--every", type=SECONDS, default=2.0, show_default=True, help="Seconds between two looks.")
@click.pass_obj
def command(session: Session, every: float) -> None:
    """Show status and the last moves, live, until Ctrl-C."""
    logs.set_up("top", session.paths.drain_log, chatty=False)
    with session.opened() as opened:
        history = History(session.paths.history)
        show(lambda: look(opened.services), lambda: history.last(_MOVES_SHOWN), opened.cancellation.wait, every)
