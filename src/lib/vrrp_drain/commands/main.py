"""The command line. Commands raise; ``main`` prints one line and sets the exit code.

Each command is a module of its own, imported when it is called: a drain does not wait for what the watcher needs.
"""

import importlib
import logging
import os
import sys
from pathlib import Path

import click

from vrrp_drain import __version__
from vrrp_drain.runtime.errors import ExitCode, VrrpDrainError
from vrrp_drain.runtime.paths import ROOT, Paths

from .session import Session

log = logging.getLogger(__name__)

SCRIPTS = ("pre-start", "post-start", "pre-stop", "drain", "post-stop")
_COMMANDS = ("demote", "doctor", "history", "keepalived", "leave", "let-go", "notify", "promote", "rehearse", "status", "top", "watch")
_LAST = "post-stop"  # the script after which nothing is left to be protected
_UMASK = 0o022  # whatever monit or the agent hands down: logs can be forwarded by others, and written by root alone


class _Commands(click.Group):
    """Finds a command in the module of its name; BOSH's scripts share one."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted((*_COMMANDS, *SCRIPTS))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in SCRIPTS:
            found: click.Command = importlib.import_module(".scripts", __package__).command(name)
        elif name in _COMMANDS:
            found = importlib.import_module(f".{name.replace('-', '_')}", __package__).command
        else:
            return None
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vrrpctl")
@click.option("--root", type=click.Path(path_type=Path), default=ROOT, show_default=True, help="Where BOSH keeps its jobs.")
@click.pass_context
def vrrpctl(context: click.Context, root: Path) -> None:
    """Move this instance's virtual IP without clients noticing, and see where it is.

    Run it as root on an instance that has the vrrp-drain job. What it did is in
    /var/vcap/sys/log/vrrp-drain/vrrp-drain.log.
    """
    session: Session = context.obj
    session.command = context.invoked_subcommand or ""
    session.paths = Paths(root)
    if session.command == "drain":
        session.agents_stdout = _keep_stdout_clean()


def main(arguments: list[str] | None = None) -> int:
    """Run vrrpctl and return its exit code. Nothing but drain's one integer ever reaches drain's stdout."""
    session = Session()
    os.umask(_UMASK)
    try:
        vrrpctl.main(arguments, prog_name="vrrpctl", standalone_mode=False, obj=session)
        code = ExitCode.OK
        if session.agents_stdout is not None:
            os.write(session.agents_stdout, b"0\n")
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except click.Abort:
        code = ExitCode.CANCELLED
    except VrrpDrainError as error:
        log.error("%s", error)
        code = error.exit_code
    except Exception as error:
        log.exception("a fault of vrrp-drain itself, please report it: %r", error)
        code = ExitCode.FAILED
    if session.command == _LAST:
        return ExitCode.OK  # this instance has stopped: there is nothing that BOSH could still save by halting
    return ExitCode.FAILED if session.command in SCRIPTS and code != ExitCode.OK else code


def _keep_stdout_clean() -> int:
    """Keep the agent's pipe for the one integer; whatever else is printed, by whomever, goes to stderr.

    If stdout held an integer the agent would ignore our exit code (bosh-agent, agent/script/drain/concrete_script.go).
    """
    sys.stdout.flush()
    pipe = os.dup(1)
    os.dup2(2, 1, inheritable=False)
    return pipe
