"""Whose drain ends haproxy besides ours, as far as the scripts on this machine tell."""

from pathlib import Path

import pytest

from vrrp_drain.bosh_scripts import ending_haproxy

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
