"""Stands in for bosh-agent: runs lifecycle scripts in its order, with its arguments, environment, PATH and stdout rules.

After bosh-agent's agent/script/generic_script.go, agent/script/drain/concrete_script.go and agent/script/parallel_script.go.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .namespace import Namespace, children

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # agent/script/pathenv
_LOWER = ("nice", "-n", "5")  # SpawnWithLowerPriority: all scripts but drain
_CANCEL_SECONDS = 10.0  # TerminateNicely
_PATIENCE = 180.0  # the agent itself has no limit


@dataclass(frozen=True)
class ScriptRun:
    """One script of one job, to its end; ``seconds`` on the monotonic clock."""

    job: str
    script: str
    exit_code: int
    stdout: str
    stderr: str
    seconds: float


class ScriptFailed(Exception):
    """What the director is told: the task fails here."""

    def __init__(self, runs: list[ScriptRun]) -> None:
        super().__init__("; ".join(f"{r.job}/{r.script} exited {r.exit_code}: {r.stderr.strip()}" for r in runs))
        self.runs = runs


class Running(Protocol):
    """A drain on its way."""

    def cancel(self) -> float: ...
    def kill(self) -> None: ...
    def result(self) -> ScriptRun: ...


class LifecycleAgent(Protocol):
    """What runs the lifecycle scripts of a node: ours below, or the real one."""

    def run_script(self, script: str, environment: Mapping[str, str] | None = None) -> list[ScriptRun]: ...
    def start_drain(self) -> Running: ...
    def drain(self, job_change: str = "job_changed", hash_change: str = "hash_unchanged") -> list[ScriptRun]: ...


MakeAgent = Callable[[Namespace, Path], LifecycleAgent]


class RunningScript:
    """A script on its way; the agent's handle."""

    def __init__(
        self,
        machine: Namespace,
        job: str,
        script: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        prefix: tuple[str, ...] = (),
    ) -> None:
        self._job, self._script = job, script
        self._started = time.monotonic()
        command = (*prefix, f"/var/vcap/jobs/{job}/bin/{script}", *arguments)
        self._process = machine.popen(
            command, {"PATH": PATH, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def cancel(self) -> float:
        """SIGTERM, and SIGKILL 10 s later; returns when the first was sent (monotonic)."""
        sent = time.monotonic()
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_CANCEL_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        return sent

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def result(self) -> ScriptRun:
        """Wait for the end: of the process, and of everybody who holds its stdout."""
        stdout, stderr = self._process.communicate(timeout=_PATIENCE)
        seconds = time.monotonic() - self._started
        return ScriptRun(self._job, self._script, self._process.returncode, stdout.decode(), stderr.decode(), seconds)

    def _signal(self, number: int) -> None:
        """Signal the script: the only child of nsenter."""
        for child in children(self._process.pid):
            os.kill(child, number)


class Agent:
    """Of one machine; ``jobs`` and ``logs`` are its directories seen from here."""

    def __init__(self, machine: Namespace, vcap: Path) -> None:
        self._machine = machine
        self._jobs = vcap / "jobs"
        self._logs = vcap / "sys/log"

    def run_script(self, script: str, environment: Mapping[str, str] | None = None) -> list[ScriptRun]:
        """Run ``script`` of all jobs in parallel and keep its output as ``bosh logs`` finds it. Raises ScriptFailed."""
        running = [RunningScript(self._machine, job, script, (), environment or {}, prefix=_LOWER) for job in self._with(script)]
        runs = [each.result() for each in running]
        for run in runs:
            for stream, text in (("stdout", run.stdout), ("stderr", run.stderr)):
                log = self._logs / run.job / f"{script}.{stream}.log"
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("a") as file:
                    file.write(text)
        failed = [run for run in runs if run.exit_code != 0]
        if failed:
            raise ScriptFailed(failed)
        return runs

    def start_drain(self, job: str = "vrrp-drain", *arguments: str) -> RunningScript:
        """Start one job's drain script and return the handle, to look at it or to cancel it."""
        return RunningScript(self._machine, job, "drain", arguments or ("job_changed", "hash_unchanged"), {})

    def drain(self, job_change: str = "job_changed", hash_change: str = "hash_unchanged") -> list[ScriptRun]:
        """Run the drain scripts of all jobs in parallel. Raises ScriptFailed as the agent does.

        stdout is one integer: that alone decides, the exit code does not. Negative: call again after that many seconds.
        """
        runs = []
        pending = [(job, self.start_drain(job, job_change, hash_change)) for job in self._with("drain")]
        while pending:
            job, running = pending.pop(0)
            run = running.result()
            runs.append(run)
            try:
                value = int(run.stdout.strip())
            except ValueError:
                raise ScriptFailed([run]) from None
            time.sleep(abs(value))
            if value < 0:
                pending.append((job, self.start_drain(job, "job_check_status", "hash_unchanged")))
        return runs

    def _with(self, script: str) -> list[str]:
        return sorted(path.parent.parent.name for path in self._jobs.glob(f"*/bin/{script}"))
