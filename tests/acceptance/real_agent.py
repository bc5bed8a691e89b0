"""The real bosh-agent on a machine of the lab, asked over HTTPS as `bosh create-env` asks it; processes stay with the lab's monit.

It runs with its dummy platform (nothing of the machine is set up) and its dummy supervisor (no monit).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import requests

from lab.fabric.agent import ScriptFailed, ScriptRun
from lab.fabric.namespace import Namespace, children
from lab.fabric.wait import until

PATH = "/var/vcap/bosh/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # a stemcell's, for the agent itself
_HOME = "run/bosh-agent"
_USER, _PASSWORD, _ADDRESS = "director", "lab", "127.0.0.1:6868"
_PATIENCE = 180.0
_POLL_SECONDS = 0.05
_CANCELLED_SECONDS = 15.0  # SIGKILL comes after 10
_HASH = "1"  # of the configuration that is applied

# What the agent logs of the programs that it runs; it does not say which program a result is of.
_LINE = r"^\[Cmd Runner\] \S+ \S+ DEBUG - "
_STARTED = re.compile(_LINE + "Running command", re.MULTILINE)
_ENDED = re.compile(_LINE + r"Successful: \w+ \((-?\d+)\)$", re.MULTILINE)
_STDOUT, _STDERR = (re.compile(_LINE + name + r": (.*?)(?=^\[[^]\n]+\] \d{4}/)", re.MULTILINE | re.DOTALL) for name in ("Stdout", "Stderr"))


class AgentRefused(Exception):
    """The agent answered with an exception: of the request itself, or of the task that was asked about."""


class TaskFailed(ScriptFailed):
    """A task that failed; ``message`` is what the director prints."""

    def __init__(self, message: str, runs: list[ScriptRun]) -> None:
        super().__init__(runs)
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} {super().__str__()}"


class RunningDrain:
    """A drain task on its way: the drain scripts of all jobs."""

    def __init__(self, agent: "RealAgent", jobs: list[str], task: str, log_from: int) -> None:
        self._agent = agent
        self._jobs = jobs
        self.task = task
        self._log_from = log_from
        self._started = time.monotonic()

    @property
    def running(self) -> bool:
        """Tell whether the task runs. It ends with its scripts, or at once when it is cancelled."""
        return is_running(self._agent.ask("get_task", self.task))

    def cancel(self) -> float:
        """What `bosh cancel-task` does. Returns when it was asked for (monotonic)."""
        sent = time.monotonic()
        self._agent.ask("cancel_task", self.task)
        return sent

    def kill(self) -> None:
        """SIGKILL the scripts."""
        for pid in self._agent.children():
            os.kill(pid, signal.SIGKILL)

    def results(self) -> list[ScriptRun]:
        """Wait for the task and for every script that it started. Raises TaskFailed.

        The runs are read from the agent's log. Where several jobs have a drain script, it does not tell them apart.
        """
        message = ""
        try:
            self._agent.wait(self.task)
        except AgentRefused as refused:
            message = str(refused)
        seconds = time.monotonic() - self._started
        until(self._all_ended, f"the drain scripts of {', '.join(self._jobs)} to end", _CANCELLED_SECONDS)
        log = self._log()
        outputs = zip(_ENDED.findall(log), _printed(_STDOUT, log), _printed(_STDERR, log), strict=True)
        runs = [ScriptRun(", ".join(self._jobs), "drain", int(code), out, err, seconds) for code, out, err in outputs]
        if message:
            raise TaskFailed(message, runs)
        return runs

    def result(self) -> ScriptRun:
        """Wait for the end and return the last run, whether the task failed or not."""
        try:
            return self.results()[-1]
        except TaskFailed as failed:
            return failed.runs[-1]

    def _all_ended(self) -> bool:
        log = self._log()
        return len(_STARTED.findall(log)) == len(_ENDED.findall(log))

    def _log(self) -> str:
        return self._agent.log(self._log_from)


class RealAgent:
    """Of one machine, whose ``lo`` is up; ``vcap`` is the machine's /var/vcap seen from here, ``binary`` the program bosh-agent.

    It ends with the machine. Its spec names all jobs that are below ``vcap``, as if a director had applied them.
    """

    def __init__(self, machine: Namespace, vcap: Path, binary: Path) -> None:
        self._machine = machine
        self._jobs = vcap / "jobs"
        self._logs = vcap / "sys/log"
        self._spec = vcap / "bosh/spec.json"
        self._log = vcap / "bosh/log/current"
        self._home = machine.root / _HOME  # seen from here, and in memory: it goes when the power does
        self._write_home(binary)
        self._process = self._boot()

    def run_script(self, script: str, environment: Mapping[str, str] | None = None) -> list[ScriptRun]:
        """Run ``script`` of all jobs, and return what it added to its log. Raises TaskFailed.

        The agent does not tell exit codes: 1 stands for any failure.
        """
        jobs = self._with(script)
        before = {job: self._written(job, script) for job in jobs}
        started = time.monotonic()
        task = self.start_script(script, environment)
        message = ""
        try:
            self.wait(task)
        except AgentRefused as refused:
            message = str(refused)
        seconds = time.monotonic() - started
        failed = re.findall(r"[^\s,]+", _between(message, "Failed Jobs: ", "."))
        runs = []
        for job in jobs:
            out, err = (after[len(was) :] for was, after in zip(before[job], self._written(job, script), strict=True))
            runs.append(ScriptRun(job, script, int(job in failed), out, err, seconds))
        if message:
            raise TaskFailed(message, [run for run in runs if run.exit_code != 0])
        return runs

    def start_script(self, script: str, environment: Mapping[str, str] | None = None) -> str:
        """Start ``script`` of all jobs and return the task."""
        return self._start("run_script", script, {"env": dict(environment or {})})

    def drain(self, job_change: str = "job_changed", hash_change: str = "hash_unchanged") -> list[ScriptRun]:
        """Run the drain scripts of all jobs; a run for each time that one was called. Raises TaskFailed."""
        return self.start_drain(job_change, hash_change).results()

    def start_drain(self, job_change: str = "job_changed", hash_change: str = "hash_unchanged") -> RunningDrain:
        """Start the drain scripts of all jobs. The agent makes their arguments itself: it is given what leads to these."""
        new = {**self._applied(), "configuration_hash": _HASH if hash_change == "hash_unchanged" else "2"}
        ways: dict[tuple[str, str], tuple[Any, ...]] = {
            ("job_changed", "hash_unchanged"): ("update", new),
            ("job_changed", "hash_changed"): ("update", new),
            ("job_shutdown", "hash_unchanged"): ("shutdown",),
        }
        if (job_change, hash_change) not in ways:
            raise ValueError(f"no request makes the agent say {job_change} {hash_change}")
        log_from = self._log.stat().st_size
        return RunningDrain(self, self._with("drain"), self._start("drain", *ways[job_change, hash_change]), log_from)

    def wait(self, task: str) -> Any:
        """Return the value of a task when it has ended. Raises AgentRefused when it failed."""
        end = time.monotonic() + _PATIENCE
        while is_running(value := self.ask("get_task", task)):
            if time.monotonic() > end:
                raise TimeoutError(f"waited {_PATIENCE:g} s for task {task} of {self._machine.name}'s bosh-agent")
            time.sleep(_POLL_SECONDS)
        return value

    def ask(self, method: str, *arguments: Any) -> Any:
        """Send one request and return the value of its answer. Raises AgentRefused."""
        request = {"method": method, "arguments": arguments, "reply_to": _USER, "protocol": 3}

        def post() -> requests.Response:
            with requests.Session() as session:
                session.trust_env = False  # no proxy leads into the namespace
                return session.post(
                    f"https://{_ADDRESS}/agent",
                    json=request,
                    auth=(_USER, _PASSWORD),
                    verify=str(self._home / "certificate.pem"),
                    timeout=10,
                )

        response = self._machine.in_network(post)
        response.raise_for_status()
        answer = response.json()
        if "exception" in answer:
            raise AgentRefused(answer["exception"]["message"])
        return answer["value"]

    def children(self) -> list[int]:
        """Return the pids, seen from here, of the scripts that run; each leads its process group."""
        (agent,) = children(self._process.pid)
        tasks = Path(f"/proc/{agent}/task").iterdir()  # any thread of the agent may have started one
        found = []
        for task in tasks:
            with suppress(FileNotFoundError):  # the thread has ended
                found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def log(self, start: int = 0) -> str:
        """Return the agent's log from byte ``start``."""
        with self._log.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")

    def _start(self, method: str, *arguments: Any) -> str:
        self._spec.write_text(json.dumps(self._applied()))
        task: str = self.ask(method, *arguments)["agent_task_id"]
        return task

    def _applied(self) -> dict[str, Any]:
        """What a director's `apply` leaves behind, as far as scripts need it. Without the archive there are no jobs."""
        jobs = sorted(path.name for path in self._jobs.iterdir()) if self._jobs.exists() else []
        return {
            "job": {"name": "haproxy", "templates": [{"name": job, "version": "1"} for job in jobs]},
            "rendered_templates_archive": {},
            "configuration_hash": _HASH,
        }

    def _write_home(self, binary: Path) -> None:
        self._home.mkdir()
        shutil.copy(binary, self._home / "bosh-agent")
        certificate, key = _certificate()
        (self._home / "certificate.pem").write_text(certificate)
        settings = {
            "agent_id": self._machine.name,
            "mbus": f"https://{_USER}:{_PASSWORD}@{_ADDRESS}",
            "blobstore": {"provider": "local", "options": {"blobstore_path": "/var/vcap/data/blobs"}},
            "env": {"bosh": {"mbus": {"cert": {"ca": certificate, "certificate": certificate, "private_key": key}}}},
        }
        (self._home / "settings.json").write_text(json.dumps(settings))
        source = {"Type": "File", "SettingsPath": f"/{_HOME}/settings.json"}
        (self._home / "agent.json").write_text(json.dumps({"Infrastructure": {"Settings": {"Sources": [source]}}}))

    def _boot(self) -> "subprocess.Popen[bytes]":
        """Start the agent and wait until it answers.

        Its dummy platform puts a link in place of /var/vcap/sys, which is not empty here. So it boots on an empty /var/vcap,
        which is then taken away from under it: it holds nothing open there.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._mount("mount", "-t", "tmpfs", "tmpfs", "/var/vcap")
        with self._log.open("ab") as log:
            command = [f"/{_HOME}/bosh-agent", "-P", "dummy", "-M", "dummy", "-C", f"/{_HOME}/agent.json", "-b", "/var/vcap"]
            process = self._machine.popen(command, {"PATH": PATH}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def answers() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{self._machine.name}: bosh-agent exited {process.returncode}: {self.log()[-2000:]}")
            try:
                return bool(self.ask("ping") == "pong")
            except requests.ConnectionError:
                return False

        until(answers, f"{self._machine.name}'s bosh-agent to answer a ping")
        self._mount("umount", "/var/vcap")
        return process

    def _mount(self, *command: str) -> None:
        done = self._machine.run(command, {"PATH": PATH})
        if done.returncode != 0:
            raise RuntimeError(f"{self._machine.name}: {' '.join(command)}: {done.stderr.strip()}")

    def _with(self, script: str) -> list[str]:
        return sorted(path.parent.parent.name for path in self._jobs.glob(f"*/bin/{script}"))

    def _written(self, job: str, script: str) -> tuple[str, str]:
        paths = [self._logs / job / f"{script}.{stream}.log" for stream in ("stdout", "stderr")]
        out, err = (path.read_text() if path.exists() else "" for path in paths)
        return out, err


def is_running(value: Any) -> bool:
    """Tell whether the answer to get_task is that the task runs, and not the value of a task that has ended."""
    return isinstance(value, dict) and value.get("state") == "running"


def _printed(stream: re.Pattern[str], log: str) -> list[str]:
    """Return what each program printed. The log ends with a newline whatever the program did."""
    return ["" if text == "\n" else text for text in stream.findall(log)]


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]


@cache
def _certificate() -> tuple[str, str]:
    """Make a certificate for all agents, and its key."""
    with tempfile.TemporaryDirectory() as scratch:
        certificate, key = Path(scratch, "certificate"), Path(scratch, "key")
        command = (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=bosh-agent", "-addext", f"subjectAltName=IP:{_ADDRESS.partition(':')[0]}"),
            *("-keyout", str(key), "-out", str(certificate)),
        )
        subprocess.run(command, capture_output=True, check=True)
        return certificate.read_text(), key.read_text()
