"""What a command imports: a drain waits for every module, and the watcher holds each for months. Named modules, no times."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vrrp_drain

LIBRARY = Path(vrrp_drain.__file__).parent.parent
# of pyroute2 the messages, and what those need; linux/codec.py says how
MESSAGES = {
    "pyroute2",
    "pyroute2.common",
    "pyroute2.netlink",
    "pyroute2.netlink.exceptions",
    "pyroute2.netlink.nfnetlink",
    "pyroute2.netlink.nfnetlink.nftsocket",
    "pyroute2.netlink.nlsocket",
    "pyroute2.netlink.rtnl",
    "pyroute2.netlink.rtnl.ifaddrmsg",
    "pyroute2.netlink.rtnl.rtmsg",
    "pyroute2.nftables",
    "pyroute2.nftables.expressions",
}
DEAR = {"asyncio", "email", "http", "multiprocessing", "prometheus_client", "pyroute2", "requests", "rich", "sqlite3", "ssl", "urllib3"}
OF_SITE = {"sitecustomize", "usercustomize", "apport_python_hook"}  # what the machine has every Python import; the launcher does not (-S)
SCRIPT = """
import json, sys
sys.path[:0] = sys.argv[1:2]
from vrrp_drain.commands.main import main
main(sys.argv[2:])
from vrrp_drain.linux import codec
print(json.dumps([sorted(sys.modules), sorted(codec._kept)]), file=sys.stderr)
"""


def imported(root: Path, command: str) -> tuple[set[str], set[str]]:
    """Return what ``command`` has imported when it finds that there is no configuration, and what of pyroute2 is kept beside that."""
    arguments = [sys.executable, "-c", SCRIPT, str(LIBRARY), "--root", str(root), command]
    done = subprocess.run(arguments, env={"PATH": os.defpath}, capture_output=True, text=True, check=True, timeout=60)
    modules, messages = json.loads(done.stderr.splitlines()[-1])
    return set(modules), set(messages)


@pytest.mark.parametrize("command", ["drain", "pre-stop", "status"])
def test_what_a_drain_waits_for(tmp_path: Path, command: str) -> None:
    """click and the messages of pyroute2, nothing else of others; and nothing that only the watcher or a terminal needs."""
    modules, messages = imported(tmp_path, command)
    assert {each for each in modules if each.partition(".")[0] in DEAR} == set()
    assert messages == MESSAGES
    others = {each.partition(".")[0] for each in modules} - sys.stdlib_module_names - {"__main__", "vrrp_drain", *OF_SITE}
    assert {each for each in others if not each.startswith("_")} == {"click"}
