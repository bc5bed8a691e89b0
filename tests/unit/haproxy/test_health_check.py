"""haproxy's health, asked at real sockets on the loopback address."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.support.fakes import Clock
from unit.support.words import of_python
from vrrp_drain.haproxy import health_check
from vrrp_drain.runtime.errors import SystemFault


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Give a port at which nobody accepts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class Handler(BaseHTTPRequestHandler):
    """Answers /200 with status 200, /503 with status 503, and so on."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.send_header("Location", "/503")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name is http.server's)
        pass


@pytest.fixture
def http_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class StatsSocket:
    """haproxy's stats socket for one connection: hears the question, answers in chunks, closes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chunks: Iterable[bytes] = []
        self.heard = b""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def answer(self, *chunks: bytes) -> str:
        """Serve ``chunks`` to the next client; return the URL of a health_check that asks here."""
        return self.answer_all(chunks)

    def answer_all(self, chunks: Iterable[bytes]) -> str:
        self.chunks = chunks
        self._thread.start()
        return f"unix://{self.path}"

    def _serve(self) -> None:
        client, _ = self._server.accept()
        with client, suppress(ConnectionError):  # who has heard enough hangs up
            self.heard = client.recv(100)
            for chunk in self.chunks:
                client.sendall(chunk)

    def close(self) -> None:
        self._server.close()
        self._thread.join()


@pytest.fixture
def stats_socket(tmp_path: Path) -> Iterator[StatsSocket]:
    served = StatsSocket(tmp_path / "s")
    yield served
    served.close()


def check(url: str) -> None:
    health_check.check(urlsplit(url))


def test_tcp_is_content_with_a_process_that_accepts(http_server: str) -> None:
    """A port whose process takes the connection is healthy, whatever it speaks."""
    check(http_server.replace("http:", "tcp:"))


def test_tcp_refuses_a_process_that_hangs(listener: socket.socket) -> None:
    """The kernel opens connections for a process that accepts none: that is no health."""
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(SystemFault, match=f"^haproxy does not answer at {url}: the port is open, but the process did not accept"):
        health_check.check(urlsplit(url), 0.1)


@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_a_closed_port_is_named(listener: socket.socket, scheme: str) -> None:
    """A refused connection is reported with the health_check as the manifest has it."""
    url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    with pytest.raises(SystemFault, match=f"^haproxy does not answer at {url}: .*refused"):
        check(url)


@pytest.mark.parametrize("status", [200, 204, 302])
def test_http_is_content_with_an_answer(http_server: str, status: int) -> None:
    """Below 400 haproxy is healthy; a redirect is an answer and is not followed."""
    check(f"{http_server}/{status}")


@pytest.mark.parametrize("status", [404, 503])
def test_http_refuses_an_error(http_server: str, status: int) -> None:
    """From 400 on the status is the reason."""
    with pytest.raises(SystemFault, match=f"^haproxy answers {http_server}/{status} with status {status}$"):
        check(f"{http_server}/{status}")


def test_http_asks_haproxy_and_no_proxy(http_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment does not answer for haproxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    check(f"{http_server}/200")


def test_the_stats_socket_of_a_healthy_haproxy(stats_socket: StatsSocket) -> None:
    """show info comes in pieces and becomes a dictionary; a colon in a value stays."""
    stats_socket.answer(b"Name: HAProxy\nStop", b"ping: 0\nDescription: a: b\n", b"\n")
    info = health_check.show_info(stats_socket.path)
    assert stats_socket.heard == b"show info\n"
    assert info == {"Name": "HAProxy", "Stopping": "0", "Description": "a: b"}


def test_unix_is_content_with_a_haproxy_that_does_not_stop(stats_socket: StatsSocket) -> None:
    """Stopping: 0 is healthy."""
    check(stats_socket.answer(b"Pid: 7\nStopping: 0\n"))


def test_unix_refuses_a_haproxy_that_is_stopping(stats_socket: StatsSocket) -> None:
    """After a soft stop haproxy still answers, but takes no connection any more."""
    with pytest.raises(SystemFault, match=rf"^haproxy is stopping \({stats_socket.path}\)"):
        check(stats_socket.answer(b"Pid: 7\nStopping: 1\n"))


@pytest.mark.parametrize("chunks", [[], [b"Permission denied\n"]])
def test_unix_refuses_an_answer_that_is_no_info(stats_socket: StatsSocket, chunks: list[bytes]) -> None:
    """A socket that closes without a word, or says something else, does not prove that haproxy serves."""
    with pytest.raises(SystemFault, match=f"^{stats_socket.path} answers, but not as haproxy's stats socket does"):
        check(stats_socket.answer(*chunks))


def test_unix_without_a_socket_is_named(tmp_path: Path) -> None:
    """A stats socket that is not there is said with its path."""
    with pytest.raises(SystemFault, match=f"^haproxy does not answer at unix:.*{tmp_path}/none: No such file or directory"):
        check(f"unix://{tmp_path}/none")


def test_an_endless_answer_is_cut_off(stats_socket: StatsSocket) -> None:
    """A program that never stops talking is not listened to for ever."""
    stats_socket.answer_all(itertools.chain([b"Name: HAProxy\n"], itertools.repeat(b"x" * 65536)))
    assert health_check.show_info(stats_socket.path, timeout=60) == {"Name": "HAProxy"}


@pytest.mark.parametrize(("pause", "said"), [(0.3, "timed out"), (0.25, "no whole answer within 1 s")])
def test_a_slow_answer_is_cut_off(clock: Clock, monkeypatch: pytest.MonkeyPatch, pause: float, said: str) -> None:
    """The bound is that of the whole exchange: an answer that trickles does not renew it."""

    class Trickle(socket.socket):
        patience = 0.0

        def settimeout(self, value: float | None) -> None:
            self.patience = value or 0.0

        def connect(self, address: object) -> None:
            pass

        def sendall(self, data: object, flags: int = 0) -> None:
            pass

        def recv(self, size: int, flags: int = 0) -> bytes:
            clock.sleep(min(pause, self.patience))
            if self.patience < pause:
                raise TimeoutError("timed out")
            return b"x"

    monkeypatch.setattr(socket, "socket", Trickle)
    with pytest.raises(SystemFault, match=said):
        check("unix:///stats.sock")
    assert sum(clock.slept) == pytest.approx(1.0)


def test_the_master_process_is_told_to_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pid file may name a wrapper: the haproxy below it gets SIGUSR1, and nobody else."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: told.append((pid, number)))
    pid_file = tmp_path / "pid"
    haproxys = 'open("/proc/self/comm", "w").write("haproxy"); print(flush=True); import time; time.sleep(60)'
    wrapper_program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {haproxys!r}])"
    with subprocess.Popen([sys.executable, "-c", wrapper_program], stdout=subprocess.PIPE) as wrapper:
        assert wrapper.stdout is not None
        wrapper.stdout.readline()
        pid_file.write_text(f"{wrapper.pid}\n")
        found = health_check.soft_stop(pid_file)
        assert Path(f"/proc/{found}/comm").read_text() == "haproxy\n"
        assert told == [(found, signal.SIGUSR1)]
        monkeypatch.undo()
        os.kill(found, signal.SIGKILL)


# Process trees, as (name, what is below it); one in brackets has ended and is not reaped, the one in capitals is to be found.
TREES = {
    "below the wrapper, behind its sleep": ["tini", [["haproxy_wrapper", [["sleep", []], ["HAPROXY", [["haproxy", []]]]]]]],
    "a daemon beside the wrapper": ["tini", [["haproxy_wrapper", [["sleep", []]]], ["HAPROXY", [["haproxy", []]]]]],
    "beside one that has ended": ["tini", [["(haproxy)", []], ["haproxy_wrapper", [["HAPROXY", [["haproxy", []]]]]]]],
    "named by the pid file": ["HAPROXY", [["haproxy", []], ["haproxy", []]]],
    "without a worker": ["tini", [["haproxy_wrapper", [["sleep", []], ["HAPROXY", []]]]]],
    "below a wrapper that the pid file names": ["haproxy_wrapper", [["sleep", []], ["cat", []], ["HAPROXY", [["haproxy", []]]]]],
    "with the worker from before a reload": ["tini", [["haproxy_wrapper", [["HAPROXY", [["haproxy", []], ["haproxy", []]]]]]]],
    "below strange names": ["a (b) Z", [["\udcff", [["HAPROXY", []]]]]],
}
GROW = """
import json, os, sys

