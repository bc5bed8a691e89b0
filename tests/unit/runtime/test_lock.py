"""One handover at a time: who waits learns for whom, and never for longer than the bound. Time is frozen."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import vrrp_drain
from unit.support.fakes import Clock
from vrrp_drain.runtime.errors import Busy, Cancelled
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.signals import Cancellation

NewLock = Callable[[str], Lock]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "lock"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def new_lock(path: Path, said: list[str], clock: Clock, cancellation: Cancellation) -> NewLock:
    return lambda holder: Lock(path, holder, 5.0, cancellation, said.append, sleep=clock.sleep)


def test_a_free_lock_is_taken_at_once(new_lock: NewLock, path: Path, said: list[str], clock: Clock) -> None:
    """The holder is written into the file, and gone from it afterwards."""
    with new_lock("vrrpctl demote"):
        assert path.read_text().startswith("vrrpctl demote (pid ")
    assert path.read_text() == ""
    assert said == []
    assert clock.slept == []


def test_the_second_waits_and_says_for_whom(new_lock: NewLock, said: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second gets the lock when the first is done, having said once for whom it waits."""
    with ExitStack() as first:
        first.enter_context(new_lock("vrrpctl post-start"))

        def sleep(seconds: float) -> None:
            Clock.sleep(clock, seconds)
            if len(clock.slept) == 10:
                first.close()

        monkeypatch.setattr(clock, "sleep", sleep)
        with new_lock("vrrpctl demote"):
            assert len(clock.slept) == 10
    assert len(said) == 1
    assert said[0].startswith("waiting for vrrpctl post-start (pid ")
    assert said[0].endswith(" to finish, at most 5.0 s")


def test_the_bound_is_honoured(new_lock: NewLock, clock: Clock) -> None:
    """After the bound, not before and not after, the second gives up and names the first."""
    with new_lock("vrrpctl promote"), pytest.raises(Busy, match=r"^vrrpctl promote \(pid \d+\) did not finish within 5.0 s"):
        new_lock("vrrpctl demote").__enter__()
    assert sum(clock.slept) == pytest.approx(5.0, abs=0.051)


def test_a_signal_ends_the_wait(new_lock: NewLock, clock: Clock, cancellation: Cancellation) -> None:
    """Told to stop while it waits, the second stops at once and says that nothing was changed."""
    cancellation.requested = True
    with (
        new_lock("vrrpctl promote"),
        pytest.raises(Cancelled, match=r"while waiting for vrrpctl promote \(pid \d+\): nothing was changed$"),
    ):
        new_lock("vrrpctl demote").__enter__()
    assert clock.slept == []


def test_giving_up_leaves_the_holder_alone(new_lock: NewLock, path: Path, cancellation: Cancellation) -> None:
    """Who gave up has not touched the file, so that the next one still learns who holds the lock, and has closed it."""
    cancellation.requested = True
    with new_lock("vrrpctl promote"):
        descriptors = sorted(Path("/proc/self/fd").iterdir())
        with pytest.raises(Cancelled):
            new_lock("vrrpctl demote").__enter__()
        assert path.read_text().startswith("vrrpctl promote (pid ")
        assert sorted(Path("/proc/self/fd").iterdir()) == descriptors


def test_a_crash_leaves_no_lock_behind(new_lock: NewLock, path: Path, said: list[str]) -> None:
    """The text of a process that died holding the lock holds nobody up."""
    path.parent.mkdir()
    path.write_text("vrrpctl keepalived-upgrade (pid 4194304)")
    with new_lock("vrrpctl promote"):
        assert path.read_text() == f"vrrpctl promote (pid {os.getpid()})"
    assert said == []


def test_a_lock_that_cannot_be_had_says_so(new_lock: NewLock, path: Path, log: pytest.LogCaptureFixture) -> None:
    """Where no directory can be made nothing is locked: a handover is worth more than that, and the operator is told."""
    path.parent.write_text("")
    with new_lock("vrrpctl demote"), new_lock("vrrpctl promote"):
        pass
    assert {*log.messages} == {
        f"no lock is kept ({path.parent}: File exists): run no other vrrpctl on this instance until this one has ended"
    }


def test_a_full_disk_costs_the_label_alone(new_lock: NewLock, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody learns for whom he waits, but he waits."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with new_lock("vrrpctl promote"), pytest.raises(Busy, match=r"^another vrrpctl did not finish within 5\.0 s"):
        new_lock("vrrpctl demote").__enter__()


@pytest.mark.parametrize("before", [True, False], ids=["file", "no file"])
def test_a_file_system_that_is_read_only_still_locks(
    new_lock: NewLock, path: Path, before: bool, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that is there is locked as it is; where there is none, its directory is."""
    path.parent.mkdir(mode=0o700)
    if before:
        with new_lock("vrrpctl pre-start"):
            pass
    opened = os.open

    def read_only(name: str, flags: int, mode: int = 0o777, **options: int) -> int:
        if flags & (os.O_RDWR | os.O_CREAT | os.O_WRONLY):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
        return opened(name, flags, mode, **options)

    monkeypatch.setattr(os, "open", read_only)
    with new_lock("vrrpctl promote"), pytest.raises(Busy):
        new_lock("vrrpctl demote").__enter__()
    with new_lock("vrrpctl demote"):
        pass
    assert log.messages == []


@pytest.fixture
def watchers_promotion(tmp_path: Path, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, and says that it makes way; it notes the signal that ends it."""
    program = (
        "import sys; from pathlib import Path; from vrrp_drain.runtime.lock import Lock\n"
        "from vrrp_drain.runtime.signals import Cancellation\n"
        "with Cancellation() as told, Lock(Path(sys.argv[1]), 'vrrpctl promote', 1, told, print, makes_way=True):\n"
        "    print('held', flush=True); print('told' if told.wait(30) else 'not told', flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(vrrp_drain.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", program, path], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_makes_way_is_ended_for_a_script(path: Path, cancellation: Cancellation, watchers_promotion: subprocess.Popen[str]) -> None:
    """BOSH's word outranks the watcher's: its promotion is told to end, says what it puts back, and the script goes on."""
    said: list[str] = []
    with Lock(path, "vrrpctl pre-stop", 20.0, cancellation, said.append, outranks=True):
        assert watchers_promotion.wait(10) == 0
    assert watchers_promotion.stdout is not None
    assert watchers_promotion.stdout.read() == "told\n"
    assert [each.partition(" (pid ")[0] for each in said] == ["waiting for vrrpctl promote", "vrrpctl promote"]
    assert said[1].endswith(f"(pid {watchers_promotion.pid}) was told to give way")


@pytest.mark.parametrize(("makes_way", "outranks"), [(False, True), (True, False)], ids=["an operator's command", "an operator asks"])
def test_nobody_else_is_ended(path: Path, cancellation: Cancellation, makes_way: bool, outranks: bool) -> None:
    """An operator's command is waited for, whoever comes; and an operator waits for everybody."""
    said: list[str] = []
    with (
        Lock(path, "vrrpctl demote", 1.0, cancellation, said.append, makes_way=makes_way),
        pytest.raises(Busy, match=r"^vrrpctl demote \(pid \d+\) did not finish within 0\.1 s"),
    ):
        Lock(path, "vrrpctl promote", 0.1, cancellation, said.append, outranks=outranks).__enter__()
    assert len(said) == 1
    assert not cancellation.requested
