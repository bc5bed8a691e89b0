"""What haproxy's configuration says of its ports, and how little a strange one does."""

import os
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrrp_drain.haproxy.bind_lines import BindLine, Configuration, Proxy, of_process, parse

ANY = None
NOBODY, ELSEWHERE, EVERYBODY = Proxy.NOBODY, Proxy.ELSEWHERE, Proxy.EVERYBODY


def lines(frontend: str, before: str = "defaults\n mode http\n") -> list[tuple[str | None, int, int, Proxy, bool]]:
    """Return what is found of one frontend's lines, in short."""
    found = parse(f"{before}frontend f\n{frontend}\n", {"HOST": "10.0.0.7", "PORT": "8443"}).lines
    return [(str(each.host) if each.host else None, each.ports[0], each.ports[-1], each.proxy, each.relays) for each in found]


@pytest.mark.parametrize(
    ("line", "host", "low", "high"),
    [
        ("bind :80", ANY, 80, 80),
        ("bind *:80", ANY, 80, 80),
        ("  bind\t0.0.0.0:80", "0.0.0.0", 80, 80),
        ("bind :::443 v4v6", "::", 443, 443),
        ("bind [::]:443 v6only", "::", 443, 443),
        ("bind [fd00::5]:443", "fd00::5", 443, 443),
        ("bind fd00::5:443", "fd00::5", 443, 443),
        ("bind ipv4@10.0.0.5:443", "10.0.0.5", 443, 443),
        ("bind ipv6@:443", ANY, 443, 443),
        ("bind 10.0.0.5:8000-8999 ssl crt /x", "10.0.0.5", 8000, 8999),
        ("bind web.example.org:80", ANY, 80, 80),
        ('bind "${HOST}:${PORT}"', "10.0.0.7", 8443, 8443),
        ("bind $HOST:80", "10.0.0.7", 80, 80),
        ("bind :80 # accept-proxy", ANY, 80, 80),
        ("bind :80 name 'accept-proxy yes'", ANY, 80, 80),
    ],
)
def test_a_place(line: str, host: str | None, low: int, high: int) -> None:
    """Every way to write an address and ports; what stands in quotes or in a comment is no option."""
    assert lines(line) == [(host, low, high, NOBODY, False)]


@pytest.mark.parametrize(
    "line", ["bind unix@/run/s", "bind /run/s", "bind abns@s", "bind fd@3", "bind quic4@:443", "bind", "bind ${NONE}", 'bind ":80']
)
def test_what_is_no_place_of_tcp(line: str) -> None:
    """Sockets in the file system, QUIC, inherited ones, and lines that haproxy itself would refuse."""
    assert lines(line) == []


@pytest.mark.parametrize(("line", "unix"), [("bind unix@/run/s", True), ("bind :80,/run/s", True), ("bind :80", False)])
def test_a_socket_in_the_file_system_is_noted(line: str, unix: bool) -> None:
    """A frontend may have no other."""
    assert parse(f"listen l\n{line}\n", {}).unix is unix


@pytest.mark.parametrize(
    ("section", "proxy"),
    [
        ("bind :443 accept-proxy ssl crt /x", EVERYBODY),
        ("bind :443 ssl crt /x accept-proxy", EVERYBODY),
        ("bind :443\n tcp-request connection expect-proxy layer4", EVERYBODY),
        ("bind :443\n tcp-request connection expect-proxy layer4 unless LOCALHOST", ELSEWHERE),
        ("bind :443\n tcp-request connection expect-proxy layer4 if !LOCALHOST", ELSEWHERE),
        ("bind :443 accept-proxy\n tcp-request connection expect-proxy layer4 unless LOCALHOST", EVERYBODY),
        ("bind :443\n tcp-request connection expect-proxy layer4 if { src 10.0.0.0/8 }", NOBODY),
        ("bind :443\n tcp-request connection reject if bad", NOBODY),
        ("bind :443 accept-netscaler-cip 1", NOBODY),
    ],
)
def test_who_has_to_send_a_proxy_header(section: str, proxy: Proxy) -> None:
    """By the line's own option, or by a rule; one under a condition that cannot be told from here asks for none."""
    assert lines(section) == [(ANY, 443, 443, proxy, False)]


