"""`make lab` and `make shell`, driven as a person drives them: stdout is no terminal here, so the picture comes in lines."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.fabric.namespace import children
from lab.fabric.release import REPOSITORY
from lab.fabric.wait import until

FILES = re.findall(r"^\| (`[^|]+`) \|.*\| (0\d{3}) \|", (REPOSITORY / "docs/architecture.md").read_text(), re.MULTILINE)
LOGS_OF_SCRIPTS = {f"sys/log/vrrp-drain/{script}.{stream}.log" for script in ("pre-start", "post-start") for stream in ("stdout", "stderr")}


class Lab:
    """`make lab` on its way, with its files in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.machines = directory / "machines.json"
        self._directory = directory
        self._said = directory / "said"
        self._environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}/lib:{REPOSITORY}/tests", "TMPDIR": str(directory)}
        with self._said.open("w") as said:
            self.process = subprocess.Popen(self._command("run"), env=self._environment, stdout=said, stderr=said)

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def says(self, text: str, seconds: float = 40) -> None:
        """Wait until it has said ``text``."""
        until(lambda: text in self.said() or self.process.poll() is not None, f"the lab to say {text!r}", seconds)
        assert text in self.said(), self.said()

    def said(self) -> str:
        return self._said.read_text()

    def again(self) -> "subprocess.CompletedProcess[str]":
        """Start another one in the same place, to its end."""
        return subprocess.run(self._command("run"), env=self._environment, capture_output=True, text=True, timeout=30, check=False)

    def shell(self, node: str, command: str) -> "subprocess.CompletedProcess[str]":
        """Do what `make shell NODE=node CMD=command` does."""
        words = self._command("shell", node, command)
        return subprocess.run(words, env=self._environment, capture_output=True, text=True, timeout=30, check=False)

    def networks(self) -> set[int]:
        """Return the network namespaces of all that it has made."""
        return {network for pid in descendants(self.process.pid) if (network := network_of(pid))} - {network_of(os.getpid())}

    def _command(self, what: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "lab.playground", what, str(self._directory), *more]


@pytest.fixture
def lab(package: Path, tmp_path: Path) -> Iterator[Lab]:
    """Start a lab that ends with the test; the package is only asked for whether there can be one here."""
    with Lab(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def quiet_lab(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give a lab that is deployed, in which nothing is moved."""
    with Lab(tmp_path_factory.mktemp("lab")) as started:
        started.says("haproxy/0  MASTER")
        yield started


def descendants(pid: int) -> set[int]:
    try:
        found = children(pid)
    except OSError:  # it has ended
        return set()
    return {*found, *(each for child in found for each in descendants(child))}


def network_of(pid: int) -> int:
    """Return what tells a process' network from others; 0 where it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0


def nobody_is_in(networks: set[int]) -> bool:
    """Tell whether no process of this machine is in one of them."""
    return all(network_of(int(each.name)) not in networks for each in Path("/proc").iterdir() if each.name.isdigit())


@pytest.mark.thorough
def test_play_and_ctrl_c(lab: Lab) -> None:
    """A person looks, demotes, kills, is told what happens, and Ctrl-C takes all away."""
    lab.says("haproxy/0  MASTER  active  haproxy answers  watcher runs")
    networks = lab.networks()
    assert len(networks) == 5, "three instances, the client, and the switch"
    assert "10.0.0.10 is at 10.0.0.1, which adverts priority 254 (active)" in lab.shell("1", "vrrpctl status").stdout
    assert lab.shell("client", "curl --silent http://10.0.0.10").stdout == "haproxy/0"
    assert lab.shell("2", "killall -KILL haproxy").returncode == 0
    assert lab.shell("0", "vrrpctl demote").returncode == 0
    lab.says("haproxy/1  has the VIP\n")
    lab.says("haproxy/1  MASTER  active  haproxy answers  watcher runs")
    lab.says("haproxy/0  BACKUP  draining")
    lab.says("haproxy/2  monit starts haproxy")
    lab.says("haproxy/2  haproxy answers")
    assert lab.shell("2", "monit stop vrrp-drain-watch && monit summary").stdout.splitlines() == [
        "haproxy: running",
        "keepalived: running",
        "vrrp-drain-watch: stopped, left alone",
    ]
    lab.says("haproxy/2  BACKUP  active  haproxy answers  watcher does not run")
    assert re.search(r"^clients  [1-9]\d* answered, 0 failed, 0 slow each second$", lab.said(), re.MULTILINE)

    lab.process.send_signal(signal.SIGINT)
    assert lab.process.wait(30) == 0
    assert lab.said().splitlines()[-1] == "SIGINT: all is taken away"
    assert nobody_is_in(networks)
    assert not lab.machines.exists()


def test_wrong_turns(quiet_lab: Lab) -> None:
    """A node that is not there, a second lab, a name that monit does not know: each says what is right. A command's exit code is kept."""
    done = quiet_lab.shell("7", "true")
    assert (done.returncode, done.stderr) == (1, "there is no node '7': NODE is one of 0, 1, 2, client\n")
    done = quiet_lab.again()
    assert (done.returncode, "a lab runs already" in done.stdout) == (1, True)
    done = quiet_lab.shell("0", "monit restart nobody")
    assert (done.returncode, done.stderr.partition(":")[0]) == (1, "usage")
    assert quiet_lab.shell("0", "exit 3").returncode == 3


def test_files_are_those_of_the_documentation(quiet_lab: Lab) -> None:
    """What the jobs keep on an instance stands in docs/architecture.md, with its mode, and belongs to root."""
    places = " ".join(f"/var/vcap/{each}" for each in ("jobs/keepalived/config", "jobs/vrrp-drain/config", "sys/run", "sys/log"))
    listed = quiet_lab.shell("0", f"find {places} -type f -printf '%P %H 0%m %u\\n'").stdout.splitlines()
    found = {f"{top.removeprefix('/var/vcap/')}/{name}": mode for name, top, mode, _ in (line.split() for line in listed)}
    assert {line.split()[-1] for line in listed} == {"root"}
    told = {name: mode for names, mode in FILES for name in paths(names)}
    ours = {name: mode for name, mode in found.items() if "haproxy" not in name and name not in LOGS_OF_SCRIPTS}
    assert ours.items() <= told.items()
    # of a deployment that is being deleted, of a drain, where a frontend is bound to a VIP
    only_at_times = {"next-state", "no-successor", "finishing", "let-go", "inherited-marks"}
    assert told.keys() - ours.keys() == {f"sys/run/vrrp-drain/{name}" for name in only_at_times}


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_middle_of_the_deployment(lab: Lab, number: signal.Signals) -> None:
    """Machines end with whoever made them, however that one ends; what is left behind deceives nobody."""
    until(lambda: lab.machines.exists() and lab.machines.read_text(), "the machines to be there")
    networks = lab.networks()
    lab.process.send_signal(number)
    lab.process.wait(30)
    until(lambda: nobody_is_in(networks), "all processes to be gone", 30)
    assert lab.machines.exists() is (number == signal.SIGKILL)
    assert lab.shell("0", "true").stderr == "no lab runs here: make lab starts one, in another terminal\n"


def paths(cell: str) -> list[str]:
    """Return the files that a cell names; a further one that is only a name stands in the directory of the first."""
    first, *others = re.findall(r"`([^`]+)`", cell)
    return [first, *(name if "/" in name else f"{Path(first).parent}/{name}" for name in others)]
