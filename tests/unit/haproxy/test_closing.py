"""How haproxy closes, read of the configuration of a haproxy that runs."""

import math
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from vrrp_drain.haproxy import config_files
from vrrp_drain.haproxy.closing import Closing, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Closing()),
        ("global\n    maxconn 100\ndefaults\n    mode http\n", Closing()),
        ("global\n    close-spread-time 20s\n", Closing(20.0)),
        ("global\n    close-spread-time 1500\n", Closing(1.5)),
        ("global\n    close-spread-time 2m # many clients\n", Closing(120.0)),
        ('global\n    close-spread-time "20s"\n', Closing(20.0)),
        ("global\n    close-spread-time infinite\n", Closing(math.inf)),
        ("global\n    hard-stop-after 30s\n    close-spread-time 10s\n", Closing(10.0, 30.0)),
        ("global\n    close-spread-time 10s\nglobal\n    close-spread-time 20s\n", Closing(20.0)),
        ("defaults\n    close-spread-time 20s\n", Closing()),
        ("global\n    close-spread-time soon\n    # close-spread-time 3s\n", Closing()),
        ("global\n    description \"it's\n    log-tag 'half\n    close-spread-time 20s\n", Closing(20.0)),
    ],
)
def test_what_the_section_global_says(text: str, expected: Closing) -> None:
    """Times have haproxy's units, milliseconds without one; the last line counts, and one that is not understood does not."""
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("bind", "http2"),
    [
        (":80", False),
        (":443 ssl crt /pem alpn h2,http/1.1", True),
        (":443 ssl crt /pem alpn http/1.1", False),
        (":443 ssl crt /pem", True),
        (":443 ssl crt /pem no-alpn", False),
        (":82 proto h2", True),
    ],
)
def test_who_may_speak_http2(bind: str, http2: bool) -> None:
    """As a bind line says; without a word TLS offers it, in haproxy from 2.8 on."""
    assert parse(f"frontend one\n    bind :81\n    bind {bind}\n").http2 is http2


def test_the_files_of_a_process(tmp_path: Path) -> None:
    """What stands after each -f, a directory's .cfg files in their order, and what follows --; of others nothing is read."""
    directory = tmp_path / "more"
    directory.mkdir()
    for name, text in {"one.cfg": "one", "more/b.cfg": "b", "more/a.cfg": "a", "more/c.txt": "no", "last": "last", "no": "no"}.items():
        (tmp_path / name).write_text(text)
    sleeper = tmp_path / "sleeper"
    shutil.copy("/bin/sleep", sleeper)
    command = ["/bin/sh", "-c", "read -r line", "-f", "one.cfg", str(directory), "-p", "no", "--", str(tmp_path / "last")]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        end = time.monotonic() + 5
        while not (found := config_files.text_of(process.pid)) and time.monotonic() < end:
            time.sleep(0.01)  # until it has become that program
        process.communicate(b"\n")
    assert found.split() == ["one", "a", "b", "last"]
    assert config_files.text_of(process.pid) == "", "it has ended"


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    """A file that is not there hides no other."""
    (tmp_path / "there").write_text("there")
    command = ["/bin/sh", "-c", "read -r line", "-f", "missing", "there"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        end = time.monotonic() + 5
        while "there" not in (found := config_files.text_of(process.pid)) and time.monotonic() < end:
            time.sleep(0.01)  # as above
        process.communicate(b"\n")
    assert found.strip() == "there"
