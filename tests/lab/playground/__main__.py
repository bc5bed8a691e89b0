"""`make lab` and `make shell NODE=0`: three instances and their clients to play with, until Ctrl-C.

    python -m lab.playground run DIRECTORY
    python -m lab.playground shell DIRECTORY NODE COMMAND     an empty COMMAND is a shell to type in

Which processes are the machines' stands in DIRECTORY/machines.json. Whoever made them holds a lock on that file, and whatever
ends the lab lets go of it: a file that nobody holds was left behind by a lab that was killed.
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from rich.console import Console

from lab.fabric import monit
from lab.fabric.cluster import Cluster, compiled_package
from lab.fabric.namespace import missing
from lab.fabric.node import Node

from .live_picture import Clients, Event, Events, Eye, LivePicture

CLIENT = "client"
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MONIT_CYCLE = 10.0  # seconds, as on a VM
_LEFT_ALONE = "run/left-alone"  # of a node: what monit was told to stop
_MONIT = "/var/vcap/bosh/bin/monit"  # where a VM has it
_PATH = f"/var/vcap/jobs/vrrp-drain/bin:{Path(_MONIT).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ADVICE = (
    ("make shell NODE=0", "in another terminal: a shell on haproxy/0, as root; so on 1, 2 and client"),
    ("  vrrpctl status", "and demote, promote, top, doctor, history, rehearse"),
    ("  killall -KILL haproxy", "and keepalived, or -STOP and -CONT: monit starts again what is gone, within 10 s"),
    ("  monit stop haproxy", "and start, restart, summary: as on a VM"),
    ("Ctrl-C", "takes all away"),
)
_SCRIPT = """\
#!/bin/sh
# Stands in for monit's command line.
usage="usage: monit summary, or monit start|stop|restart NAME|all; the names are: {names}"
process() {{
  case $1 in
{cases}
  *) echo "$usage" >&2; exit 1 ;;
  esac
}}
runs() {{ pid=$(cat "$pidfile" 2>/dev/null); [ -n "$pid" ] && [ -d "/proc/$pid" ]; }}
start() {{ rm -f "/{left_alone}/$1"; runs || as_monit $start; }}
stop() {{ touch "/{left_alone}/$1"; as_monit $stop; }}
restart() {{ stop "$1"; start "$1"; }}
summary() {{ runs && echo "$1: running" || {{ [ -e "/{left_alone}/$1" ] && echo "$1: stopped, left alone" || echo "$1: does not run"; }}; }}
as_monit() {{ env -i PATH=/bin:/usr/bin:/sbin:/usr/sbin "$@" </dev/null; }}
mkdir -p /{left_alone}
case $1 in start|stop|restart) names=$2 ;; summary) names=all ;; *) names= ;; esac
[ "$names" != all ] || names="{names}"
for name in ${{names:-none}}; do
  process "$name"
  "$1" "$name"
done
"""
_NO_LAB = "no lab runs here: make lab starts one, in another terminal"
_CASE = "  {0.name}) pidfile={0.pid_file} start='{start}' stop='{stop}' ;;"


class Ended(Exception):
    """Somebody wants the lab to end; the name of the signal."""


class NoLab(Exception):
    """There is nothing to open a shell in; why, for a person."""


class Monit(threading.Thread):
    """Looks after the processes of all nodes, as monit does on each: what has ended is started again at its next look."""

    def __init__(self, nodes: Sequence[Node], events: Events) -> None:
        super().__init__(name="monit", daemon=True)
        self._nodes, self._events = nodes, events
        self._closed = threading.Event()
        for node in nodes:
            _install_monit(node)

    def __enter__(self) -> "Monit":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self.join()

    def run(self) -> None:
        while not self._closed.wait(_MONIT_CYCLE):
            for node in self._nodes:
                for process in monit.processes(node.vcap / "jobs"):
                    if node.monit.pid(process.name) is None and not (node.machine.root / _LEFT_ALONE / process.name).exists():
                        self._start(node, process.name)

    def _start(self, node: Node, name: str) -> None:
        self._events.add(Event(time.time(), node.name, f"monit starts {name}"))
        try:
            node.monit.start(name)
        except (RuntimeError, TimeoutError) as error:
            self._events.add(Event(time.time(), node.name, f"monit: {error}"))


def _install_monit(node: Node) -> None:
    """Put on the node's disk what stands in for monit's command line."""
    found = monit.processes(node.vcap / "jobs")
    cases = "\n".join(_CASE.format(each, start=" ".join(each.start), stop=" ".join(each.stop)) for each in found)
    path = node.vcap / Path(_MONIT).relative_to("/var/vcap")
    path.parent.mkdir(parents=True)
    path.write_text(_SCRIPT.format(names=" ".join(each.name for each in found), cases=cases, left_alone=_LEFT_ALONE))
    path.chmod(0o755)


def run(directory: Path) -> int:
    """Deploy, show the picture until a signal comes, and take all away. Returns the exit code."""
    console = Console(highlight=False)
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    for number in _ENDS:
        signal.signal(number, _end)
    pids: list[int] = []
    try:
        with _file_held(directory / "machines.json") as file:
            _play(console, file, pids)
    except NoLab as error:
        console.print(f"[red]{error}[/red]")
        return 1
    except Ended as end:
        left = [pid for pid in pids if _lives(pid)]
        console.print(f"{end}: still there: {left}" if left else f"{end}: all is taken away")
        return 1 if left else 0
    raise AssertionError("the picture is shown until a signal comes")


def _lives(pid: int) -> bool:
    """Tell whether a process has not ended; one that has, and was not waited for by its parent yet, has no command line any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def _end(number: int, frame: FrameType | None) -> None:
    for each in _ENDS:
        signal.signal(each, signal.SIG_IGN)  # once is enough: nothing interrupts what takes all away
    raise Ended(signal.Signals(number).name)


