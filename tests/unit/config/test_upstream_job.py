"""haproxy-boshrelease's keepalived job beside ours: read, lowered, and put back byte for byte."""

import errno
import os
import signal
import stat
from pathlib import Path

import pytest

from unit.support.fakes import OTHER_SETTINGS, VIP
from vrrp_drain.config import upstream_job
from vrrp_drain.config.upstream_job import UpstreamJob
from vrrp_drain.keepalived import upstream_config
from vrrp_drain.keepalived.upstream_config import UpstreamConfig
from vrrp_drain.runtime.errors import ConfigError, SystemFault
from vrrp_drain.vrrp.bands import Band

PID = 4711
TEMPLATE = f"""\
global_defs {{
\tlvs_id haproxy
}}
vrrp_script check_haproxy {{
\tscript "killall -0 haproxy"
\tinterval 2
\tweight 2
}}
vrrp_instance haproxy_check_haproxy {{
\tstate MASTER
\tpriority 101
\tinterface auto
\tvirtual_router_id 1
\tvirtual_ipaddress {{
\t\t{VIP}
\t}}
\ttrack_script {{
\t\tcheck_haproxy
\t}}
}}
"""
RUNNING = TEMPLATE.replace("interface auto", "interface eth0")
LOWERED = "\tpriority 81 # vrrp-drain lowered it from 101\n"


class Job:
    """The other job's files, and the signals that its keepalived got."""

    def __init__(self, directory: Path) -> None:
        self.files = UpstreamJob(directory / "keepalived.config", directory / "keepalived.pid")
        self.template = directory / "keepalived.config.template"
        self.priority_control = UpstreamConfig(self.files)
        self.pid: int | None = PID
        self.signals: list[tuple[int, int]] = []
        self.files.config.write_text(RUNNING)
        self.template.write_text(TEMPLATE)

    @property
    def texts(self) -> list[str]:
        return [self.template.read_text(), self.files.config.read_text()]

    def says(self, text: str) -> None:
        """Make ``text`` what the job's template has."""
        self.template.write_text(text)

    def kill(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))

    def running(self, pid_file: Path) -> int | None:
        assert pid_file == self.files.pid_file
        return self.pid


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    created = Job(tmp_path)
    monkeypatch.setattr(os, "kill", created.kill)
    monkeypatch.setattr(upstream_config, "running", created.running)
    return created


def test_its_settings_are_read(job: Job) -> None:
    """What its vrrp_instance says, and keepalived's defaults for what it does not say, stand under the names of our properties."""
    assert upstream_job.read(job.files) == OTHER_SETTINGS


@pytest.mark.parametrize(
    ("old", "new", "name", "value"),
    [
        ("interface auto", "interface eth1", "interface", "eth1"),
        ("\tinterface auto\n", "", "interface", "auto"),
        ("virtual_router_id 1", "virtual_router_id 77", "virtual_router_id", 77),
        ("\tvirtual_router_id 1\n", "", "virtual_router_id", 51),
        ("state MASTER", "version 3", "vrrp_version", 3),
        ("state MASTER", "advert_int 0.5", "advert_int", 0.5),
        ("state MASTER", "nopreempt", "preempt", False),
        ("state MASTER", "# nopreempt", "preempt", True),
        ("state MASTER", "state MASTER # {", "virtual_router_id", 1),
        ("state MASTER", "unicast_peer {\n10.0.0.2\n10.0.0.3 ! the third\n}", "unicast_peers", ["10.0.0.2", "10.0.0.3"]),
        ("state MASTER", "unicast_peer {\n10.0.0.2\n}", "unicast", True),
        ("state MASTER", "authentication {\nauth_type PASS\nauth_pass secret\n}", "auth_pass", "secret"),
        ("priority 101", "priority 100", "priority", 100),
        ("\tpriority 101\n", LOWERED, "priority", 101),
        ("\tweight 2\n", "", "weight", 0),
        ("weight 2", "weight -20", "weight", -20),
    ],
)
def test_each_setting_that_matters_is_found(job: Job, old: str, new: str, name: str, value: object) -> None:
    """A setting is what its line says, an absent one is keepalived's default, a comment is none, and a lowered priority is the original."""
    job.says(TEMPLATE.replace(old, new))
    assert upstream_job.read(job.files)[name] == value


def test_the_template_is_read_first(job: Job) -> None:
    """Before its start the template is all that there is; without a template the configuration tells the same."""
    job.files.config.unlink()
    assert upstream_job.read(job.files)["interface"] == "auto"
    job.template.rename(job.files.config)
    assert upstream_job.read(job.files)["interface"] == "auto"
    job.says(RUNNING)
    assert upstream_job.read(job.files)["interface"] == "eth0"


