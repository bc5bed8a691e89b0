"""Makes a VM of BOSH's of a guest, in its initial namespaces, and starts it anew in order.

vm.py boot NAME KEEPS_RUN ADDRESS...    after each boot: its disk at /var/vcap, eth0 with its addresses
vm.py shutdown                          before a reboot: end what runs as shutdown(8) does, bring the disk into order
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DISK, VCAP = "/dev/vda", Path("/var/vcap")
PATIENCE = 20.0  # seconds that processes have after SIGTERM, and again after SIGKILL


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def boot(name: str, keeps_run: str, *addresses: str) -> None:
    """Have what a VM has when its agent begins; without ``keeps_run`` the agent has mounted a tmpfs at sys/run."""
    Path("/proc/sys/kernel/hostname").write_text(name)
    mount("-t", "tmpfs", "tmpfs", "/var")
    for each in ("vcap", "tmp", "log", "lib"):
        Path("/var", each).mkdir()
    Path("/var/run").symlink_to("/run")
    mount("-t", "ext4", DISK, str(VCAP))
    run = VCAP / "sys/run"
    run.mkdir(parents=True, exist_ok=True)
    if not keeps_run:
        mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(run))
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("60000 65000")  # as every machine of the lab
    ip("link", "set", "eth0", "up")
    for address in addresses:
        ip("address", "add", address, "dev", "eth0")


def shutdown() -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in running():
            os.kill(pid, number)
        end = time.monotonic() + PATIENCE
        while running() and time.monotonic() < end:
            time.sleep(0.1)
    os.sync()
    subprocess.run(["umount", "--recursive", str(VCAP)], check=True)


def running() -> list[int]:
    """Return the processes but the first one and this: the kernel's and those that have ended have no command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) not in (1, os.getpid()) and (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it has just ended
            continue
    return found


if sys.argv[1] == "boot":
    boot(*sys.argv[2:])
else:
    shutdown()