def grow(name, below):
    for each in below:
        ready, done = os.pipe()
        child = os.fork()
        if not child:
            grow(*each)
            os.write(done, b"!")
            if not each[0].startswith("("):
                sys.stdin.read()
            os._exit(0)
        os.read(ready, 1)
        if each[0].startswith("("):
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    with open("/proc/self/comm", "wb") as comm:
        comm.write(os.fsencode(name.strip("()").replace("HAPROXY", "haproxy")))
    if name == "HAPROXY":
        print(os.getpid(), flush=True)

grow(*json.loads(sys.argv[1]))
print("grown", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
def test_the_master_is_found_in_every_tree(tmp_path: Path, tree: list[object]) -> None:
    """Wherever bpm's tree has it, haproxy's master is the topmost process of that name; the worker below it is no other one."""
    command = [sys.executable, "-c", GROW, json.dumps(tree)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout is not None
        wanted = int(top.stdout.readline())
        assert top.stdout.readline() == "grown\n"
        (tmp_path / "pid").write_text(f"{top.pid}\n")
        assert health_check.master_process(tmp_path / "pid") == wanted
        workers = health_check.processes(tmp_path / "pid")
        assert (workers[0], len(workers)) == (wanted, 1 + json.dumps(tree).partition("HAPROXY")[2].count('"haproxy"'))


def test_a_tree_without_haproxy(tmp_path: Path) -> None:
    """A wrapper that has outlived its haproxy has none to tell, and the message says so."""
    (tmp_path / "pid").write_text(str(os.getpid()))
    with pytest.raises(
        SystemFault, match=rf"leads to no haproxy process \(it holds {os.getpid()}, the pid of \S+, and none of its processes is haproxy\)"
    ):
        health_check.soft_stop(tmp_path / "pid")
    assert health_check.processes(tmp_path / "pid") == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "it is empty, and should hold the pid of haproxy, or of what started it"),
        (b"\n", "it is empty, and should hold the pid of haproxy, or of what started it"),
        (b"haproxy\n", r"it holds 'haproxy\\n', and should hold the pid of haproxy, or of what started it"),
        (b"-1", "it holds '-1', and should hold the pid of haproxy, or of what started it"),
        (b"1_0", "it holds '1_0', and should hold the pid of haproxy, or of what started it"),
        (b"0", "it holds 0, and no process has that pid"),
        (b" 4194305\n", "it holds 4194305, and no process has that pid"),
    ],
)
def test_a_pid_file_that_leads_nowhere(tmp_path: Path, content: bytes | None, why: str) -> None:
    """Nobody is told anything, and the message names the file, what it holds, and what it should."""
    pid_file = tmp_path / "pid"
    if content is not None:
        pid_file.write_bytes(content)
    with pytest.raises(SystemFault) as raised:
        health_check.soft_stop(pid_file)
    assert str(raised.value) == f"haproxy could not be told to finish: {pid_file} leads to no haproxy process ({why})"


