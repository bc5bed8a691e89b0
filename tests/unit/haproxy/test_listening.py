"""Where haproxy listens, found at real processes that call themselves haproxy; and what is asked of it, here and at its peers."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from vrrp_drain.config.model import Config
from vrrp_drain.haproxy import acceptance, bind_lines, health, health_check, target
from vrrp_drain.haproxy.bind_lines import Proxy
from vrrp_drain.haproxy.health import Health
from vrrp_drain.haproxy.listening import Bind, Listening, NotListening
from vrrp_drain.linux import listeners
from vrrp_drain.linux.sock_diag import LISTEN, Socket
from vrrp_drain.runtime.errors import SystemFault

PATIENCE = 30.0  # seconds, for a machine that is busy
HEADER = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"  # proxy-protocol.txt, 2.2: signature, version 2 and LOCAL, no family, no length
# A haproxy that listens as told, in order; the port of each goes to stdout. It accepts everybody, and prints what it hears at first.
BE_HAPROXY = """
import json, os, select, socket, sys
open("/proc/self/comm", "w").write("haproxy")
listening = []
for host, only in json.loads(sys.argv[-1]):
    if host.startswith("/"):
        each = socket.socket(socket.AF_UNIX)
        each.bind(host)
        each.listen()
    else:
        six = ":" in host
        each = socket.create_server((host, 0), family=socket.AF_INET6 if six else socket.AF_INET, dualstack_ipv6=six and not only)
    listening.append(each)
print(json.dumps([each.getsockname()[1] if isinstance(each.getsockname(), tuple) else 0 for each in listening]), flush=True)
while True:
    for each in select.select(listening, [], [])[0]:
        with each.accept()[0] as client:
            client.settimeout(20)
            print(client.recv(100), flush=True)
"""
V4, V6, ANY4, ANY6 = map(ip_address, ("127.0.0.1", "::1", "0.0.0.0", "::"))


@dataclass
class Haproxy:
    process: "subprocess.Popen[str]"
    ports: list[int]

    def heard(self) -> str:
        """Return what the next client said."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


Start = Callable[..., Haproxy]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a haproxy that listens at these hosts, at each at a free port, with a configuration in which PORT is the first one's."""
    with ExitStack() as stack:

        def run(*hosts: str, config: str = "", only: bool = False) -> Haproxy:
            (tmp_path / "haproxy.cfg").write_text(config)
            command = [sys.executable, "-c", BE_HAPROXY, "-f", str(tmp_path / "haproxy.cfg"), "--"]
            process = stack.enter_context(
                subprocess.Popen([*command, json.dumps([(each, only) for each in hosts])], stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            found = Haproxy(process, json.loads(process.stdout.readline()))
            (tmp_path / "haproxy.cfg").write_text(config.replace("PORT", str(found.ports[0]) if found.ports else ""))
            (tmp_path / "pid").write_text(f"{process.pid}\n")
            return found

        yield run


@pytest.fixture
def ours(config: Config, tmp_path: Path) -> Config:
    """This instance with properties that say nothing of haproxy but where its pid file is."""
    return replace(config, drain=replace(config.drain, haproxy_pid_file=tmp_path / "pid"))


@pytest.mark.parametrize(
    ("host", "only", "asked"),
    [("0.0.0.0", False, "127.0.0.1"), ("::", False, "[::1]"), ("::", True, "[::1]")],
    ids=["IPv4", "both families", "IPv6 alone"],
)
def test_what_it_listens_on_is_asked(start: Start, ours: Config, host: str, only: bool, asked: str) -> None:
    """Whatever port that is, without a property: it answers, and it is told what was asked. Nothing is sent where nothing is expected."""
    haproxy = start(host, only=only)
    assert health.look(ours.drain, PATIENCE) == Health(asked=f"tcp://{asked}:{haproxy.ports[0]}")
    assert haproxy.heard() == "b''"


def test_one_address_alone(start: Start, ours: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frontend that is bound to one address of this machine is asked there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with suppress(OSError):
            probe.connect(("192.0.2.1", 9))
        own = probe.getsockname()[0]
    if own in ("0.0.0.0", "127.0.0.1"):
        pytest.skip("this machine has no address but the loopback's")
    haproxy = start(own)
    assert health.look(ours.drain, PATIENCE) == Health(asked=f"tcp://{own}:{haproxy.ports[0]}")


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("bind :PORT accept-proxy", True),
        ("bind :PORT\n tcp-request connection expect-proxy layer4", True),
        ("bind :PORT\n tcp-request connection expect-proxy layer4 unless LOCALHOST", False),
        ("bind :PORT", False),
        ("bind :1 accept-proxy", False),
    ],
)
@pytest.mark.parametrize("check", [None, "tcp://127.0.0.1:{}"], ids=["by default", "by a property"])
def test_a_proxy_header_where_one_is_expected(start: Start, ours: Config, line: str, header: bool, check: str | None) -> None:
    """One of version 2 that says LOCAL, to a port whose bind line or rule asks this machine for it, and to no other."""
    haproxy = start("0.0.0.0", config=f"defaults\n mode http\nfrontend f\n {line}\n")
    url = urlsplit(check.format(haproxy.ports[0])) if check else None
    found = health.look(replace(ours.drain, health_check=url), PATIENCE)
    where = f"tcp://127.0.0.1:{haproxy.ports[0]}"
    assert found == Health(asked=f"{where}, with a PROXY header" if header else where)
    assert haproxy.heard() == repr(HEADER if header else b"")


def test_haproxy_that_does_not_run(ours: Config) -> None:
    """The pid file leads nowhere, and that is said."""
    found = health.look(ours.drain)
    assert found.problem == f"haproxy does not run: {ours.drain.haproxy_pid_file} leads to no haproxy process (No such file or directory)"
    assert found.asked == ""


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ([], r"^haproxy \(pid \d+\) runs, but does not listen anywhere: it is starting or finishing, or has no frontend$"),
        (["127.0.0.1", "::1"], r"^haproxy \(pid \d+\) listens at 127\.0\.0\.1:\d+, \[::1\]:\d+ alone, where no client of the VIP comes$"),
    ],
    ids=["nowhere", "at the loopback address alone"],
)
def test_where_no_client_reaches_it(start: Start, ours: Config, hosts: list[str], said: str) -> None:
    """A haproxy that listens nowhere, or not for others, serves nobody."""
    start(*hosts)
    with pytest.raises(NotListening, match=said):
        Listening().find(ours.drain.haproxy_pid_file)


