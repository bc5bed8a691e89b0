"""A program of the operator's, as it really runs."""

import select
import sys
import time
from pathlib import Path

import pytest

from unit.support.fakes import RealClock
from vrrp_drain.linux.program import Program
from vrrp_drain.runtime.errors import SystemFault


def outcome(program: Program, seconds: float = 10.0) -> str | None:
    """Wait for its end as a handover does: by its file descriptor, and hurried now and then."""
    end = time.monotonic() + seconds
    while (found := program.outcome()) is None and time.monotonic() < end:
        select.select([program], [], [], 0.1)
        program.expire()
    return found


def run(code: str, timeout: float = 10.0, **environment: str) -> Program:
    return Program([sys.executable, "-I", "-c", code], environment, timeout)


def descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir() if each.exists()}


def test_success_is_nothing() -> None:
    """It gets the environment that it is given and no other, and status 0 is all that counts."""
    assert outcome(run("import os; os.environ.pop('LC_CTYPE', 0); assert os.environ == {'VIP': '10.0.0.10'}", VIP="10.0.0.10")) == ""


def test_how_it_ended_is_told() -> None:
    """With the last lines that it said, control characters left out."""
    said = outcome(run("print('a\\nb\\n\\nc\\x1b\\nd'); raise SystemExit(3)"))
    assert said == f"{sys.executable} ended with status 3, having said: b | c? | d"
    assert outcome(run("import os; os.kill(os.getpid(), 9)")) == f"{sys.executable} was ended by signal 9"


def test_it_may_say_more_than_a_pipe_holds() -> None:
    """It is never held up by whoever does not read."""
    assert outcome(run("print('x' * 1_000_000)")) == ""


def test_its_time_is_bounded() -> None:
    """It is killed, and the reason says why."""
    program = run("import time; print('waiting', flush=True); time.sleep(600)", timeout=0.5)
    assert outcome(program) == f"{sys.executable} was killed, because it took longer than 0.5 s, having said: waiting"


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    """Closed, it is gone with what it started, and so are our descriptors."""
    before = descriptors()
    child = tmp_path / "child"
    program = run(f"import os, time; os.fork() or (open({str(child)!r}, 'w').write(str(os.getpid())), time.sleep(600)); time.sleep(600)")
    while not child.exists() or not child.read_text():
        RealClock().sleep(0.01)
    program.close()
    program.close()
    pid = int(child.read_text())
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
        RealClock().sleep(0.01)
    assert descriptors() == before


def test_what_is_no_program() -> None:
    """A path that leads nowhere is an error that names it."""
    with pytest.raises(SystemFault, match=r"^/nowhere/at/all could not be started: No such file or directory$"):
        Program(["/nowhere/at/all"], {}, 1.0)
