"""What our lifecycle scripts rely on, proven against the real bosh-agent with small scripts of other jobs."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.real_agent import AgentRefused, RealAgent, RunningDrain, TaskFailed
from lab.fabric.namespace import Namespace
from lab.fabric.network import Switch
from lab.fabric.wait import until

_AWAIT = "while [ ! -e /var/vcap/store/{0} ]; do sleep 0.05; done"


class Instance:
    """A VM with nothing but an agent, and jobs that a test writes."""

    def __init__(self, disk: Path, binary: Path) -> None:
        self._disk = disk
        self._switch = Switch()
        self.machine = Namespace("instance", disk)
        self._switch.attach(self.machine, 1, ("10.0.0.1/24",))
        self.store = disk / "store"
        self.agent = RealAgent(self.machine, disk, binary)

    def reset(self) -> None:
        """Take jobs, their logs and their data away."""
        for directory in (self._disk / "jobs", self._disk / "sys/log", self.store):
            shutil.rmtree(directory, ignore_errors=True)
        self.store.mkdir()

    def job(self, name: str, script: str, text: str) -> None:
        """Give job ``name`` a shell script; scripts meet the test in /var/vcap/store."""
        path = self._disk / "jobs" / name / "bin" / script
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def log(self, job: str, name: str) -> str:
        return (self._disk / "sys/log" / job / name).read_text()

    def wait_for(self, name: str) -> None:
        until((self.store / name).exists, f"a script to write {name}")

    def close(self) -> None:
        self.machine.kill()
        self._switch.close()


@pytest.fixture(scope="module")
def shared(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    found = Instance(tmp_path_factory.mktemp("vcap"), tools / "bosh-agent")
    yield found
    found.close()


@pytest.fixture
def instance(shared: Instance) -> Instance:
    shared.reset()
    return shared


@pytest.mark.parametrize("end", ["exit 1", "kill -KILL $$"])
def test_drain_that_prints_an_integer_succeeds_whatever_its_exit_code(instance: Instance, end: str) -> None:
    """An integer on stdout is success, even when the script exits 1 or is killed after it."""
    instance.job("job", "drain", f"echo 0; {end}")
    (run,) = instance.agent.drain()
    assert run.exit_code in {1, 137}
    assert run.stdout == "0\n"


@pytest.mark.parametrize("printed", ["", "0 done", "0\n0"])
@pytest.mark.parametrize("code", [0, 1])
def test_drain_that_prints_anything_but_one_integer_fails(instance: Instance, printed: str, code: int) -> None:
    """Nothing on stdout, or more than one integer, fails the task, even with exit code 0."""
    instance.job("job", "drain", f"printf '{printed}'; echo why >&2; exit {code}")
    with pytest.raises(TaskFailed) as failed:
        instance.agent.drain()
    assert failed.value.message.endswith("1 of 1 drain scripts failed. Failed Jobs: job.")
    assert [(run.exit_code, run.stderr) for run in failed.value.runs] == [(code, "why\n")]


def test_negative_integer_is_called_again_with_job_check_status(instance: Instance) -> None:
    """-1: after a second the script is called again, with job_check_status; the task ends when it prints 0."""
    instance.job("job", "drain", 'echo "$* $(date +%s%N)" >> /var/vcap/store/calls; [ "$1" = job_check_status ] && echo 0 || echo -1')
    first, second = instance.agent.drain()
    assert (first.stdout, second.stdout) == ("-1\n", "0\n")
    calls = [line.rpartition(" ") for line in (instance.store / "calls").read_text().splitlines()]
    assert [call[0] for call in calls] == ["job_changed hash_unchanged", "job_check_status hash_unchanged"]
    assert 1.0 <= (int(calls[1][2]) - int(calls[0][2])) / 1e9 < 2.0


def test_positive_integer_is_slept(instance: Instance) -> None:
    """1: the agent sleeps a second, then the task ends."""
    instance.job("job", "drain", "echo 1")
    started = time.monotonic()
    assert [run.stdout for run in instance.agent.drain()] == ["1\n"]
    assert time.monotonic() - started >= 1.0


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (("job_changed", "hash_unchanged"), "job_changed hash_unchanged"),
        (("job_changed", "hash_changed"), "job_changed hash_changed"),
        (("job_shutdown", "hash_unchanged"), "job_shutdown hash_unchanged"),
    ],
)
def test_drain_is_told_what_changes(instance: Instance, request_: tuple[str, str], expected: str) -> None:
    """An update and a shutdown differ in the first argument, and a shutdown has no BOSH_JOB_NEXT_STATE."""
    instance.job("job", "drain", 'echo "$*" >&2; echo "${BOSH_JOB_STATE-none}" >&2; echo "${BOSH_JOB_NEXT_STATE-none}" >&2; echo 0')
    (run,) = instance.agent.drain(*request_)
    state = '{"persistent_disk":0}'
    assert run.stderr.splitlines() == [expected, state, "none" if request_[0] == "job_shutdown" else state]


def test_directors_can_no_longer_ask_for_a_status(instance: Instance) -> None:
    """Only the agent itself says job_check_status: a director's request for it fails."""
    instance.job("job", "drain", "echo 0")
    task = instance.agent.ask("drain", "status")["agent_task_id"]
    with pytest.raises(AgentRefused, match="Unexpected call with drain type 'status'"):
        instance.agent.wait(task)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_drain_hangs_until_nobody_holds_its_output(instance: Instance, stream: str) -> None:
    """A child that outlives the drain script and keeps stdout or stderr keeps the task running."""
    closed = "2>/dev/null" if stream == "stdout" else ">/dev/null"
    instance.job("job", "drain", f"({_AWAIT.format('release')}) {closed} & echo 0")
    drain = instance.agent.start_drain()
    until(lambda: not instance.agent.children() and "drain" in instance.machine.pids().values(), "only the script's child to be left")
    _expect_running(drain, 0.5)
    (instance.store / "release").touch()
    assert [run.stdout for run in drain.results()] == ["0\n"]