def test_sockets_in_the_file_system_alone(start: Start, ours: Config, tmp_path: Path) -> None:
    """Nobody can connect as a client does: then it is well as long as its threads are, and does not hang."""
    haproxy = start(str(tmp_path / "s"), config=f"frontend f\n bind unix@{tmp_path}/s\n")
    assert health.look(ours.drain, PATIENCE) == Health(asked="its threads and its stats socket")
    haproxy.process.send_signal(signal.SIGSTOP)
    assert health.look(ours.drain, 0.3) == Health(problem="haproxy stands still: it hangs", asked="its threads and its stats socket")
    assert target.of_peers(ours, Listening(), [ip_address("10.0.0.2")]) is None


def test_a_haproxy_that_is_stopped(start: Start, ours: Config) -> None:
    """The default tells a hang from a death as a property's check does."""
    haproxy = start("0.0.0.0")
    haproxy.process.send_signal(signal.SIGSTOP)
    found = health.look(ours.drain, 0.3)
    assert found.problem.startswith(f"haproxy does not answer at tcp://127.0.0.1:{haproxy.ports[0]}: the port is open, but")
    assert found.problem.endswith("it hangs")


@dataclass
class Imagined:
    """A haproxy of which a test says where it listens, and what its configuration is."""

    monkeypatch: pytest.MonkeyPatch
    looked: int = 0

    def __post_init__(self) -> None:
        self.pids, self.config, self.here = [7, 8], "", {"127.0.0.1", "::1", "10.0.0.1"}
        self.listens: list[Socket] = []

        def sockets(pid: int) -> set[int]:
            self.looked += 1
            return {each.inode for each in self.listens if each.inode // 10_000 == pid}

        self.monkeypatch.setattr(health_check, "master_process", lambda pid_file: self.pids[0])
        self.monkeypatch.setattr(health_check, "processes", lambda pid_file: list(self.pids))
        self.monkeypatch.setattr(health_check, "sockets", sockets)
        self.monkeypatch.setattr(bind_lines, "of_process", lambda pid: bind_lines.parse(self.config, {}))
        self.monkeypatch.setattr(listeners, "all_of_them", lambda: self.listens)
        self.monkeypatch.setattr(acceptance, "is_here", lambda host, port: host in self.here)

    def at(self, *places: str, pid: int = 8, waiting: int = 0) -> None:
        """Listen at these places, as 10.0.0.1:80 or [::]:80."""
        for n, each in enumerate(places, start=len(self.listens)):
            host, _, port = each.rpartition(":")
            self.listens.append(Socket(LISTEN, ip_address(host.strip("[]")), int(port), 10_000 * pid + n, waiting, 20))

    def shut(self) -> None:
        self.listens.clear()


@pytest.fixture
def imagined(monkeypatch: pytest.MonkeyPatch) -> Imagined:
    return Imagined(monkeypatch)


@pytest.mark.parametrize(
    ("places", "text", "chosen"),
    [
        (["0.0.0.0:80", "0.0.0.0:443"], "", "0.0.0.0:80"),
        (["0.0.0.0:9000", "0.0.0.0:443", "0.0.0.0:25"], "", "0.0.0.0:443"),
        ([f"0.0.0.0:{port}" for port in range(9000, 7999, -1)], "", "0.0.0.0:8000"),
        (["0.0.0.0:1936", "0.0.0.0:8443"], "listen l\n mode http\n bind :8443\n", "0.0.0.0:8443"),
        (["0.0.0.0:3306", "0.0.0.0:9000"], "listen l\n bind :3306\nlisten s\n mode http\n bind :9000\n", "0.0.0.0:9000"),
        (["0.0.0.0:443", "0.0.0.0:444"], "listen l\n bind :443\nlisten s\n bind :444 ssl crt /x\n", "0.0.0.0:444"),
        (["10.0.0.1:443", "0.0.0.0:8080"], "", "0.0.0.0:8080"),
        (["127.0.0.1:443", "10.0.0.1:8080"], "", "10.0.0.1:8080"),
        (["[::]:8080", "0.0.0.0:8080"], "", "0.0.0.0:8080"),
    ],
    ids=[
        "TLS first",
        "then HTTP",
        "a range",
        "no stats socket",
        "no relay",
        "no relay without TLS",
        "every address",
        "no loopback",
        "IPv4",
    ],
)
def test_which_port_is_asked(imagined: Imagined, ours: Config, places: list[str], text: str, chosen: str) -> None:
    """One that clients of the VIP use, and where a connection that says nothing disturbs nobody."""
    imagined.at(*places)
    imagined.config = text
    first = Listening().find(ours.drain.haproxy_pid_file).binds[0]
    assert f"{first.address}:{first.port}" == chosen


def test_the_vip_alone(imagined: Imagined, ours: Config) -> None:
    """A connection to a VIP that is at a peer would ask the peer: it is asked only where the VIP is here, and never of peers."""
    imagined.at("10.0.0.10:443")
    assert target.here(ours.drain, Listening())[0] is None
    imagined.here.add("10.0.0.10")
    assert str(target.here(ours.drain, Listening())[0]) == "tcp://10.0.0.10:443"
    assert target.of_peers(ours, Listening(), [ip_address("10.0.0.2")]) is None


def peers_asked(ours: Config, known: Listening, *peers: str) -> list[str] | None:
    found = target.of_peers(ours, known, [ip_address(each) for each in peers])
    return None if found is None else [str(each) for each in found.values()]


def test_peers_are_asked_where_we_listen(imagined: Imagined, ours: Config) -> None:
    """At their own addresses; where the bind line is for ours alone, at theirs; a family at which nobody listens cannot be asked."""
    imagined.at("0.0.0.0:443")
    assert peers_asked(ours, Listening(), "10.0.0.2", "10.0.0.3") == ["tcp://10.0.0.2:443", "tcp://10.0.0.3:443"]
    assert peers_asked(ours, Listening(), "fd00::2") is None
    assert peers_asked(ours, Listening()) == []
    imagined.shut()
    imagined.at("[::]:8443")
    assert peers_asked(ours, Listening(), "10.0.0.2", "fd00::2") == ["tcp://10.0.0.2:8443", "tcp://[fd00::2]:8443"]
    imagined.listens = [replace(imagined.listens[0], ipv6_only=True)]
    assert peers_asked(ours, Listening(), "10.0.0.2") is None
    assert peers_asked(ours, Listening(), "fd00::2") == ["tcp://[fd00::2]:8443"]
    imagined.shut()
    imagined.at(f"{ours.me.address}:8443")
    assert peers_asked(ours, Listening(), "10.0.0.2") == ["tcp://10.0.0.2:8443"]


@pytest.mark.parametrize("rule", ["accept-proxy", "\n tcp-request connection expect-proxy layer4 unless LOCALHOST"])
def test_peers_hear_a_proxy_header_too(imagined: Imagined, ours: Config, rule: str) -> None:
    """From elsewhere it is expected also where this machine itself needs none; of a port that a property names as well."""
    imagined.at("0.0.0.0:8080", "0.0.0.0:443")
    imagined.config = f"listen h\n bind :8080 {rule}\nlisten l\n bind :443 {rule}\n"
    assert peers_asked(ours, Listening(), "10.0.0.2") == ["tcp://10.0.0.2:443, with a PROXY header"]
    given = replace(ours, drain=replace(ours.drain, health_check=urlsplit("http://127.0.0.1:8080/health")))
    assert peers_asked(given, Listening(), "10.0.0.2") == ["http://10.0.0.2:8080/health, with a PROXY header"]


def test_peers_are_asked_as_the_property_says(imagined: Imagined, ours: Config) -> None:
    """Its port and path stay, at each peer's address; a socket is on this machine only."""

    def asked(check: str, *peers: str) -> list[str] | None:
        return peers_asked(replace(ours, drain=replace(ours.drain, health_check=urlsplit(check))), Listening(), *peers)

    assert asked("http://127.0.0.1:8080/health", "10.0.0.2", "fd00::4") == ["http://10.0.0.2:8080/health", "http://[fd00::4]:8080/health"]
    assert asked("http://127.0.0.1/", "10.0.0.2") == ["http://10.0.0.2/"]
    assert asked("unix:///var/vcap/stats.sock", "10.0.0.2") is None


def test_who_answers(ours: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not is left out."""
    heard: list[tuple[str, bytes]] = []

    def check(url: object, timeout: float, header: bytes) -> None:
        heard.append((url.geturl(), header))  # type: ignore[attr-defined]
        if "10.0.0.3" in heard[-1][0]:
            raise SystemFault("haproxy does not answer")

    monkeypatch.setattr(health_check, "check", check)
    given = replace(ours, drain=replace(ours.drain, health_check=urlsplit("tcp://127.0.0.1:80")))
    peers = [ip_address(each) for each in ("10.0.0.2", "10.0.0.3")]
    assert health.answering(given, peers) == peers[:1]
    assert sorted(heard) == [("tcp://10.0.0.2:80", b""), ("tcp://10.0.0.3:80", b"")]
    assert health.answering(given, []) == []


def test_whose_sockets_they_are_is_asked_once(imagined: Imagined, ours: Config) -> None:
    """That costs a look at each open connection; it is asked again when a process or a socket is another."""
    imagined.at("0.0.0.0:80", "0.0.0.0:81")
    known = Listening()
    for _ in range(3):
        assert known.find(ours.drain.haproxy_pid_file).binds == (Bind(ANY4, 80),)
    assert imagined.looked == 1
    imagined.listens = imagined.listens[1:]  # after a reload the frontend is gone
    assert known.find(ours.drain.haproxy_pid_file).binds == (Bind(ANY4, 81),)
    imagined.pids = [7, 8, 9]
    imagined.at("0.0.0.0:443", pid=9)
    assert known.find(ours.drain.haproxy_pid_file).binds == (Bind(ANY4, 443),)
    imagined.shut()
    with pytest.raises(NotListening):
        known.find(ours.drain.haproxy_pid_file)


def test_where_it_listened_is_kept(imagined: Imagined, ours: Config, tmp_path: Path) -> None:
    """For the next command, which may have to ask the peers when haproxy here is dead; a file that says nothing is no obstacle."""
    memory = tmp_path / "run" / "listening"
    imagined.at("[::]:8443")
    imagined.config = "listen l\n bind :::8443 v4v6 accept-proxy\n"
    Listening(memory).find(ours.drain.haproxy_pid_file)
    imagined.shut()
    assert peers_asked(ours, Listening(memory), "10.0.0.2") == ["tcp://10.0.0.2:8443, with a PROXY header"]
    assert Listening(memory).last_known() == (Bind(ANY6, 8443, False, Proxy.EVERYBODY),)
    for broken in ("", "{", "[[1]]", '[["x", 1, 2, 3]]', '[["::", 1, false, 9]]', "7"):
        memory.write_text(broken)
        assert Listening(memory).last_known() == ()
    assert peers_asked(ours, Listening(memory), "10.0.0.2") is None
    assert Listening().last_known() == ()


def test_a_memory_that_cannot_be_written(imagined: Imagined, ours: Config, tmp_path: Path) -> None:
    """Costs the memory alone."""
    (tmp_path / "file").write_text("")
    imagined.at("0.0.0.0:80")
    assert Listening(tmp_path / "file" / "listening").find(ours.drain.haproxy_pid_file).binds == (Bind(ANY4, 80),)


def test_a_queue_that_is_full(imagined: Imagined, ours: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of whichever frontend, while another one answers."""
    monkeypatch.setattr(health_check, "check", lambda url, timeout, header: {})
    imagined.at("0.0.0.0:80")
    imagined.at("0.0.0.0:81", waiting=20)
    assert health.look(ours.drain).full == ""
    imagined.at(*(f"0.0.0.0:{port}" for port in range(8080, 8086)), waiting=21)
    assert health.look(ours.drain).full == (
        "haproxy lives but takes no new connection (tcp://127.0.0.1:80): 21 wait at port 8080, as many as its queue holds, "
        "21 wait at port 8081, as many as its queue holds, 21 wait at port 8082, as many as its queue holds, "
        "21 wait at port 8083, as many as its queue holds, and at 2 more ports"
    )


def test_an_address_that_is_not_here() -> None:
    """Nothing is asked of somebody else."""
    assert Bind(ip_address("192.0.2.1"), 80).here() is None
    assert Bind(ANY6, 80).here() in (V6, V4)
    assert Bind(ANY4, 80).here() == V4