@contextmanager
def _file_held(path: Path) -> Iterator[TextIO]:
    """Hold the file that says where the machines are, empty at first; it goes at the end. Raises NoLab where another lab holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NoLab("a lab runs already: make shell NODE=0 leads into it, and Ctrl-C where it runs ends it") from None
        file.truncate(0)
        try:
            yield file
        finally:
            path.unlink(missing_ok=True)


def _play(console: Console, file: TextIO, pids: list[int]) -> None:
    with ExitStack() as stack:
        with console.status("vrrp-drain and keepalived are compiled") as status:
            package = stack.enter_context(compiled_package())
            cluster = stack.enter_context(Cluster(package))
            machines = {str(node.spec.index): node.machine.pid for node in cluster.nodes} | {CLIENT: cluster.client.pid}
            pids += [*machines.values(), cluster.switch.namespace.pid]
            json.dump(machines, file)
            file.flush()
            status.update("three instances are deployed, one after the other: that takes some seconds")
            cluster.create()
            cluster.nodes[0].wait_for(cluster.vip)
        events = Events()
        clients = stack.enter_context(Clients(cluster))
        eyes = [stack.enter_context(Eye(node, cluster.vip, events)) for node in cluster.nodes]
        stack.enter_context(Monit(cluster.nodes, events))
        LivePicture(cluster.vip, eyes, clients, events, _ADVICE).show()


def shell(directory: Path, node: str, command: str) -> NoReturn:
    """Become a shell on the node, or become ``command`` there. Raises NoLab."""
    pid = _machine(directory / "machines.json", node)
    user = [] if _user_namespace(pid) == _user_namespace(os.getpid()) else ["--user", "--preserve-credentials"]
    inside = ["bash", "-c", command] if command else ["bash", "--norc", "--noprofile", "-i"]
    prompt = f"[{node if node == CLIENT else f'haproxy/{node}'}] \\w # "
    environment = {"PATH": _PATH, "HOME": "/root", "TERM": os.environ.get("TERM", "dumb"), "PS1": prompt}
    spaces = ["--net", "--uts", "--mount", "--pid"]
    os.execvpe("nsenter", ["nsenter", "--target", str(pid), *user, *spaces, "--", *inside], environment)


def _machine(path: Path, node: str) -> int:
    """Return the pid of the node's first process. Raises NoLab."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        raise NoLab(_NO_LAB)
    except FileNotFoundError:
        raise NoLab(_NO_LAB) from None
    except BlockingIOError:
        pass  # the lab has it
    try:
        machines: dict[str, int] = json.loads(path.read_text())
    except ValueError:
        raise NoLab("the lab has only just begun: try again in a second") from None
    if node not in machines:
        raise NoLab(f"there is no node {node!r}: NODE is one of {', '.join(machines)}")
    return machines[node]


def _user_namespace(pid: int) -> int:
    """Return what tells the user namespace of a process from others. Raises NoLab where the process is somebody else's."""
    try:
        return Path(f"/proc/{pid}/ns/user").stat().st_ino
    except PermissionError:
        raise NoLab("the lab that runs is another user's: only he, and root, can open a shell in it") from None


def main() -> int:
    match sys.argv[1:]:
        case ["run", directory]:
            return run(Path(directory))
        case ["shell", directory, node, command]:
            try:
                shell(Path(directory), node, command)
            except NoLab as error:
                print(error, file=sys.stderr)
                return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
