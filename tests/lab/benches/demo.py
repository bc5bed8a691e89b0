"""`make demo`: the same rolling upgrade without and with vrrp-drain, side by side."""

import sys
import time

from rich.console import Console

from lab.clients.load import Load
from lab.fabric.cluster import ALL_JOBS, compiled_package
from lab.fabric.namespace import missing
from lab.fabric.release import BUILD
from lab.scenarios import upgrade
from lab.scenarios.upgrade import Upgrade

from . import report

_RUNS = (("without", ("keepalived", "haproxy")), ("with", ALL_JOBS))


def main() -> int:
    """Run, print the table, write the files; the exit code says whether vrrp-drain kept its promise."""
    console = Console()
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    upgrades: list[Upgrade] = []
    with compiled_package() as package:
        for name, jobs in _RUNS:
            console.rule(f"{name} vrrp-drain")
            started = time.monotonic()
            with console.status("") as status:

                def tell(what: str, load: Load | None) -> None:
                    counts = f"{load.answered} answered, {load.failed} failed" if load else ""
                    console.print(f"[dim]{time.monotonic() - started:5.1f} s[/dim]  {what:<30}  {counts}", highlight=False)  # noqa: B023
                    status.update(what)

                upgrades.append(upgrade.run(name, package, jobs, tell))
    console.print(report.table(upgrades))
    for path in report.write(upgrades, BUILD / "demo"):
        console.print(f"wrote {path.relative_to(BUILD.parent)}")
    console.print(f"Not counted: the machine did not run the clients at all for up to {max(u.found.stall_ms for u in upgrades):.0f} ms.")
    kept = upgrades[-1].kept
    if not kept:
        console.print("[red]vrrp-drain did not keep its promise in this run: see the table[/red]")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
