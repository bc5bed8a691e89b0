"""The keepalived of our job: started and stopped. A shell script of that name stands in for it."""

import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, VIP, Clock, FakeIPR, address, link, rendered
from vrrp_drain.config.model import Config
from vrrp_drain.keepalived import checks
from vrrp_drain.keepalived.daemon import Daemon
from vrrp_drain.linux import proc_connector
from vrrp_drain.linux.process import running
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import ConfigError, SystemFault
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp.bands import Band

WAIT = 'read _ < "$0.fifo"'  # for ever: nobody writes there
RUN = f'echo $$ > "$pid_file"; {WAIT}'


class Job:
    """The job with a keepalived that behaves as told, and the processes that came of it."""

    def __init__(self, paths: Paths, config: Config, netlink: Netlink) -> None:
        self.paths = paths
        self.config = config
        self.netlink = netlink
        self.said: list[str] = []
        self.guarded: tuple[int, ...] = (4,)
        self.members: list[str] = []
        self.keepalived = Daemon(paths, self.said.append, lambda: self.guarded, lambda: [*map(ip_address, self.members)])
        self.processes: list[subprocess.Popen[bytes]] = []
        paths.keepalived_binary.parent.mkdir(parents=True)
        os.mkfifo(f"{paths.keepalived_binary}.fifo")

    def install(self, run: str = RUN, check: str = "exit 0") -> None:
        """Make a keepalived that does ``check`` for --config-test and ``run`` otherwise."""
        self.paths.keepalived_binary.write_text(
            f'#!/bin/sh\nwhile [ $# -gt 0 ]; do\ncase "$1" in --config-test) {check};; --pid) pid_file=$2;; esac\nshift\ndone\n{run}\n'
        )
        self.paths.keepalived_binary.chmod(0o755)

    def start(self) -> None:
        self.keepalived.start(self.config, self.netlink)

    def stop(self) -> None:
        self.keepalived.stop(self.config, self.netlink)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the stand-in directly, in a session of its own, and wait for its pid file."""
        pid_file = self.keepalived.pid_file
        pid_file.parent.mkdir(parents=True)
        process = subprocess.Popen([self.paths.keepalived_binary, "--pid", pid_file], start_new_session=True)
        self.processes.append(process)
        while running(pid_file) != process.pid:
            assert process.poll() is None
        return process


def with_properties(job: Job, **keepalived: object) -> None:
    job.config = Config.parse(rendered(keepalived=keepalived))


@pytest.fixture
def job(paths: Paths, config: Config, netlink: Netlink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    created = Job(paths, config, netlink)
    created.install()
    spawn = Daemon._spawn

    def remember(ours: Daemon, conf: Path) -> subprocess.Popen[bytes]:
        created.processes.append(spawn(ours, conf))
        return created.processes[-1]

    monkeypatch.setattr(Daemon, "_spawn", remember)
    yield created
    for process in created.processes:
        process.kill()
        process.wait()


def test_start(job: Job) -> None:
    """keepalived.conf is written, the node takes part in the election, and the process runs under the pid file's pid."""
    job.start()
    process = job.processes[0]
    assert running(job.keepalived.pid_file) == process.pid
    assert "interface eth0" in (job.paths.keepalived_run / "keepalived.conf").read_text()
    assert job.keepalived.track_files.read() is Band.ACTIVE
    assert job.said == [f"keepalived started for {VIP} on eth0 (pid {process.pid}, priority 254)"]
    assert os.getsid(process.pid) == process.pid


UNICAST = {"unicast": True}
HUP = 'trap "echo hup >> $0.hups" HUP; echo $$ > "$pid_file"; while sleep 0.05; do :; done'  # a trap waits for what has begun


def peers(job: Job) -> list[str]:
    """Return whom keepalived adverts to, as its configuration says."""
    conf = (job.paths.keepalived_run / "keepalived.conf").read_text()
    return conf.partition("unicast_peer {")[2].partition("}")[0].split()


def hups(job: Job) -> int:
    """Return how often keepalived has been told to read its configuration again."""
    noted = Path(f"{job.paths.keepalived_binary}.hups")
    return len(noted.read_text().splitlines()) if noted.exists() else 0


def test_unicast_goes_to_everybody_who_is_known(job: Job) -> None:
    """Who has said hello from another address than the link names is a peer as well; not where our rules, which know him, are not there."""
    job.members = [PEER, "10.0.0.51", OWN, "fe80::51", VIP]
    with_properties(job, **UNICAST)
    job.start()
    assert peers(job) == [PEER, "10.0.0.51"]
    job.stop()
    job.guarded = ()
    job.start()
    assert peers(job) == [PEER, "min_ttl", "255"]