def test_other_scripts_may_leave_a_child_behind(instance: Instance) -> None:
    """All scripts but drain write into files: nobody waits for a child that keeps them open."""
    instance.job("job", "pre-start", f"({_AWAIT.format('release')}; echo later) & echo now")
    instance.agent.run_script("pre-start")
    assert instance.log("job", "pre-start.stdout.log") == "now\n"
    (instance.store / "release").touch()
    until(lambda: instance.log("job", "pre-start.stdout.log") == "now\nlater\n", "the child to write")


def test_cancelled_drain_gets_sigterm_and_ten_seconds(instance: Instance) -> None:
    """SIGTERM to the whole process group, SIGKILL 10 s later. The task is done at once, and was not a failure."""
    told = "trap 'echo {0} >> /var/vcap/store/told' TERM"
    spin = "while :; do sleep 0.05; done"
    instance.job("job", "drain", f"({told.format('child')}; {spin}) & {told.format('script')}; touch /var/vcap/store/up; {spin}")
    drain = instance.agent.start_drain()
    instance.wait_for("up")
    sent = drain.cancel()
    until(lambda: _lines(instance.store / "told") == {"child", "script"}, "script and child to get SIGTERM", 1)
    assert instance.agent.ask("get_task", drain.task) == 0
    assert "drain" in instance.machine.pids().values()
    until(lambda: "drain" not in instance.machine.pids().values(), "script and child to be killed", 15)
    assert 9.5 < time.monotonic() - sent < 12.0
    assert [run.exit_code for run in drain.results()] == [137]


def test_cancelled_drain_that_ends_by_itself(instance: Instance) -> None:
    """A script that ends on SIGTERM need print nothing: neither its output nor its exit code make the task a failure."""
    instance.job("job", "drain", "trap 'exit 1' TERM; touch /var/vcap/store/up; while :; do sleep 0.05; done")
    drain = instance.agent.start_drain()
    instance.wait_for("up")
    sent = drain.cancel()
    assert [(run.exit_code, run.stdout) for run in drain.results()] == [(1, "")]
    assert time.monotonic() - sent < 3.0