SECOND_INSTANCE = "vrrp_instance second {\n\tpriority 90\n}\n"


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        pytest.param("", "must have one vrrp_instance with one priority; it has 0", id="empty"),
        pytest.param(TEMPLATE.partition("vrrp_instance")[0], "must have one vrrp_instance with one priority; it has 0", id="no instance"),
        pytest.param(TEMPLATE + SECOND_INSTANCE, "must have one vrrp_instance with one priority; it has 2", id="two instances"),
        pytest.param(TEMPLATE.replace("\tpriority 101\n", ""), "must have one vrrp_instance with one priority", id="no priority"),
        pytest.param(TEMPLATE.replace("101", "101\npriority 102"), "must have one vrrp_instance with one priority", id="two priorities"),
        pytest.param(TEMPLATE.replace("101", "high"), "must have one vrrp_instance with one priority", id="priority is no number"),
        pytest.param(TEMPLATE.replace("router_id 1", "router_id one"), "must have settings that keepalived understands", id="VRID"),
        pytest.param(TEMPLATE.replace("router_id 1", "router_id"), "must have settings that keepalived understands", id="no VRID"),
        pytest.param(TEMPLATE.replace("weight 2", "weight"), "must have settings that keepalived understands", id="no weight"),
        pytest.param(
            TEMPLATE.replace("state MASTER", "advert_int often"), "must have settings that keepalived understands", id="advert_int"
        ),
    ],
)
def test_what_cannot_be_steered_is_refused(job: Job, text: str, allowed: str) -> None:
    """A file that is damaged, or not of the kind that we know, is refused with the property and the file."""
    job.says(text)
    with pytest.raises(ConfigError) as error:
        upstream_job.read(job.files)
    assert str(error.value).startswith(f"vrrp_drain.keepalived_config is '{job.template}': {allowed}")


def test_a_missing_file_is_refused(job: Job) -> None:
    """Where there is neither template nor configuration, the path of the manifest is named."""
    job.template.unlink()
    job.files.config.unlink()
    with pytest.raises(ConfigError, match=rf"^vrrp_drain\.keepalived_config is '{job.files.config}': must be the configuration file"):
        upstream_job.read(job.files)


def test_a_file_that_is_no_text_is_refused(job: Job) -> None:
    """What cannot be read is named, with the reason."""
    job.template.write_bytes(b"\xff\xfe")
    with pytest.raises(
        ConfigError, match=rf"^vrrp_drain\.keepalived_config is '{job.template}': must be readable \(it is not UTF-8 text\)"
    ):
        upstream_job.read(job.files)


def test_lowering_changes_one_line_of_both_files(job: Job) -> None:
    """Template and configuration get 50 less, with the original beside it; every other byte stays, and keepalived is told once."""
    job.priority_control.write(Band.DRAINING)
    assert job.texts == [text.replace("\tpriority 101\n", LOWERED) for text in (TEMPLATE, RUNNING)]
    assert job.signals == [(PID, signal.SIGHUP)]
    assert job.priority_control.read() is Band.DRAINING


def test_raising_undoes_it_exactly(job: Job) -> None:
    """Afterwards nothing of ours is left in the files, and keepalived has read them again."""
    job.priority_control.write(Band.DRAINING)
    job.priority_control.write(Band.ACTIVE)
    assert job.texts == [TEMPLATE, RUNNING]
    assert job.signals == [(PID, signal.SIGHUP)] * 2
    assert job.priority_control.read() is Band.ACTIVE


@pytest.mark.parametrize("band", Band)
def test_the_same_band_again_is_no_change(job: Job, band: Band) -> None:
    """Neither the files nor keepalived are touched for a band that holds already: 101 never becomes 1."""
    job.priority_control.write(band)
    texts, job.signals = job.texts, []
    os.utime(job.files.config, (1, 1))
    job.priority_control.write(band)
    assert (job.texts, job.signals, job.priority_control.changed_at()) == (texts, [], 1)


def test_a_template_that_a_deploy_has_replaced_is_lowered_again(job: Job) -> None:
    """While one of the two is lowered the node is leaving; that only the other needs the change is a change all the same."""
    job.priority_control.write(Band.DRAINING)
    job.says(TEMPLATE)
    assert job.priority_control.read() is Band.DRAINING
    job.priority_control.write(Band.DRAINING)
    assert job.texts[0] == TEMPLATE.replace("\tpriority 101\n", LOWERED)
    assert len(job.signals) == 2


def test_without_a_keepalived_only_the_files_change(job: Job) -> None:
    """pre-start lowers the template before anything runs; keepalived starts lowered."""
    job.pid = None
    job.files.config.unlink()
    job.priority_control.write(Band.DRAINING)
    assert job.template.read_text() == TEMPLATE.replace("\tpriority 101\n", LOWERED)
    assert not job.files.config.exists()
    assert job.signals == []
    assert job.priority_control.read() is Band.DRAINING
    assert job.priority_control.changed_at() is None