@pytest.fixture
def hangups_count() -> Iterator[None]:
    """Have what is started here not ignore SIGHUP, as nohup would have it: a shell cannot trap what it was born to ignore."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_count")
def test_reload(job: Job) -> None:
    """keepalived is told once of somebody new, and goes on; what is no news is not told, nor is anybody where it does not run."""
    job.install(HUP)
    with_properties(job, **UNICAST)
    job.keepalived.reload(job.config, job.netlink)
    job.start()
    job.keepalived.reload(job.config, job.netlink)
    assert (peers(job), hups(job)) == ([PEER], 0)
    job.members = ["10.0.0.51"]
    for _ in range(2):
        job.keepalived.reload(job.config, job.netlink)
    while not hups(job):
        time.sleep(0.01)
    assert (peers(job), hups(job)) == ([PEER, "10.0.0.51"], 1)
    assert running(job.keepalived.pid_file) == job.processes[0].pid
    assert stat.S_IMODE((job.paths.keepalived_run / "keepalived.conf").stat().st_mode) == 0o600


def test_a_reload_that_keepalived_refuses(job: Job) -> None:
    """The configuration that it runs with stays."""
    job.install(HUP)
    with_properties(job, **UNICAST)
    job.start()
    job.install(HUP, check="echo no; exit 1")
    job.members = ["10.0.0.51"]
    with pytest.raises(SystemFault, match="keepalived refuses"):
        job.keepalived.reload(job.config, job.netlink)
    assert (peers(job), hups(job)) == ([PEER], 0)


def test_a_reload_that_cannot_be_written(job: Job) -> None:
    """It says so, and what it means."""
    with_properties(job, **UNICAST)
    job.start()
    (job.paths.keepalived_run / "keepalived.conf").unlink()
    with pytest.raises(SystemFault, match=r"^cannot have keepalived advert to new peers: "):
        job.keepalived.reload(job.config, job.netlink)


@pytest.mark.parametrize("before", [None, 0o644])
def test_only_root_may_read_the_configuration(job: Job, before: int | None) -> None:
    """There may be a password in keepalived.conf, also in one that an older version has left readable."""
    conf = job.paths.keepalived_run / "keepalived.conf"
    if before:
        conf.parent.mkdir(parents=True)
        conf.touch()
        conf.chmod(before)
    with_properties(job, auth_pass="cf-lb-1")
    job.start()
    assert "auth_pass cf-lb-1" in conf.read_text()
    assert stat.S_IMODE(conf.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("reason", "block", "said"),
    [
        ("", "vrrp_track_process track_process", []),
        (
            *("the kernel did not answer within 1 s", "vrrp_script process:gone"),
            [
                "keepalived.track_process: the kernel does not report here which processes end (the kernel did not answer within 1 s); "
                "haproxy is looked for every second instead"
            ],
        ),
    ],
    ids=["the kernel tells", "the kernel does not tell"],
)
def test_a_process_is_tracked_as_the_kernel_allows(
    job: Job, monkeypatch: pytest.MonkeyPatch, reason: str, block: str, said: list[str]
) -> None:
    """Where keepalived could not hear of the end of a process, a check takes its place, and that is said."""
    monkeypatch.setattr(proc_connector, "available", lambda: reason)
    with_properties(job, track_process="haproxy")
    job.start()
    assert f"\n{block} {{\n" in (job.paths.keepalived_run / "keepalived.conf").read_text()
    assert job.said[:-1] == said


def test_the_kernel_is_not_asked_for_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keepalived.track_process nobody needs to know."""
    monkeypatch.setattr(proc_connector, "available", lambda: pytest.fail("asked"))
    job.start()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a program, and a link that leads to the directory on the search path."""
    directory = tmp_path / "usr/bin"
    directory.mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (directory / "killall").touch(mode=0o755)
    (directory / "nc").symlink_to("nc.openbsd")
    (directory / "nc.openbsd").touch(mode=0o755)
    monkeypatch.setattr(checks, "PATH", str(tmp_path / "bin"))
    return directory


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("killall -0 haproxy", "{usr}/killall -0 haproxy"),
        ("{bin}/killall -0  haproxy", "{usr}/killall -0  haproxy"),
        ("{bin}/nc", "{usr}/nc"),
        ("missing -z", "missing -z"),
        ("{bin}/missing -z", "{bin}/missing -z"),
    ],
)
def test_a_program_is_located_behind_linked_directories(programs: Path, command: str, found: str) -> None:
    """keepalived trusts no path with a link in its directories; the program itself may be one, and arguments stay as they are."""
    names = {"usr": str(programs), "bin": str(programs.parents[1] / "bin")}
    assert checks.located(command.format(**names)) == found.format(**names)


def test_commands_are_located_for_keepalived(job: Job, programs: Path) -> None:
    """What is found is what keepalived.conf has."""
    job.start()
    assert f'script "{programs}/killall -0 haproxy"' in (job.paths.keepalived_run / "keepalived.conf").read_text()


def test_start_keeps_the_band(job: Job) -> None:
    """What pre-start has written holds: a restarted node does not take part before it is promoted."""
    job.keepalived.track_files.write(Band.DRAINING)
    job.start()
    assert job.keepalived.track_files.read() is Band.DRAINING


def test_start_mends_a_damaged_band(job: Job) -> None:
    """A band file that keepalived could not read is replaced, and that is said."""
    job.keepalived.track_files.write(Band.DRAINING)
    job.keepalived.track_files.path.write_text("")
    job.start()
    assert job.keepalived.track_files.read() is Band.ACTIVE
    assert job.said[0].endswith(": writing active")


def test_a_second_start_changes_nothing(job: Job) -> None:
    """A keepalived that runs already is left alone."""
    job.start()
    job.start()
    assert len(job.processes) == 1
    assert job.said[-1] == f"keepalived runs already (pid {job.processes[0].pid})"


def test_a_refused_configuration_starts_nothing(job: Job) -> None:
    """What keepalived says about the file reaches the operator, and nothing is started."""
    job.install(check="echo 'Unknown keyword'; echo 'line 3' >&2; exit 5")
    with pytest.raises(SystemFault, match=r"^keepalived refuses .*keepalived.conf \(status 5\): Unknown keyword; line 3$"):
        job.start()
    assert job.processes == []


def test_a_check_that_hangs_starts_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keepalived that does not come back from reading its configuration is given up after the bound."""

    def hang(command: list[str], *, timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(SystemFault, match=r"^keepalived did not check .*keepalived\.conf within 15 s$"):
        job.start()
    assert job.processes == []


def test_a_keepalived_that_goes_before_its_start_is_named(job: Job) -> None:
    """A package that is replaced at the wrong moment gives a clear word, too."""
    job.install(check='rm "$0"; exit 0')
    with pytest.raises(SystemFault, match=f"^cannot start {job.paths.keepalived_binary}: not found$"):
        job.start()


def test_a_missing_keepalived_is_named(job: Job) -> None:
    """Without the package the path that is missing is said."""
    job.paths.keepalived_binary.unlink()
    with pytest.raises(SystemFault, match=f"^cannot run {job.paths.keepalived_binary}: No such file or directory"):
        job.start()


def test_a_keepalived_that_ends_at_once_is_no_start(job: Job) -> None:
    """The status of the dead process and its log file are named."""
    job.install(run="echo complaint; exit 3")
    with pytest.raises(SystemFault, match=f"ended at once with status 3: see {job.paths.keepalived_log}"):
        job.start()
    assert job.paths.keepalived_log.read_text() == "complaint\n"


def test_a_keepalived_that_never_gets_ready(job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pid file the start fails after its bound, and leaves no process behind that nobody could find and stop."""
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(Daemon, "_check", lambda ours, conf: None)  # subprocess sleeps, too
    job.install(run=WAIT)
    with pytest.raises(SystemFault, match=r"wrote no .*keepalived\.pid within 15 s"):
        job.start()
    assert 15 <= sum(clock.slept) < 15.1
    assert job.processes[0].poll() == -signal.SIGKILL


def test_start_without_an_interface_is_a_matter_of_the_manifest(job: Job, ipr: FakeIPR) -> None:
    """Where no interface fits the VIP, nothing is written or started."""
    ipr.routes = []
    with pytest.raises(ConfigError, match=r"^keepalived\.interface is 'auto'"):
        job.start()
    assert not job.paths.keepalived_run.exists()


def test_start_without_a_place_to_write(job: Job) -> None:
    """A run directory that cannot be had is named."""
    job.paths.keepalived_run.parent.mkdir(parents=True)
    job.paths.keepalived_run.write_text("")
    with pytest.raises(SystemFault, match=f"^cannot write {job.paths.keepalived_run}: File exists"):
        job.start()


def test_stop(job: Job) -> None:
    """SIGTERM ends keepalived, and the pid file goes."""
    process = job.spawn()
    job.stop()
    assert process.wait() == -signal.SIGTERM
    assert not job.keepalived.pid_file.exists()
    assert job.said == ["keepalived stopped"]


def test_stop_kills_a_keepalived_that_hangs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not end in time is killed."""
    job.install(run=f"trap '' TERM; {RUN}")
    process = job.spawn()
    wait = select.select
    bounds = []

    def impatient(*arguments: Any) -> Any:
        bounds.append(arguments[3])
        return ([], [], []) if len(bounds) == 1 else wait(*arguments)

    monkeypatch.setattr(select, "select", impatient)
    job.stop()
    assert process.wait() == -signal.SIGKILL
    assert job.said[0] == f"keepalived (pid {process.pid}) did not end within 25 s of SIGTERM: killing it"


def test_stop_takes_away_what_a_dead_keepalived_left(job: Job, ipr: FakeIPR) -> None:
    """With no process there, a VIP on the interface is stale and goes."""
    before = list(ipr.addresses)
    ipr.addresses = [*before, address(2, f"{VIP}/32")]
    job.stop()
    assert ipr.addresses == before
    assert job.said[-1] == f"{VIP} was still on eth0 after keepalived had ended: taking it off"


@pytest.mark.parametrize(("vmac", "interface"), [(False, 2), (True, 4)], ids=["eth0", "vrrp.1"])
def test_stop_takes_every_vip_away(job: Job, ipr: FakeIPR, vmac: bool, interface: int) -> None:
    """Of several VIPs none stays, wherever keepalived had put them; each that was there is said."""
    with_properties(job, vips=["10.0.0.11/24", "10.0.0.12", "2001:db8::10/64"], use_vmac=vmac)
    ipr.links.append(link(4, "vrrp.1", "00:00:5e:00:01:01"))
    before = list(ipr.addresses)
    ipr.addresses = [*before, *(address(interface, each) for each in (f"{VIP}/32", "10.0.0.11/24")), address(2, "2001:db8::10/64")]
    job.stop()
    assert ipr.addresses == before
    assert [line.split()[0] for line in job.said[1:]] == [VIP, "10.0.0.11", "2001:db8::10"]


def test_stop_without_an_interface(job: Job, ipr: FakeIPR) -> None:
    """An interface that went took its VIPs along: keepalived is stopped all the same."""
    process = job.spawn()
    ipr.routes = []
    job.stop()
    assert process.wait() == -signal.SIGTERM
    assert job.said == ["keepalived stopped"]


@pytest.mark.parametrize(("drained_by_us", "band"), [(True, Band.DRAINING), (False, Band.ACTIVE)])
def test_the_band_after_a_reboot(job: Job, drained_by_us: bool, band: Band) -> None:
    """Where the vrrp-drain job is here too, its watcher promotes when haproxy answers; alone, keepalived takes part at once."""
    if drained_by_us:
        job.paths.drain_config.parent.mkdir(parents=True)
        job.paths.drain_config.touch()
    job.start()
    assert job.keepalived.track_files.read() is band
    assert not job.keepalived.track_files.unhealthy()


def test_start_keeps_the_watchers_mark(job: Job) -> None:
    """A keepalived that is started again while haproxy is dead does not advert as if it were well."""
    job.keepalived.track_files.mark(unhealthy=True)
    job.start()
    assert job.keepalived.track_files.unhealthy()


@pytest.mark.parametrize("before", [None, 0o777])
def test_only_root_gets_into_the_run_directory(job: Job, before: int | None) -> None:
    """Who could write there would decide what root runs; the agent makes it for the group vcap too."""
    if before:
        job.paths.keepalived_run.mkdir(parents=True)
        job.paths.keepalived_run.chmod(before)
    job.start()
    assert stat.S_IMODE(job.paths.keepalived_run.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("guarded", "checks", "said"),
    [
        ((4,), False, ""),
        ((), True, "vrrp-drain has not installed its rules"),
        ((6,), True, "vrrp-drain has not installed its rules"),
        (SystemFault("the kernel does not tell its nftables rules (EPERM)"), True, "the kernel does not tell its nftables rules (EPERM)"),
    ],
    ids=["rules", "no rules", "of the other family", "not known"],
)
def test_whom_keepalived_hears(job: Job, guarded: tuple[int, ...] | SystemFault, checks: bool, said: str) -> None:
    """Where our rules let peers in, also those with a new address, keepalived leaves it to them; else it checks unicast itself."""

    def tell() -> tuple[int, ...]:
        if isinstance(guarded, SystemFault):
            raise guarded
        return guarded

    job.keepalived = Daemon(job.paths, job.said.append, tell)
    with_properties(job, unicast=True)
    job.start()
    assert ("check_unicast_src" in (job.paths.keepalived_run / "keepalived.conf").read_text()) is checks
    assert [each for each in job.said if "hears whoever" in each] == (
        [f"keepalived hears whoever sends adverts with its VRID ({said}); of unicast it checks the source itself"] if said else []
    )