@pytest.mark.parametrize(
    ("before", "section", "relays"),
    [
        ("", "bind :1", True),
        ("defaults\n mode tcp\n", "bind :1", True),
        ("defaults\n mode tcp\n", "bind :1 ssl crt /x", False),
        ("defaults\n mode tcp\n", "mode http\n bind :1", False),
        ("defaults\n mode http\n", "bind :1\n mode tcp", True),
        ("defaults a\n mode http\ndefaults b from a\n", "bind :1", False),
        ("defaults a\n mode http\ndefaults\n mode tcp\n", "bind :1", True),
        ("defaults\n mode http\ndefaults\n timeout client 1s\n", "bind :1", True),
    ],
)
def test_who_relays(before: str, section: str, relays: bool) -> None:
    """In mode tcp, unless TLS has to be spoken first; sections without a mode have that of the defaults before them."""
    assert [each[-1] for each in lines(section, before)] == [relays]


def test_named_defaults() -> None:
    """A frontend may name the defaults that it has."""
    text = "defaults a\n mode http\ndefaults b\n mode tcp\nfrontend x from a\n bind :1\nfrontend y from b\n bind :2\n"
    assert [each.relays for each in parse(text, {}).lines] == [False, True]


def test_only_frontends_take_clients() -> None:
    """The stats socket of global, peers and backends are none; a variable that global sets is known afterwards."""
    text = (
        "global\n stats socket ipv4@0.0.0.0:9999\n setenv MY_PORT 8080\npeers p\n bind :1024\nbackend b\n server s 10.0.0.1:80\n"
        'listen l\n bind ":${MY_PORT}"\n bind-process 1\n'
    )
    assert parse(text, {}).lines == (BindLine(None, range(8080, 8081), NOBODY, relays=True),)


def test_what_a_listener_was_made_of() -> None:
    """A line that names the address goes before one for every address."""
    found = parse("listen a\n mode http\n bind :80 accept-proxy\n bind 10.0.0.5:80\n bind :::81\n", {})
    assert [each.proxy for each in found.about(ip_address("10.0.0.5"), 80)] == [NOBODY]
    assert [each.proxy for each in found.about(ip_address("10.0.0.6"), 80)] == [EVERYBODY]
    assert len(found.about(ip_address("::"), 81)) == 1
    assert found.about(ip_address("10.0.0.5"), 82) == []


@given(
    st.text(alphabet=st.sampled_from("bind modetcp\n\t:80,*-[]{}$\"'\\#@/frontend listen global defaults from accept-proxy"), max_size=200)
)
def test_whatever_it_says(text: str) -> None:
    """It is advice: nothing is raised."""
    assert isinstance(parse(f"listen x\n{text}", {}), Configuration)


def test_the_files_of_a_process(tmp_path: Path) -> None:
    """All that its command line names: after each -f up to the next option, after --, a directory's .cfg, relative to where it is."""
    (tmp_path / "d").mkdir()
    for name, port in {"a": 1, "b": 2, "d/x.cfg": 3, "d/y.txt": 4, "e": 5, "no": 6}.items():
        (tmp_path / name).write_text(f"frontend f\n bind :{port}\n")
    os.mkfifo(tmp_path / "fifo")
    words = ["-f", "a", str(tmp_path / "b"), "-p", "no", "-f", "d", "fifo", "none", "-db", "no", "--", "e"]
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()", *words], cwd=tmp_path, stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = of_process(process.pid)
        process.kill()
    assert [each.ports[0] for each in found.lines] == [1, 2, 3, 5]
    assert of_process(process.pid) == Configuration()
