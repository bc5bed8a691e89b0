"""Whose drain ends haproxy besides ours, as far as the scripts on this machine tell, and which scripts run."""

import subprocess
from pathlib import Path

import pytest

from vrrp_drain.haproxy.other_drain import ending_haproxy, running

PID_FILE = Path("/var/vcap/sys/run/bpm/haproxy/haproxy.pid")
HEAD = "#!/bin/bash\nset -e\npidfile=/var/vcap/sys/run/bpm/haproxy/haproxy.pid\nlog=/var/vcap/sys/log/haproxy/drain.log\n"
DISABLED = HEAD + '\necho "drain is disabled" >> ${log}\necho 0\nexit 0\n'


def drain(jobs: Path, job: str, text: str | bytes) -> None:
    script = jobs / job / "bin/drain"
    script.parent.mkdir(parents=True)
    script.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    ("job", "text"),
    [
        pytest.param("haproxy", HEAD + 'kill -USR1 "$(cat ${pidfile})"\necho 0\n', id="haproxy-boshrelease's with drain_enable"),
        pytest.param("haproxy", "#!/bin/sh\nexec /var/vcap/packages/lb/bin/finish\n", id="haproxy's own, that tells nothing"),
        pytest.param(
            "haproxy", HEAD + 'if [ ! -e on ]; then\n echo "drain is disabled"\n echo 0\n exit 0\nfi\nkill 1\n', id="decides later"
        ),
        pytest.param("balancer", "#!/bin/sh\npkill -USR1 -x haproxy\necho 0\n", id="by its name"),
        pytest.param("balancer", f"#!/bin/sh\nkill $(cat {PID_FILE})\necho 0\n", id="by its pid file"),
        pytest.param("balancer", b"\x7fELF\x00\xff/sys/run/bpm/haproxy/haproxy.pid\x00", id="a program"),
    ],
)
def test_a_drain_that_ends_haproxy(tmp_path: Path, job: str, text: str | bytes) -> None:
    """haproxy's own job's drain is one unless it is switched off; so is any that speaks of haproxy."""
    drain(tmp_path, job, text)
    assert ending_haproxy(tmp_path, PID_FILE) == [job]


@pytest.mark.parametrize(
    ("job", "text"),
    [
        pytest.param("haproxy", DISABLED, id="haproxy-boshrelease's without drain_enable"),
        pytest.param("haproxy", DISABLED + "\n\n", id="with empty lines behind it"),
        pytest.param("haproxy", DISABLED.removesuffix("\n"), id="without a last line feed"),
        pytest.param("vrrp-drain", "#!/bin/bash\nexec vrrpctl drain # haproxy\n", id="our own"),
        pytest.param(
            "exporter", "#!/bin/sh\n# runs beside haproxy\nkill $(cat /var/vcap/sys/run/haproxy_exporter/pid)\n", id="a neighbour"
        ),
        pytest.param("haproxy-exporter", "#!/bin/sh\nkill $(cat /run/haproxy-exporter.pid)\n", id="a longer name"),
        pytest.param("gorouter", "#!/bin/sh\nsleep 600\necho 0\n", id="another matter"),
    ],
)
def test_a_drain_that_leaves_haproxy_alone(tmp_path: Path, job: str, text: str) -> None:
    """One that is switched off, ours, and those of other programs keep nobody from asking clients to close."""
    drain(tmp_path, job, text)
    assert ending_haproxy(tmp_path, PID_FILE) == []


def test_all_of_them_are_named(tmp_path: Path) -> None:
    """Wherever the pid file says that haproxy's job is; what is no file is no script."""
    drain(tmp_path, "b", "killall haproxy\n")
    drain(tmp_path, "a", "exec ctl drain\n")
    (tmp_path / "c/bin/drain").mkdir(parents=True)
    assert ending_haproxy(tmp_path, Path("/var/vcap/sys/run/bpm/a/main.pid")) == ["a", "b"]
    assert ending_haproxy(tmp_path / "none", PID_FILE) == []


JOBS = Path("/var/vcap/jobs")


def process(proc: Path, pid: int, name: str, parent: int = 1, command: str = "", state: str = "S") -> None:
    entry = proc / str(pid)
    entry.mkdir(parents=True)
    (entry / "stat").write_text(f"{pid} ({name}) {state} {parent} 1 1 0\n")
    (entry / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0" if command else b"")


def test_scripts_that_run_are_named(tmp_path: Path) -> None:
    """By their command line, with an interpreter or without; what only speaks of a script, or has ended, is none."""
    process(tmp_path, 1, "init", 0, "/sbin/init")
    process(tmp_path, 7, "drain", 1, "/bin/bash /var/vcap/jobs/haproxy/bin/drain job_changed hash_unchanged")
    process(tmp_path, 8, "pre-stop", 1, "/var/vcap/jobs/gorouter/bin/pre-stop")
    process(tmp_path, 9, "ruby", 1, "/usr/bin/env ruby -w /var/vcap/jobs/uaa/bin/post-start")
    process(tmp_path, 10, "tail", 1, "tail -f -n 5 -q /var/vcap/jobs/haproxy/bin/drain")
    process(tmp_path, 11, "less", 1, "less /var/vcap/jobs/haproxy/bin/drain.erb")
    process(tmp_path, 12, "drain", 1, state="Z")
    process(tmp_path, 13, "a) S 99 (b", 1, "/var/vcap/jobs/x/bin/run")
    (tmp_path / "self").mkdir()
    (tmp_path / "14").mkdir()  # it has ended meanwhile
    (tmp_path / "15").mkdir()
    (tmp_path / "15/stat").write_text("")
    assert sorted(running(JOBS, tmp_path)) == [
        "the drain of the job haproxy (pid 7)",
        "the post-start of the job uaa (pid 9)",
        "the pre-stop of the job gorouter (pid 8)",
    ]


def test_what_a_script_has_become_is_seen_too(tmp_path: Path) -> None:
    """A script that execs a program keeps nothing of its name, but is still what the agent runs; what that runs is its own matter."""
    process(tmp_path, 2, "bosh-agent", 1, "/var/vcap/bosh/bin/bosh-agent -P ubuntu")
    process(tmp_path, 7, "vrrpctl", 2, "python3 /var/vcap/packages/vrrp-drain/bin/vrrpctl drain")
    process(tmp_path, 8, "sleep", 7, "sleep 5")
    process(tmp_path, 9, "df", 2, state="Z")
    assert running(JOBS, tmp_path) == ["vrrpctl of bosh-agent (pid 7)"]


def test_a_real_script_is_seen(tmp_path: Path) -> None:
    """The kernel's own /proc, while it runs and not after."""
    drain(tmp_path, "haproxy", "#!/bin/bash\nread -r line\n")
    script = tmp_path / "haproxy/bin/drain"
    script.chmod(0o755)
    with subprocess.Popen([script], stdin=subprocess.PIPE) as process:
        assert running(tmp_path) == [f"the drain of the job haproxy (pid {process.pid})"]
    assert running(tmp_path) == []
