"""`python -m lab.benches.screen`: draws docs/top.svg, the picture of `vrrpctl top` in the docs, from a group whose haproxy dies."""

import io
import json
import re
import sys
import time
from pathlib import Path

from rich.console import Console

from lab.fabric.cluster import Cluster, compiled_package
from lab.fabric.namespace import missing
from lab.fabric.node import Node
from lab.fabric.release import REPOSITORY
from vrrp_drain.commands import top
from vrrp_drain.commands.status_report import Status
from vrrp_drain.notify.notice import Notice

_COLUMNS = 124
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # of the web: a picture loads none


def main() -> int:
    """Demote and promote the MASTER, kill its haproxy, and draw what top shows there."""
    if lack := missing():
        print(lack, file=sys.stderr)
        return 1
    with compiled_package() as package, Cluster(package, 2) as cluster:
        first, second = cluster.create().nodes
        first.wait_for(cluster.vip)
        first.vrrpctl("demote")
        first.vrrpctl("promote")
        first.machine.run(["killall", "-KILL", "haproxy"])
        second.wait_for(cluster.vip)
        draw(first, REPOSITORY / "docs/top.svg")
    return 0


def draw(node: Node, path: Path) -> None:
    """Draw what top shows on ``node`` now."""
    found = node.status()
    del found["drainable"]
    story = [Notice.from_json(json.loads(line)) for line in node.vrrpctl("history", "--json", "-n", "12")[1].splitlines()]
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(top.draw(Status(**found), story, time.time()))
    path.write_text(_FONTS.sub("", console.export_svg(title="vrrpctl top", unique_id="top")))


if __name__ == "__main__":
    sys.exit(main())
