"""Process 1 of a namespace: mounts what a BOSH VM has, reaps orphans, ends when its maker closes stdin.

    init.py NAME VCAP PATH=PROGRAM ...

VCAP, unless it is empty, becomes /var/vcap. Whoever starts PATH gets PROGRAM.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def put_in_place(programs: list[tuple[Path, str]]) -> None:
    """Have each path lead to its program, by a link in a layer above the directory.

    /usr/bin/python3 is a link itself, and nothing can be mounted upon a link.
    """
    mount("-t", "tmpfs", "tmpfs", "/run")
    for directory in {path.parent for path, _ in programs}:
        above = Path("/run", directory.name)
        above.mkdir()
        for path, program in programs:
            if path.parent == directory:
                (above / path.name).symlink_to(program)
        mount("-t", "overlay", "-o", f"lowerdir={above}:{directory}", "overlay", str(directory))


def reap(number: int, frame: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    name, vcap, *others = sys.argv[1:]
    socket.sethostname(name)
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "sysfs", "sysfs", "/sys")
    if others:
        pairs = [each.split("=", 1) for each in others]
        put_in_place([(Path(path), program) for path, program in pairs])
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