def test_other_scripts_cannot_be_cancelled(instance: Instance) -> None:
    """A cancel during pre-stop is refused, and the script goes on."""
    instance.job("job", "pre-stop", f"touch /var/vcap/store/up; {_AWAIT.format('release')}")
    task = instance.agent.start_script("pre-stop")
    instance.wait_for("up")
    with pytest.raises(AgentRefused, match="not supported"):
        instance.agent.ask("cancel_task", task)
    (instance.store / "release").touch()
    assert instance.agent.wait(task) == {}


@pytest.mark.parametrize("script", ["pre-start", "drain"])
def test_path(instance: Instance, script: str) -> None:
    """Scripts see this PATH and no other, whatever the agent's own is."""
    instance.job("job", script, 'echo "$PATH" >&2; echo 0')
    (run,) = instance.agent.drain() if script == "drain" else instance.agent.run_script(script)
    assert run.stderr == "/usr/sbin:/usr/bin:/sbin:/bin\n"


@pytest.mark.parametrize("script", ["pre-start", "post-start", "pre-stop", "post-stop", "drain"])
def test_jobs_run_their_scripts_in_parallel(instance: Instance, script: str) -> None:
    """Two jobs' scripts, each of which waits for the other one, both succeed."""
    for mine, other in (("left", "right"), ("right", "left")):
        instance.job(mine, script, f"touch /var/vcap/store/{mine}; {_AWAIT.format(other)}; echo 0")
    runs = instance.agent.drain() if script == "drain" else instance.agent.run_script(script)
    assert [run.exit_code for run in runs] == [0, 0]


def test_one_failed_job_fails_the_task_after_all_have_ended(instance: Instance) -> None:
    """The task waits for all scripts, then names those that failed and those that did not."""
    instance.job("bad", "post-start", "touch /var/vcap/store/failed; exit 3")
    instance.job("good", "post-start", f"{_AWAIT.format('failed')}; sleep 0.2; touch /var/vcap/store/good")
    with pytest.raises(TaskFailed) as failed:
        instance.agent.run_script("post-start")
    assert failed.value.message.endswith("1 of 2 post-start scripts failed. Failed Jobs: bad. Successful Jobs: good.")
    assert (instance.store / "good").exists()


def test_output_is_kept_below_the_jobs_log_directory(instance: Instance) -> None:
    """stdout and stderr go to /var/vcap/sys/log/JOB/SCRIPT.stdout.log and .stderr.log, each run after the last one."""
    instance.job("job", "post-stop", "echo out; echo err >&2")
    for times in (1, 2):
        instance.agent.run_script("post-stop")
        assert instance.log("job", "post-stop.stdout.log") == "out\n" * times
        assert instance.log("job", "post-stop.stderr.log") == "err\n" * times


def test_drain_output_is_only_in_the_agents_log(instance: Instance) -> None:
    """What a drain prints is in no file of its job; the agent's own log has it."""
    instance.job("job", "drain", "echo why >&2; echo 0")
    start = len(instance.agent.log().encode())
    instance.agent.drain()
    assert "Stderr: why\n" in instance.agent.log(start)
    assert not list((instance.store.parent / "sys/log").rglob("drain*"))


def test_environment_reaches_the_script(instance: Instance) -> None:
    """What the director tells a script with the request is in its environment."""
    instance.job("job", "pre-stop", 'echo "$BOSH_VM_NEXT_STATE $BOSH_INSTANCE_NEXT_STATE $BOSH_DEPLOYMENT_NEXT_STATE"')
    states = {"BOSH_VM_NEXT_STATE": "delete", "BOSH_INSTANCE_NEXT_STATE": "keep", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
    (run,) = instance.agent.run_script("pre-stop", states)
    assert run.stdout == "delete keep keep\n"


def _expect_running(drain: RunningDrain, seconds: float) -> None:
    """Look again and again for that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert drain.running
        time.sleep(0.05)


def _lines(path: Path) -> set[str]:
    return set(path.read_text().splitlines()) if path.exists() else set()
