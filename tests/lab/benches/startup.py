"""What vrrpctl costs to start, against the commit before: CPU time of its commands, and memory of the watcher.

    python -m lab.benches.startup [COMMIT]    medians of 15 in turns (fewer with BENCH_RUNS); adds to build/bench/result.json

Both versions stand on the same machine of the lab, with the same jobs and the same keepalived, and each has its turn in every round: what
the machine does beside it is done to both. COMMIT is HEAD~1 unless one is named, as BASE=v0.1.0 of `make bench` does.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.fabric import release
from lab.fabric.agent import PATH
from lab.fabric.cluster import WATCHER, Cluster, compiled_package
from lab.fabric.namespace import missing, terminate
from lab.fabric.node import Node
from lab.fabric.release import BUILD, REPOSITORY
from lab.fabric.wait import until

from . import results
from .results import RUNS

ROUNDS = max(1, RUNS * 3 // 2)
WATCHERS = max(1, RUNS // 2)  # watchers of each version
_SETTLED = 5.0  # seconds that a watcher runs before its memory is read: it has looked twenty times
NOW, BEFORE = "vrrp-drain", "vrrp-drain-before"  # the names of the packages
COMMANDS: Mapping[str, Sequence[str]] = {
    "vrrpctl --version": ["--version"],
    "vrrpctl status": ["status"],
    "vrrpctl drain": ["drain"],
}
_AFTER: Mapping[str, Sequence[str]] = {"vrrpctl drain": ["promote", "--no-wait"]}  # how it was before: not measured


class NoSuchCommit(Exception):
    """There is nothing to compare with."""


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Give a work tree of ``commit``. Raises NoSuchCommit."""
    with tempfile.TemporaryDirectory(prefix="vrrp-drain-before-") as scratch:
        tree = Path(scratch) / "tree"
        made = _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        if made.returncode != 0:
            raise NoSuchCommit(f"{commit} cannot be had, the history may be shallow: {made.stderr.strip()}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def measure(package: Path, before: Path, console: Console) -> dict[str, Any]:
    """Return the medians of both versions, and what is now of what was before."""
    # haproxy is never started in between, so it must not finish either
    with Cluster(package, 2, vrrp_drain={"haproxy_soft_stop": False}) as cluster:
        cluster.create()
        cluster.nodes[0].wait_for(cluster.vip)
        backup = cluster.nodes[1]
        release.install_one(backup.vcap, before)
        found: dict[str, Any] = {}
        for name in COMMANDS:
            found[name] = compared(partial(_cpu_seconds, backup, name), ROUNDS, "s of CPU time")
            console.print(f"[dim]{name}: {found[name]['ratio']}[/dim]", highlight=False)
        backup.monit.stop(WATCHER)
        found["vrrpctl watch"] = compared(partial(_watcher_memory, backup), WATCHERS, "MiB of memory")
    return found


def compared(measured: Callable[[str], float], rounds: int, unit: str) -> dict[str, Any]:
    """Measure both versions in turns; return the medians, and what is now of what was before."""
    values: dict[str, list[float]] = {NOW: [], BEFORE: []}
    for number in range(rounds):
        for version in (NOW, BEFORE) if number % 2 else (BEFORE, NOW):
            values[version].append(measured(version))
    now, before = (statistics.median(values[version]) for version in (NOW, BEFORE))
    return {"unit": unit, "now": round(now, 3), "before": round(before, 3), "ratio": round(now / before, 2), "rounds": rounds}


def _cpu_seconds(node: Node, name: str, version: str) -> float:
    """Run the command and return the user's and the kernel's seconds that it took, its children included."""
    seconds = _run(node, version, COMMANDS[name])
    if after := _AFTER.get(name):
        _run(node, version, after)
    return seconds


def _run(node: Node, version: str, arguments: Sequence[str]) -> float:
    process = node.machine.popen(
        [_vrrpctl(version), *arguments], {"PATH": PATH}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.stderr.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{version}: vrrpctl {' '.join(arguments)} exited {process.returncode}: {said}")
    return used.ru_utime + used.ru_stime


def _watcher_memory(node: Node, version: str) -> float:
    """Start a watcher, and return the MiB that it holds (VmRSS, proc(5)) once it has settled."""
    pid_file = node.machine.root / "var/vcap/sys/run/vrrp-drain/watch.pid"
    with suppress(FileNotFoundError):
        pid_file.unlink()
    process = node.machine.popen([_vrrpctl(version), "watch", "--detached"], {"PATH": PATH}, stdin=subprocess.DEVNULL)
    try:
        until(pid_file.exists, f"the watcher of {version} to run")
        pid = pid_file.read_text().strip()
        time.sleep(_SETTLED)  # how it is after that time is what is measured
        status = (node.machine.root / f"proc/{pid}/status").read_text()
    finally:
        terminate(process)
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kilobytes) / 1024


def _vrrpctl(version: str) -> str:
    return f"/var/vcap/packages/{version}/bin/vrrpctl"


def main(arguments: Sequence[str] = sys.argv[1:]) -> int:
    console = Console()
    commit = arguments[0] if arguments and arguments[0] else "HEAD~1"
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    try:
        with checkout(commit) as tree, compiled_package() as package:
            before = package.with_name(BEFORE)
            release.compile_one("vrrp-drain", before, tree)
            found = measure(package, before, console)
    except NoSuchCommit as error:
        console.print(f"Not compared with the commit before: {error}", highlight=False)
        return 0
    table = Table(title=f"Starting vrrpctl, against {commit}: medians of {ROUNDS}, of {WATCHERS} watchers")
    for heading in ("", "now", "before", "of it"):
        table.add_column(heading)
    for name, each in found.items():
        table.add_row(name, f"{each['now']} {each['unit']}", f"{each['before']}", f"{each['ratio']:.0%}")
    console.print(table)
    path = results.put({"startup": {"against": commit, **found}})
    console.print(f"wrote {path.relative_to(BUILD.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