def test_owner_and_mode_are_kept(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may read the file before may read it after, and nobody else; no scratch file stays."""
    owners = []
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: owners.append((uid, gid)))
    job.files.config.chmod(0o640)
    before = job.files.config.stat()
    job.priority_control.write(Band.DRAINING)
    assert stat.S_IMODE(job.files.config.stat().st_mode) == 0o640
    assert owners == [(before.st_uid, before.st_gid)] * 2
    assert set(job.template.parent.iterdir()) == {job.template, job.files.config}


def test_the_time_of_a_change_is_told(job: Job) -> None:
    """Since when the band holds is when we wrote it, not when the other job did."""
    os.utime(job.files.config, (1, 1))
    assert job.priority_control.changed_at() == 1
    job.priority_control.write(Band.DRAINING)
    assert (job.priority_control.changed_at() or 0) > 1


def test_a_reader_never_sees_half_a_file(job: Job) -> None:
    """A write replaces the file: a keepalived that reads it just then reads the old one to its end."""
    with job.files.config.open() as reader:
        job.priority_control.write(Band.DRAINING)
        assert reader.read() == RUNNING


def test_without_files_there_is_no_band(job: Job) -> None:
    """Where the other job is not there (yet), nothing is known and nothing is created."""
    job.template.unlink()
    job.files.config.unlink()
    assert job.priority_control.read() is None
    job.priority_control.write(Band.DRAINING)
    assert (job.priority_control.read(), job.signals, list(job.template.parent.iterdir())) == (None, [], [])


@pytest.mark.parametrize("damage", [b"\xff\xfe", None], ids=["no text", "a directory"])
def test_a_file_that_cannot_be_read_says_so(job: Job, damage: bytes | None) -> None:
    """Neither reading nor changing the band guesses at a damaged file; keepalived is not told of it."""
    job.files.config.unlink()
    if damage is None:
        job.files.config.mkdir()
    else:
        job.files.config.write_bytes(damage)
    with pytest.raises(SystemFault, match=rf"^cannot read {job.files.config}: "):
        job.priority_control.read()
    with pytest.raises(SystemFault, match=rf"^cannot read {job.files.config}: "):
        job.priority_control.write(Band.DRAINING)
    with pytest.raises(SystemFault, match=rf"^cannot read {job.files.config}: "):
        job.priority_control.mark(unhealthy=True)
    assert job.signals == []


def test_a_file_that_cannot_be_written_says_so(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the priority is what it was, and keepalived is not told."""

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    said = rf"^cannot change the priority in {job.files.config} to draining: .*No space left on device; the priority is unchanged$"
    with pytest.raises(SystemFault, match=said):
        job.priority_control.write(Band.DRAINING)
    assert (job.texts, job.signals) == ([TEMPLATE, RUNNING], [])


def test_marking_is_beside_the_band(job: Job) -> None:
    """The watcher's mark and what the scripts want are kept apart in one line, and each can be undone alone, in any order."""
    assert not job.priority_control.unhealthy()
    job.priority_control.mark(unhealthy=True)
    assert (job.priority_control.unhealthy(), job.priority_control.read()) == (True, Band.ACTIVE)
    assert [text.count("\tpriority 51 # vrrp-drain lowered it from 101 (unhealthy)\n") for text in job.texts] == [1, 1]
    job.priority_control.write(Band.DRAINING)
    assert (job.priority_control.unhealthy(), job.priority_control.read()) == (True, Band.DRAINING)
    assert [text.count("\tpriority 31 # vrrp-drain lowered it from 101 (draining, unhealthy)\n") for text in job.texts] == [1, 1]
    job.priority_control.mark(unhealthy=False)
    assert (job.priority_control.unhealthy(), job.priority_control.read()) == (False, Band.DRAINING)
    assert job.texts == [text.replace("\tpriority 101\n", LOWERED) for text in (TEMPLATE, RUNNING)]
    job.priority_control.write(Band.ACTIVE)
    assert job.texts == [TEMPLATE, RUNNING]
    assert job.signals == [(PID, signal.SIGHUP)] * 4


def test_the_same_mark_again_is_no_change(job: Job) -> None:
    """keepalived is told once, however often the watcher says it."""
    for _ in range(3):
        job.priority_control.mark(unhealthy=True)
    assert job.signals == [(PID, signal.SIGHUP)]


def test_a_keepalived_that_ends_meanwhile_is_no_fault(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the process and the signal it may end: its next start reads the files."""

    def gone(pid: int, number: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    job.priority_control.write(Band.DRAINING)
    assert job.priority_control.read() is Band.DRAINING
