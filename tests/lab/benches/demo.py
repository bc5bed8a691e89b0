"""`make demo`: the same rolling upgrade without and with vrrp-drain, side by side."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from lab.clients.load import Load
from lab.fabric.cluster import ALL_JOBS, VIP, VIP6, compiled_package
from lab.fabric.namespace import missing
from lab.fabric.release import BUILD
from lab.scenarios import upgrade
from lab.scenarios.upgrade import Beside, Upgrade

from . import report
from .claims import Claims, exit_code

_FIRST_MOVE = ("haproxy/0", "haproxy/1")
_ON_THE_VIP, _ON_THE_VIP_PORT = "a frontend bound to the VIP", 8000
BESIDE = (Beside(_ON_THE_VIP, VIP, _ON_THE_VIP_PORT, lane=3), Beside("the VIP of the other family", VIP6, 80, lane=4))
_MORE: dict[str, Any] = {
    "keepalived": {"vips": [VIP6]},
    "ha_proxy": {
        "bind": ":::80 v4v6",
        "extra": f"""
frontend on-the-vip
    bind {VIP}:{_ON_THE_VIP_PORT}
    http-request return status 200 content-type text/plain string "$INSTANCE"
""",
    },
}
_RUNS: tuple[tuple[str, Sequence[str], Sequence[Beside], dict[str, Any]], ...] = (
    ("without", ("keepalived", "haproxy"), (), {}),  # where it has no VIP, haproxy does not even start with a frontend bound to it
    ("with", ALL_JOBS, BESIDE, _MORE),
)


def claims(without: Upgrade, ours: Upgrade) -> Claims:
    """With vrrp-drain nobody notices, and every drain says so; without it all of them suffer, or the comparison would be none."""
    moves = [(move.source, move.target) for move in ours.moves]
    return {
        "with vrrp-drain no request fails, no SYN is lost, and open connections and transfers survive": ours.kept,
        "there are thousands of new connections": len(ours.found.of("new")) > 3000,
        "there are new and established connections beside them, of each kind": [*ours.beside] == [each.name for each in BESIDE]
        and all(len(each.of("new")) > 500 and each.of("established") for each in ours.beside.values()),
        "there are downloads, uploads and slow streams": {each.kind for each in ours.transfers} == {"download", "upload", "slow"},
        "the canary, which is the MASTER, hands over to the next one": moves[:1] == [_FIRST_MOVE],
        "the VIP is back on the canary at the end": [target for _, target in moves[-1:]] == [_FIRST_MOVE[0]],
        "every drain exits 0 and prints 0": [(run.exit_code, run.stdout) for _, run in ours.drains] == [(0, "0\n")] * 3,
        "without vrrp-drain new connections fail": bool(without.found.failed("new")),
        "without vrrp-drain established connections break": bool(without.found.failed("established")),
        "without vrrp-drain transfers break": bool(without.broken),
    }


def main() -> int:
    """Run, print the table, write the files; the exit code says whether vrrp-drain kept its promise."""
    console = Console()
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    upgrades: list[Upgrade] = []
    with compiled_package() as package:
        for name, jobs, beside, properties in _RUNS:
            console.rule(f"{name} vrrp-drain")
            started = time.monotonic()
            with console.status("") as status:

                def tell(what: str, load: Load | None) -> None:
                    counts = f"{load.answered} answered, {load.failed} failed" if load else ""
                    console.print(f"[dim]{time.monotonic() - started:5.1f} s[/dim]  {what:<30}  {counts}", highlight=False)  # noqa: B023
                    status.update(what)

                upgrades.append(upgrade.run(name, package, jobs, tell, beside=beside, **properties))
    console.print(report.table(upgrades))
    for path in report.write(upgrades, BUILD / "demo"):
        console.print(f"wrote {path.relative_to(BUILD.parent)}")
    console.print(f"Not counted: the machine did not run the clients at all for up to {max(u.found.stall_ms for u in upgrades):.0f} ms.")
    return exit_code(claims(*upgrades), console)


if __name__ == "__main__":
    sys.exit(main())
