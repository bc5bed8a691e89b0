"""One VM of the lab: a machine with its own /var/vcap, its agent and its monit."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import release
from .addresses import has_address
from .agent import PATH, Agent, MakeAgent
from .monit import Monit
from .namespace import Namespace
from .network import Switch, mac_of
from .programs import Programs, of_environment
from .release import Spec
from .wait import until


@dataclass(frozen=True)
class Nic:
    """A further interface of each instance: ``address`` has a place for the instance's number, the MACs count from ``numbered_from``."""

    switch: Switch
    name: str = "eth1"
    address: str = "10.1.0.{}/24"
    numbered_from: int = 101


class Node:
    """The disk (``vcap``) outlives the power; network and processes do not. ``programs`` are not this machine's."""

    def __init__(
        self,
        switch: Switch,
        spec: Spec,
        addresses: tuple[str, ...],
        vcap: Path,
        make_agent: MakeAgent = Agent,
        unmonitored: Collection[str] = (),
        further: Sequence[Nic] = (),
        mac: int | None = None,
        programs: Programs = MappingProxyType({}),
    ) -> None:
        self.spec = spec
        self.name = f"{spec.name}/{spec.index}"
        self.vcap = vcap
        self._switch = switch
        self._addresses = addresses
        self._make_agent = make_agent
        self._unmonitored = unmonitored
        self._further = further
        self._programs = {**of_environment(), **programs}
        self.power_on(mac)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return those of eth0, with prefix lengths."""
        return self._addresses

    def power_on(self, mac: int | None = None) -> None:
        """Boot: network and an empty /var/vcap/sys/run; nothing runs yet. A machine that was made anew has another last byte, ``mac``."""
        self.machine = Namespace(f"{self.spec.name}-{self.spec.index}", self.vcap, self._programs)
        number = mac or self.spec.index + 1
        self.mac = mac_of(number)
        self.port = self._switch.attach(self.machine, number, self._addresses)
        for nic in self._further:
            self.plug_in(nic)
        self.agent = self._make_agent(self.machine, self.vcap)
        self.monit = Monit(self.machine, self.vcap / "jobs", self._unmonitored)
        self.powered = True

    def plug_in(self, nic: Nic) -> str:
        """Give the machine a further interface, for as long as it has power, and return the MAC of that."""
        number = nic.numbered_from + self.spec.index
        nic.switch.attach(self.machine, number, (nic.address.format(self.spec.index + 1),), nic.name)
        return mac_of(number)

    def readdress(self, spec: Spec) -> None:
        """Have it boot with another address the next time."""
        before, self.spec = self.spec, spec
        self._addresses = tuple(each.replace(f"{before.address}/", f"{spec.address}/") for each in self._addresses)

    def power_off(self) -> None:
        """Cut the power."""
        self.powered = False
        self.machine.kill()
        self._switch.detach(self.port)

    def apply(self, jobs: Sequence[str], group: Sequence[Spec], properties: Mapping[str, Any], package: Path) -> None:
        """What the agent's apply does: packages and rendered jobs are in place afterwards."""
        release.install(self.vcap, package)
        directory = self.vcap / "jobs"
        shutil.rmtree(directory, ignore_errors=True)  # every job gets a directory of its own version
        provider = next((job for job in jobs if release.name_on_disk(job) == "keepalived"), "keepalived")
        release.render(
            *(release.Rendering(job, self.spec, group, properties, directory / release.name_on_disk(job), provider) for job in jobs)
        )
        self.monit = Monit(self.machine, self.vcap / "jobs", self._unmonitored)

    def start(self) -> None:
        """pre-start, monit start, post-start."""
        self.agent.run_script("pre-start")
        self.monit.start()
        self.agent.run_script("post-start")

    def vrrpctl(self, *arguments: str) -> tuple[int, str, str]:
        """Run the operator's command and return exit code, stdout, stderr."""
        done = self.machine.run(["/var/vcap/packages/vrrp-drain/bin/vrrpctl", *arguments], {"PATH": PATH})
        return done.returncode, done.stdout, done.stderr

    def status(self) -> dict[str, Any]:
        code, stdout, stderr = self.vrrpctl("status", "--json")
        if code != 0:
            raise RuntimeError(f"{self.name}: vrrpctl status exited {code}: {stderr}")
        found: dict[str, Any] = json.loads(stdout)
        return found

    def has(self, vip: str) -> bool:
        """Tell whether the VIP is on an interface but lo; a machine without power has nothing."""
        return self.powered and has_address(self.machine, vip)

    def crash_keepalived(self) -> None:
        """Kill keepalived so that its VIP stays behind. Both processes are stopped first: the child would clean up when its
        parent dies before it does."""
        for signal in ("-STOP", "-KILL"):
            self.machine.run(["killall", signal, "keepalived"])

    def wait_for(self, vip: str, *, here: bool = True, seconds: float = 20) -> None:
        until(lambda: self.has(vip) is here, f"{vip} to be {'on' if here else 'off'} {self.name}", seconds)

    def wait_until_logged(self, text: str, *, count: int = 1, seconds: float = 20) -> None:
        """Wait until keepalived has logged ``text`` for the ``count``-th time."""
        until(lambda: self.log("keepalived", "keepalived.log").count(text) >= count, f"{self.name}'s keepalived to log {text!r}", seconds)

    def band(self) -> str | None:
        """Return the text of the track file."""
        try:
            return self.machine.read("/var/vcap/sys/run/keepalived/band").strip()
        except FileNotFoundError:
            return None

    def log(self, job: str = "vrrp-drain", name: str = "vrrp-drain.log") -> str:
        path = self.vcap / "sys/log" / job / name
        return path.read_text(errors="replace") if path.exists() else ""
