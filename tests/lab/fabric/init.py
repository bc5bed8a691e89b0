"""Process 1 of a namespace: mounts what a BOSH VM has, reaps orphans, ends when its maker closes stdin."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def reap(number: int, frame: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    name, vcap = sys.argv[1:]
    socket.sethostname(name)
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("-t", "tmpfs", "tmpfs", "/run")
    if vcap:
        directory = os.open(vcap, os.O_PATH)
        mount("-t", "tmpfs", "tmpfs", "/var")
        for each in ("vcap", "tmp", "log", "lib"):
            Path("/var", each).mkdir()
        Path("/var/run").symlink_to("/run")
        subprocess.run(["mount", "--bind", f"/proc/self/fd/{directory}", "/var/vcap"], check=True, pass_fds=[directory])
        Path("/var/vcap/sys/run").mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "tmpfs", "/var/vcap/sys/run")
    signal.signal(signal.SIGCHLD, reap)
    print("ready", flush=True)
    sys.stdin.read()


main()
