"""Instances of the lab that are virtual machines: each is a guest whose own initial namespaces the instance has, on the lab's segment.

Their clocks go with ours, and all that a processor does takes about ten times as long: intervals are long enough for that.
"""

import itertools
import shutil
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from lab.fabric.agent import PATH
from lab.fabric.cluster import Cluster
from lab.fabric.monit import Monit
from lab.fabric.namespace import Namespace
from lab.fabric.network import mac_of
from lab.fabric.node import Node
from lab.fabric.release import Spec

from .guest import Guest
from .hypervisor import Clock, Hardware, Nic
from .kernel import Kernel

SLOW: Mapping[str, Any] = {"vrrp_version": 3, "advert_int": 1, "healthcheck_interval": 2}
PATIENT: Mapping[str, Any] = {"handover_timeout": 60}
MEMORY = 1024  # MiB
DISK = 1 << 30  # bytes
WAIT = 90.0  # seconds for what a guest does
_BETWEEN_LOOKS = 0.3  # seconds: each look takes a guest a tenth of one
_NUMBERS = itertools.count()
_VM = Path(__file__).with_name("inside") / "vm.py"


class Remote(Namespace):
    """A guest that has power, with what of a namespace's means it has. What is asked of it is done one after the other."""

    def __init__(self, name: str, guest: Guest) -> None:
        self.name, self._guest, self._lock = name, guest, threading.Lock()

    @property
    def root(self) -> NoReturn:
        raise TypeError(f"{self.name} is a virtual machine: nobody but its kernel sees its files")

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        environment = [f"{name}={value}" for name, value in (env or {}).items()]
        with self._lock:
            name = f"run-{next(_NUMBERS)}"  # never one that the guest's file system may know another file by
            home = self._guest.out / name
            apart = ["sh", "-c", f'exec "$@" >/out/{name}/stdout 2>/out/{name}/stderr', "sh", "env", "-i", *environment, *command]
            done = self._guest.run(apart, seconds=timeout, cwd=Path("/"), name=name)
            said = [(home / each).read_text(errors="replace") for each in ("stdout", "stderr")]
            shutil.rmtree(home)
        return subprocess.CompletedProcess(command, done.exit_code, *said)

    def popen(self, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        return cast("subprocess.Popen[bytes]", _Process(self, command, env))

    def read(self, path: str) -> str:
        found = self.run(["cat", path], {"PATH": PATH})
        if found.returncode:
            raise FileNotFoundError(found.stderr)
        return found.stdout

    def has_process(self, pid: int) -> bool:
        return self.run(["test", "-e", f"/proc/{pid}"], {"PATH": PATH}).returncode == 0

    def kill(self) -> None:
        self._guest.cut()


class _Process:
    """What of a process a lifecycle script is waited for with."""

    def __init__(self, machine: Remote, command: Sequence[str], env: Mapping[str, str] | None) -> None:
        self.returncode: int | None = None
        self._done: list[subprocess.CompletedProcess[str] | Exception] = []
        self._thread = threading.Thread(target=self._run, args=(machine, command, env))
        self._thread.start()

    def _run(self, machine: Remote, command: Sequence[str], env: Mapping[str, str] | None) -> None:
        try:
            self._done.append(machine.run(command, env))
        except Exception as error:  # handed to whoever waits
            self._done.append(error)

    def communicate(self, timeout: float) -> tuple[bytes, bytes]:
        self._thread.join(timeout)
        (done,) = self._done or [TimeoutError(f"a script did not end within {timeout:g} s")]
        if isinstance(done, Exception):
            raise done
        self.returncode = done.returncode
        return done.stdout.encode(), done.stderr.encode()


class GuestMonit(Monit):
    """Looks less often, and waits for longer."""

    patience = WAIT

    def pid(self, name: str) -> int | None:
        time.sleep(_BETWEEN_LOOKS)
        return super().pid(name)


class GuestNode(Node):
    """Its disk outlives its power, as far as its kernel has written it; /run and, as a rule, sys/run do not."""

    def __init__(self, kernel: Kernel, home: Path, *rest: Any, keeps_run: bool = False) -> None:
        """``keeps_run``: sys/run is on the disk."""
        self._kernel, self._home, self._keeps_run = kernel, home, keeps_run
        self._disk = home / "disk"
        with self._disk.open("wb") as file:
            file.truncate(DISK)
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", str(self._disk)], check=True)
        super().__init__(*rest)

    def power_on(self, mac: int | None = None) -> None:
        self.mac = mac_of(mac or self.spec.index + 1)
        self.port, tap = self._switch.tap()
        with tap:
            hardware = Hardware(memory=MEMORY, clock=Clock.WALL, nics=[Nic(tap, self.mac)], disk=self._disk)
            self._guest = Guest(self._kernel, self._home / "out", hardware)
            self._guest.start()
        name = f"{self.spec.name}-{self.spec.index}"
        self.machine = Remote(name, self._guest)
        self.agent = self._make_agent(self.machine, self.vcap)
        self.monit = GuestMonit(self.machine, self.vcap / "jobs", self._unmonitored)
        self._inside("boot", name, "kept" if self._keeps_run else "", *self._addresses)
        self.powered = True

    def power_off(self) -> None:
        self.powered = False
        self._guest.cut()
        self._switch.detach(self.port)

    def reboot(self) -> None:
        """`shutdown -r now`: everybody is told to end, the disk is in order, and the machine starts anew. Nothing runs afterwards."""
        self._inside("shutdown")
        self.powered = False
        self._guest.power_off()
        self._switch.detach(self.port)
        self.power_on()

    def apply(self, jobs: Sequence[str], group: Sequence[Spec], properties: Mapping[str, Any], package: Path) -> None:
        super().apply(jobs, group, properties, package)
        self.monit = GuestMonit(self.machine, self.vcap / "jobs", self._unmonitored)
        self.shell("rm -rf /var/vcap/jobs && cp -a /out/vcap/. /var/vcap/")

    def has(self, vip: str) -> bool:
        if not self.powered:
            return False
        time.sleep(_BETWEEN_LOOKS)
        return any(f" {vip}/" in line and ": lo " not in line for line in self.shell("ip -oneline address").splitlines())

    def wait_for(self, vip: str, *, here: bool = True, seconds: float = WAIT) -> None:
        super().wait_for(vip, here=here, seconds=seconds)

    def log(self, job: str = "vrrp-drain", name: str = "vrrp-drain.log") -> str:
        try:
            return self.machine.read(f"/var/vcap/sys/log/{job}/{name}") if self.powered else ""
        except FileNotFoundError:
            return ""

    def shell(self, script: str) -> str:
        """Run a line of shell in it, and return what that prints."""
        done = self.machine.run(["sh", "-c", script], {"PATH": PATH})
        assert done.returncode == 0, f"{self.name}: {script}: {done.stderr}"
        return done.stdout

    def _inside(self, *arguments: str) -> None:
        done = self.machine.run(["/usr/bin/python3", "-I", str(_VM), *arguments], {"PATH": PATH})
        assert done.returncode == 0, f"{self.name}: {arguments}: {done.stderr}"


class GuestCluster(Cluster):
    """An instance group of whose ``nodes`` those with an index in ``guests`` are virtual machines. IPv6 is as the kernel has it."""

    def __init__(
        self, package: Path, kernel: Kernel, nodes: int = 2, guests: Collection[int] = (0,), *, keeps_run: bool = False, **options: Any
    ) -> None:
        self._kernel, self._guests, self._keeps_run = kernel, guests, keeps_run
        options["keepalived"] = {**SLOW, **options.get("keepalived", {})}
        options["vrrp_drain"] = {**PATIENT, **options.get("vrrp_drain", {})}
        super().__init__(package, nodes, dad=True, **options)

    def create(self) -> "GuestCluster":
        super().create()
        self.nodes[0].wait_for(self.vip, seconds=WAIT)
        return self

    def guest(self, index: int = 0) -> GuestNode:
        node = self.nodes[index]
        assert isinstance(node, GuestNode)
        return node

    def _machine(self, spec: Spec) -> Node:
        if spec.index not in self._guests:
            return super()._machine(spec)
        home = self._disk / f"{spec.name}-{spec.index}"
        vcap = home / "out/vcap"
        vcap.mkdir(parents=True)
        addresses = (f"{spec.address}/24", f"fd00::{spec.index + 1}/64")
        return GuestNode(
            self._kernel, home, self.switch, spec, addresses, vcap, self._make_agent, self._unmonitored, keeps_run=self._keeps_run
        )