@given(st.binary(max_size=40).filter(lambda each: not each.strip().isdigit()))  # pid 1 leads to whatever haproxy runs here
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_whatever_the_pid_file_holds(tmp_path: Path, content: bytes) -> None:
    """What is raised is a line for people, and no text of Python's."""
    (tmp_path / "pid").write_bytes(content)
    with pytest.raises(health_check.Nowhere) as raised:
        health_check.master_process(tmp_path / "pid")
    assert not of_python(str(raised.value))
    assert str(raised.value).isprintable()


def test_a_haproxy_that_ends_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file led to it, so its pid is named."""
    monkeypatch.setattr(health_check, "master_process", lambda pid_file: 4194305)
    with pytest.raises(SystemFault, match=r"^haproxy \(pid 4194305\) could not be told to finish: No such process$"):
        health_check.soft_stop(tmp_path / "pid")


@pytest.mark.parametrize("content", [None, "", "4194305"])
def test_a_haproxy_that_does_not_run_has_no_processes(tmp_path: Path, content: str | None) -> None:
    """Nothing to watch is no error."""
    if content is not None:
        (tmp_path / "pid").write_text(content)
    assert health_check.processes(tmp_path / "pid") == []


@given(st.binary(max_size=2000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_whatever_the_stats_socket_says(tmp_path: Path, said: bytes) -> None:
    """An answer is healthy or a problem with a sentence; nothing else is raised, whatever the bytes."""
    path = tmp_path / "any"
    path.unlink(missing_ok=True)
    served = StatsSocket(path)
    url = urlsplit(served.answer(said))
    problem = ""
    try:
        health_check.check(url, 30)
    except SystemFault as error:
        problem = str(error)
    finally:
        served.close()
    healthy = b"Pid: " in said
    assert healthy or problem.endswith("but not as haproxy's stats socket does")


def test_of_two_side_by_side_the_one_that_listens_is_meant(tmp_path: Path) -> None:
    """A haproxy without a master is reloaded by starting another one: the first finishes, it has no listener any more, and a lower pid."""
    one = 'open("/proc/self/comm", "w").write("haproxy"); {}; print(os.getpid(), flush=True); import time; time.sleep(60)'
    finishes, serves = one.format("import os"), one.format('import os, socket; s = socket.create_server(("127.0.0.1", 0))')
    wrapper = (
        "import subprocess, sys\n"
        f"each = [subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE) for program in ({finishes!r}, {serves!r})]\n"
        "print(*(int(one.stdout.readline()) for one in each), flush=True)\n"
        "sys.stdin.read()\n"
        "for one in each: one.kill()\n"
    )
    with subprocess.Popen([sys.executable, "-c", wrapper], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, second = map(int, process.stdout.readline().split())
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        assert first < second
        assert health_check.master_process(tmp_path / "pid") == second
        assert health_check.processes(tmp_path / "pid") == [second]
