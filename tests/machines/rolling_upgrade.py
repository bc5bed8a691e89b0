"""One rolling upgrade of three instances under load, with the Python of LAB_PYTHON in each; what came of it is written as JSON.

LAB_PYTHON=/path/to/python3.10 python -m machines.rolling_upgrade INTO
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.fabric.cluster import ALL_JOBS, compiled_package
from lab.fabric.namespace import Namespace, missing
from lab.fabric.programs import of_environment
from lab.scenarios import upgrade
from lab.scenarios.upgrade import Upgrade

_WATCH_SECONDS = 2.0  # less than the director's 5: an upgrade for each Python, and what they wait for is the same
_NEW = 1000  # new connections that there are at least


@dataclass(frozen=True)
class Outcome:
    """What the clients felt, and whether the upgrade was one: the VIP moved off the first instance and back, every drain went well."""

    new: int
    failed: int
    broken: int
    wrong: list[str]

    @property
    def kept(self) -> bool:
        return not (self.failed or self.broken or self.wrong)

    def text(self) -> str:
        """Return it for the table."""
        felt = f"{self.failed} of {self.new} new connections failed, {self.broken} established ones and transfers broken"
        return "; ".join([felt, *self.wrong])


def outcome(seen: Upgrade) -> Outcome:
    """Return what matters of an upgrade."""
    moves, nodes = [(move.source, move.target) for move in seen.moves], seen.nodes
    claims = {
        f"fewer than {_NEW} new connections": len(seen.found.of("new")) >= _NEW,
        "SYNs were lost": not seen.found.lost_syns(),
        "the first instance did not hand over to the second": moves[:1] == [(nodes[0], nodes[1])],
        "the VIP did not come back": [target for _, target in moves[-1:]] == [nodes[0]],
        "a drain went wrong": [(run.exit_code, run.stdout) for _, run in seen.drains] == [(0, "0\n")] * len(nodes),
    }
    broken = len(seen.found.failed("established")) + len(seen.broken)
    return Outcome(
        len(seen.found.of("new")), len(seen.found.failed("new")), broken, [wrong for wrong, right in claims.items() if not right]
    )


def main(into: Path) -> int:
    if lack := missing():
        print(lack, file=sys.stderr)
        return 1
    wanted, found = of_python(os.environ["LAB_PYTHON"]), of_an_instance()
    if found != wanted:
        print(f"the instances would have Python {found}, not {wanted}", file=sys.stderr)
        return 1
    with compiled_package() as package:
        seen = outcome(upgrade.run(f"Python {wanted}", package, ALL_JOBS, watch_seconds=_WATCH_SECONDS))
    into.write_text(json.dumps(asdict(seen)) + "\n")
    return 0 if seen.kept else 1


def of_python(program: str) -> str:
    """Return its full version."""
    return subprocess.run([program, "-IVV"], capture_output=True, text=True, check=True).stdout.strip()


def of_an_instance() -> str:
    """Return the full version of what every instance has as /usr/bin/python3."""
    with tempfile.TemporaryDirectory() as disk:
        machine = Namespace("probe", Path(disk), of_environment())
        try:
            return machine.run(["/usr/bin/python3", "-IVV"]).stdout.strip()
        finally:
            machine.kill()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
